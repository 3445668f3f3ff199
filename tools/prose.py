"""Lines of the documents that are made: none is longer than 100 columns."""

import re
import textwrap

__all__ = ["WIDTH", "wrapped"]

WIDTH = 100
#: Stands for a space at which no line may end.
HELD = "\0"


def wrapped(text: str, *, first: str = "", rest: str = "") -> list[str]:
    """Break a paragraph between words; `first` begins its first line, `rest` all others.

    Code between backticks stays on one line, unless it is longer than half a line.
    """
    whole = re.sub(rf"`[^`]{{1,{WIDTH // 2}}}`", lambda code: code[0].replace(" ", HELD), text)
    lines = textwrap.wrap(
        whole,
        WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace(HELD, " ") for line in lines]

"""Lines of the documents that are made: none is longer than 100 columns."""

import textwrap

__all__ = ["WIDTH", "wrapped"]

WIDTH = 100


def wrapped(text: str, *, first: str = "", rest: str = "") -> list[str]:
    """Break a paragraph between words; `first` begins its first line, `rest` all others."""
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )

"""Texts from outside made safe to print: nothing in them acts on a terminal."""

import json
import unicodedata

from rich.text import Text

__all__ = ["cell", "json_text", "visible"]

#: Categories that move the cursor, change colours, or turn the order of signs around; halves.
ACTING = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
#: Joiners are format signs too, but emoji and several scripts need them, and they do no harm.
HARMLESS = frozenset("\u200c\u200d")


def visible(text: str) -> str:
    r"""Write signs that act on a terminal as escapes: ESC becomes `\x1b`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(sign) for sign in text)


def _shown(sign: str) -> str:
    if unicodedata.category(sign) not in ACTING or sign in HARMLESS:
        return sign
    return sign.encode("unicode_escape").decode("ascii")


def cell(text: str) -> Text:
    """Give a text for a table or a line: brackets in it are brackets, not markup."""
    return Text(visible(text))


def json_text(document: object, *, indent: int | None = None) -> str:
    """Write a document as JSON for a terminal: still JSON, with nothing in it that acts."""
    text = json.dumps(document, ensure_ascii=False, indent=indent)
    return "".join(
        sign if sign == "\n" or _shown(sign) == sign else _json_escape(sign) for sign in text
    )


def _json_escape(sign: str) -> str:
    return json.dumps(sign)[1:-1] if ord(sign) != 0x7F else "\\u007f"  # noqa: PLR2004 - DEL

"""Texts from outside made safe to print: nothing acts on a terminal, no password is shown."""

import json
import unicodedata
from urllib.parse import urlsplit

from rich.text import Text

__all__ = ["cell", "json_text", "shown_address", "visible"]

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


def shown_address(url: str) -> str:
    """Give a URL as it may be printed: without user, password and query."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "an address that cannot be read"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def json_text(
    document: object, *, indent: int | None = None, separators: tuple[str, str] | None = None
) -> str:
    """Write a document as JSON for a terminal: still JSON, with nothing in it that acts."""
    text = json.dumps(document, ensure_ascii=False, indent=indent, separators=separators)
    if text.isprintable():
        return text
    return "".join(
        sign if sign == "\n" or _shown(sign) == sign else _json_escape(sign) for sign in text
    )


def _json_escape(sign: str) -> str:
    return json.dumps(sign)[1:-1] if ord(sign) != 0x7F else "\\u007f"  # noqa: PLR2004 - DEL

"""The commands that the documents show, with the mark that says what runs them.

A mark is a comment in front of a block: `<!-- runs: tests/… -->`, or `<!-- not run: why -->`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Block", "command_lines", "command_pages", "shown"]

ROOT = Path(__file__).resolve().parents[1]
MARK = re.compile(r"<!-- (runs|not run): (.+?) -->$")
ASSIGNED = r"(?:[A-Z_]+=\S+ )*"
PROGRAMS = "hybrid|make|pip|kubectl|helm|systemctl|docker|export|echo|source|kill|python"
COMMAND = re.compile(rf"{ASSIGNED}(?:{PROGRAMS}) (?!.*[─►])")


@dataclass(frozen=True, slots=True)
class Block:
    """Lines of code in a page, without their indentation; `mark` is None where nothing is said."""

    page: Path
    line: int
    lines: tuple[str, ...]
    mark: tuple[str, str] | None

    @property
    def has_commands(self) -> bool:
        return any(COMMAND.match(line) for line in self.lines)

    def hybrid_lines(self) -> list[str]:
        """Give what is run of `hybrid`, one command each, without comments and assignments."""
        given = [line for line in self.lines if COMMAND.match(line)]
        parts = [part for line in given for part in command_lines(line)]
        return [part for part in parts if part.startswith("hybrid ")]


def command_lines(line: str) -> list[str]:
    """Split a line of shell into its commands."""
    bare = re.split(r"\s#\s", f"{line} ")[0].strip()
    parts = re.split(r"&&|\|(?!\w)|;|(?<!\d)&(?!\d)", bare)
    return [re.sub(rf"^{ASSIGNED}", "", part.strip()) for part in parts]


def command_pages() -> list[Path]:
    """Give the pages whose commands are checked; those that are made of code have their own test."""
    top = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "examples/README.md")
    made = {"cli.md", "rooms.md", "configuration.md"}
    pages = [one for one in sorted((ROOT / "docs").rglob("*.md")) if one.name not in made]
    return [ROOT / name for name in top] + pages


def shown(page: Path) -> Iterator[Block]:
    """Give a page's blocks of code: fenced ones, and indented ones behind an empty line."""
    mark: tuple[str, str] | None = None
    begun, lines, fence = 0, [], ""
    is_open = True  # whether an indented line would begin a block
    for number, line in enumerate([*page.read_text(encoding="utf-8").splitlines(), "end"], 1):
        if fence:
            if line.strip() == fence:
                yield Block(page, begun, tuple(lines), mark)
                mark, lines, fence = None, [], ""
            else:
                lines.append(line)
            continue
        if line.startswith("```"):
            if lines:
                yield Block(page, begun, tuple(lines), mark)
                mark, lines = None, []
            begun, fence = number, "```"
            continue
        if line.startswith("    ") and (lines or is_open):
            begun = begun if lines else number
            lines.append(line[4:])
            continue
        if lines and line:
            yield Block(page, begun, tuple(lines), mark)
            mark, lines = None, []
        if line:
            found = MARK.search(line)
            mark = (found[1], found[2]) if found else None
        is_open = not line

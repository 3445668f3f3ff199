"""Printing of data: as a table for people, as JSON or CSV for programs."""

import csv
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hybrid.errors import UsageError
from hybrid.text import cell, json_text, visible

__all__ = ["PLAIN_VIEW", "Format", "View", "console", "fitting", "print_table"]

#: A column of sentences is not narrower than this, however little room there is.
LEAST_WORDS = 28

#: Into a pipe or a file a table is never cut; on a terminal it fits.
console = Console(width=None if sys.stdout and sys.stdout.isatty() else 200)


class Format(StrEnum):
    """How data is printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


@dataclass(frozen=True, slots=True)
class View:
    """Which columns of a table are shown: those that are chosen, all, or those that have room."""

    wide: bool = False
    #: As the user wrote them, with commas; None = the table's own.
    columns: str | None = None
    #: The table's columns, those first that matter most; those not named follow in their order.
    rank: Sequence[str] = ()

    def chosen(self, columns: Sequence[str]) -> list[str]:
        """Give the columns that were asked for; raises UsageError for one that is not there."""
        if self.columns is None:
            return list(columns)
        names = [part.strip() for part in self.columns.split(",") if part.strip()]
        unknown = [name for name in names if name not in columns]
        if unknown or not names:
            message = f"--columns {visible(self.columns)}: choose any of {', '.join(columns)}"
            raise UsageError(message)
        return list(dict.fromkeys(names))


#: What every table does that is given no other wish.
PLAIN_VIEW = View()


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    form: Format,
    *,
    title: str | None = None,
    view: View = PLAIN_VIEW,
) -> None:
    """Print rows as a table, as JSON (one array of objects) or as CSV.

    On a terminal a table shows the columns that have room, whole: an id that is cut cannot be
    copied. Raises UsageError for a column that is not there.
    """
    names = view.chosen(columns)
    places = [columns.index(name) for name in names]
    rows = [[row[place] for place in places] for row in rows]
    match form:
        case Format.JSON:
            documents = [dict(zip(names, map(_plain, row), strict=True)) for row in rows]
            sys.stdout.write(json_text(documents, indent=2) + "\n")
        case Format.CSV:
            buffer = io.StringIO()
            writer = csv.writer(buffer, lineterminator="\n")
            writer.writerow(names)
            writer.writerows([_plain(value) for value in row] for row in rows)
            # Programs get every sign as it is, a terminal none that acts on it.
            lines = buffer.getvalue()
            if sys.stdout.isatty():
                lines = "\n".join(visible(line) for line in lines.split("\n"))
            sys.stdout.write(lines)
        case Format.TABLE:
            _draw(names, rows, title, view)


def _draw(names: list[str], rows: Sequence[Sequence[Any]], title: str | None, view: View) -> None:
    cells = [[cell(_shown(value)) for value in row] for row in rows]
    least = [_least(name, [row[n] for row in cells]) for n, name in enumerate(names)]
    is_free = view.wide or view.columns is not None
    width = console.width if not is_free else max(console.width, sum(one + 3 for one in least) + 1)
    kept = fitting(names, least, width=width, rank=view.rank)
    table = Table(title=cell(title) if title else None, title_justify="left")
    for n in kept:
        numeric = bool(rows) and isinstance(rows[0][n], int | float)
        words = any(" " in row[n].plain for row in cells)
        table.add_column(
            names[n],
            justify="right" if numeric or names[n].endswith("_usd") else "left",
            no_wrap=not words,
            min_width=least[n],
        )
    for row in cells:
        table.add_row(*(row[n] for n in kept))
    if is_free:
        console.print(table, width=width, soft_wrap=True)
    else:
        console.print(table)
    left_out = [name for n, name in enumerate(names) if n not in kept]
    if left_out:
        console.print(
            f"without {', '.join(left_out)}, for want of room: --wide, or --columns",
            highlight=False,
            markup=False,
        )


def fitting(
    names: Sequence[str], least: Sequence[int], *, width: int, rank: Sequence[str] = ()
) -> list[int]:
    """Choose columns whose least widths fit into a width, by rank; gives their places, in order.

    The first by rank is always shown; one that has no room does not keep a narrower one out.
    """
    by_rank = sorted(
        range(len(names)), key=lambda n: rank.index(names[n]) if names[n] in rank else len(rank) + n
    )
    kept: list[int] = []
    left = width - 1  # the frame's last line
    for n in by_rank:
        if not kept or least[n] + 3 <= left:
            kept.append(n)
            left -= least[n] + 3
    return sorted(kept)


def _least(name: str, cells: Sequence[Text]) -> int:
    """Give the least width of a column: ids and numbers are whole, words may go on below."""
    whole = max([len(name), *(one.cell_len for one in cells)])
    words = any(" " in one.plain for one in cells)
    return min(whole, LEAST_WORDS) if words else whole


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever ClickHouse gives
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _shown(value: Any) -> str:  # noqa: ANN401
    return "–" if value is None else str(_plain(value))

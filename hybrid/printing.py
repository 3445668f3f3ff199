"""Printing of data: as a table for people, as JSON or CSV for programs."""

import csv
import io
import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from rich.console import Console
from rich.table import Table

from hybrid.text import cell, json_text, visible

__all__ = ["Format", "console", "print_table"]

#: Into a pipe or a file a table is never cut; on a terminal it fits.
console = Console(width=None if sys.stdout and sys.stdout.isatty() else 200)


class Format(StrEnum):
    """How data is printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], form: Format, *, title: str | None = None
) -> None:
    """Print rows as a table, as JSON (one array of objects) or as CSV."""
    match form:
        case Format.JSON:
            documents = [dict(zip(columns, map(_plain, row), strict=True)) for row in rows]
            sys.stdout.write(json_text(documents, indent=2) + "\n")
        case Format.CSV:
            buffer = io.StringIO()
            writer = csv.writer(buffer, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows([_plain(value) for value in row] for row in rows)
            # Programs get every sign as it is, a terminal none that acts on it.
            lines = buffer.getvalue()
            if sys.stdout.isatty():
                lines = "\n".join(visible(line) for line in lines.split("\n"))
            sys.stdout.write(lines)
        case Format.TABLE:
            table = Table(title=cell(title) if title else None, title_justify="left")
            for number, name in enumerate(columns):
                numeric = bool(rows) and isinstance(rows[0][number], int | float)
                money = name.endswith("_usd")
                table.add_column(
                    name, justify="right" if numeric or money else "left", no_wrap=numeric or money
                )
            for row in rows:
                table.add_row(*(cell(_shown(value)) for value in row))
            console.print(table)


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever ClickHouse gives
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _shown(value: Any) -> str:  # noqa: ANN401
    return "–" if value is None else str(_plain(value))

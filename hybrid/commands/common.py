"""What several commands share: options, formats, tables."""

import csv
import io
import json
import re
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from hybrid.config import load_settings, need_clickhouse
from hybrid.errors import UsageError
from hybrid.text import cell, visible
from streams.store.clickhouse import ClickHouse

__all__ = [
    "Format",
    "FormatOption",
    "SinceOption",
    "confirm",
    "console",
    "open_clickhouse",
    "parse_moment",
    "print_table",
]

#: Into a pipe or a file a table is never cut; on a terminal it fits.
console = Console(width=None if sys.stdout.isatty() else 200)

#: Kafka's times begin here; nothing is older.
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
#: ClickHouse's DateTime64 ends a century later.
LATEST = datetime(2199, 12, 31, tzinfo=UTC)
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


class Format(StrEnum):
    """How data is printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


FormatOption = Annotated[Format, typer.Option("--format", help="table, json or csv")]
SinceOption = Annotated[
    str | None, typer.Option(help="a moment (2026-01-31T09:00:00Z) or an age (15m, 24h, 7d)")
]


def parse_moment(text: str | None, *, option: str = "--since") -> datetime | None:
    """Read a moment or an age; raises UsageError."""
    if text is None:
        return None
    age = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text.strip(), re.ASCII)
    if age:
        try:
            return _within(datetime.now(UTC) - timedelta(seconds=float(age[1]) * UNITS[age[2]]))
        except OverflowError:
            return EARLIEST
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        message = (
            f"{option} {visible(text)}: write a moment like 2026-01-31T09:00:00Z or an age like 24h"
        )
        raise UsageError(message) from None
    return _within(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _within(moment: datetime) -> datetime:
    """Cut a moment to what Kafka and ClickHouse can hold; further away it means the same."""
    try:
        return min(max(moment.astimezone(UTC), EARLIEST), LATEST)
    except OverflowError:
        return EARLIEST if moment.year == 1 else LATEST


def open_clickhouse() -> AbstractContextManager[ClickHouse]:
    """Open the configured ClickHouse, else the local stack's, until the block ends."""
    return closing(ClickHouse(need_clickhouse(load_settings())))


def confirm(question: str, *, yes: bool, otherwise: str) -> None:
    """Ask, unless `--yes` was said; raises UsageError where nobody can be asked."""
    if yes:
        return
    if not sys.stdin.isatty():
        message = f"{otherwise}: say --yes where nobody can be asked"
        raise UsageError(message)
    typer.confirm(question, abort=True)


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], form: Format, *, title: str | None = None
) -> None:
    """Print rows as a table, as JSON (one array of objects) or as CSV."""
    match form:
        case Format.JSON:
            documents = [dict(zip(columns, map(_plain, row), strict=True)) for row in rows]
            sys.stdout.write(json.dumps(documents, ensure_ascii=False, indent=2) + "\n")
        case Format.CSV:
            buffer = io.StringIO()
            writer = csv.writer(buffer, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows([_plain(value) for value in row] for row in rows)
            sys.stdout.write(buffer.getvalue())
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

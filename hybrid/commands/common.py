"""What several commands share: options, moments, a question, ClickHouse, prices."""

import sys
from contextlib import AbstractContextManager, closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from hybrid.config import load_settings, need_clickhouse
from hybrid.errors import UsageError
from hybrid.moments import moment_of
from hybrid.printing import Format
from schemas.settings import Settings

if TYPE_CHECKING:
    from rich.progress import Progress

    from agents.pricing.prices import PriceBook
    from streams.store.clickhouse import ClickHouse

__all__ = [
    "ColumnsOption",
    "FormatOption",
    "ModelOption",
    "ProviderOption",
    "SinceOption",
    "TenantOption",
    "TypeOption",
    "UntilOption",
    "WideOption",
    "confirm",
    "open_clickhouse",
    "parse_moment",
    "price_book",
    "progress_on_stderr",
]


FormatOption = Annotated[Format, typer.Option("--format", help="table, json or csv")]
SinceOption = Annotated[
    str | None, typer.Option(help="a moment (2026-01-31T09:00:00Z) or an age (15m, 24h, 7d)")
]
UntilOption = Annotated[str | None, typer.Option(help="the same, for the end")]
TenantOption = Annotated[str | None, typer.Option(help="for whom the work was")]
TypeOption = Annotated[str | None, typer.Option("--type", help="type of the intent")]
ProviderOption = Annotated[str | None, typer.Option(help="who served it, or was asked")]
ModelOption = Annotated[str | None, typer.Option(help="the model that served it")]
WideOption = Annotated[bool, typer.Option("--wide", help="all columns, however long the lines")]
ColumnsOption = Annotated[
    str | None, typer.Option(metavar="A,B", help="these columns, in this order")
]


def parse_moment(text: str | None, *, option: str = "--since") -> datetime | None:
    """Read a moment or an age; raises UsageError."""
    return moment_of(text, now=datetime.now(UTC), option=option)


def open_clickhouse() -> "AbstractContextManager[ClickHouse]":
    """Open the configured ClickHouse, else the local stack's, until the block ends."""
    from streams.store.clickhouse import ClickHouse  # noqa: PLC0415 - loads a client

    return closing(ClickHouse(need_clickhouse(load_settings())))


def confirm(question: str, *, yes: bool, otherwise: str) -> None:
    """Ask, unless `--yes` was said; raises UsageError where nobody can be asked."""
    if yes:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        message = f"{otherwise}: say --yes where nobody can be asked"
        raise UsageError(message)
    typer.confirm(question, abort=True)


def price_book(settings: Settings) -> "PriceBook":
    """Build the price book; raises UsageError for a list that cannot be read."""
    from agents.pricing.book import book_of  # noqa: PLC0415 - loads the public list

    try:
        return book_of(settings)
    except ValueError as error:
        raise UsageError(str(error)) from None


def progress_on_stderr() -> "Progress":
    """Give a bar on standard error, which only a terminal gets: standard output stays data."""
    from rich.progress import Progress  # noqa: PLC0415 - only few commands show one

    console = Console(stderr=True)
    return Progress(console=console, transient=True, disable=not console.is_terminal)

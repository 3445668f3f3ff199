"""The record for other tools: `hybrid costs export`."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from hybrid.commands.common import SinceOption, open_clickhouse, parse_moment, price_book
from hybrid.config import load_settings
from hybrid.errors import HybridError, UsageError
from streams.bill.focus import FORMS, export, left_out, vendors_of

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export")(export_costs)


def export_costs(
    form: Annotated[str, typer.Option("--format", help="focus: FinOps FOCUS 1.3")] = "focus",
    to: Annotated[
        Path | None, typer.Option(help="file, .csv or .parquet; without it CSV on standard output")
    ] = None,
    since: SinceOption = None,
    until: Annotated[str | None, typer.Option(help="the same, for the end")] = None,
) -> None:
    """Write costs as a FOCUS dataset, one row for a day, tenant, model and direction.

    Example: `hybrid costs export --format focus --since 30d --to costs.parquet`
    """
    if form != "focus":
        message = f"--format {form}: only focus is known"
        raise UsageError(message)
    kind = "csv" if to is None else to.suffix.removeprefix(".").lower()
    if kind not in FORMS:
        message = f"--to {to}: name a file that ends with .csv or .parquet"
        raise UsageError(message)
    first, last = parse_moment(since), parse_moment(until, option="--until")
    settings = load_settings()
    vendors = vendors_of(settings, price_book(settings))
    with open_clickhouse() as store:
        pieces = export(store, vendors, since=first, until=last, form=kind)
        if to is None:
            for piece in pieces:
                sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
        else:
            _write(to, pieces)
        unpriced = left_out(store, since=first, until=last)
    typer.echo(
        "an estimate from the record, not the provider's bill"
        + (f"; {unpriced} calls without a known price are left out" if unpriced else ""),
        err=True,
    )


def _write(to: Path, pieces: Iterator[bytes]) -> None:
    """Write a file whole or not at all; raises HybridError."""
    beside = to.with_name(f"{to.name}.part")
    try:
        with beside.open("wb") as file:
            file.writelines(pieces)
        beside.replace(to)
    except OSError as error:
        message = f"{to} cannot be written ({error.strerror})"
        raise HybridError(message) from None
    finally:
        beside.unlink(missing_ok=True)

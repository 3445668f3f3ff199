"""What models cost, and calls priced anew: `hybrid costs prices|reprice`."""

import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from agents.prices import PriceBook
from agents.usage import Usage
from hybrid.commands.common import Format, FormatOption, SinceOption, parse_moment, print_table
from hybrid.config import load_settings, need_clickhouse
from hybrid.errors import UsageError
from schemas.base import format_usd
from schemas.settings import Settings
from streams.clickhouse import ClickHouse
from streams.migrations import Layout, migrate
from streams.repricing import Repricing, find_changes, undo

__all__ = ["prices", "reprice"]

#: Prices are told for so many tokens.
TOLD_FOR = 1_000_000


def prices(
    model: Annotated[
        list[str] | None, typer.Option(help="a model to look up; may be repeated")
    ] = None,
    at: Annotated[str | None, typer.Option(help="as it was at a moment")] = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Show what a million tokens of each class cost, and which price says so.

    Example: `hybrid costs prices --model gpt-4o-mini --at 2026-01-31`
    """
    settings = load_settings()
    book, moment = PriceBook(settings.prices), parse_moment(at, option="--at")
    rows = []
    for spec in settings.provider_specs:
        for name in model or [spec.deployment or spec.model]:
            rows.append(_row(book, (spec.name, spec.kind), name, moment or datetime.now(UTC)))  # noqa: PERF401 - two loops read better
    classes = ("input_usd", "cached_usd", "output_usd", "reasoning_usd")
    columns = ("provider", "model", *classes, "price")
    print_table(columns, rows, form)


def _row(
    book: PriceBook, provider: tuple[str, str], model: str, at: datetime
) -> tuple[str | None, ...]:
    usages = (
        Usage(uncached_input=TOLD_FOR),
        Usage(cached_input=TOLD_FOR),
        Usage(visible_output=TOLD_FOR),
        Usage(reasoning=TOLD_FOR),
    )
    told = [book.price(provider, (model,), usage, at=at) for usage in usages]
    shown = [None if one.usd is None else format_usd(one.usd) for one in told]
    return (provider[0], model, *shown, told[0].price_id or "not known: its calls cost NULL, not 0")


def reprice(
    since: SinceOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show the difference only")] = False,
    undo_: Annotated[bool, typer.Option("--undo", help="give calls their first price")] = False,
    form: FormatOption = Format.TABLE,
) -> None:
    """Price calls anew with the prices that hold now; shows the difference first.

    Example: `hybrid costs reprice --since 30d --dry-run`, and `--undo` to go back
    """
    moment, settings = parse_moment(since), need_clickhouse(load_settings())
    store = ClickHouse(settings)
    try:
        migrate(store, Layout.of(settings))
        if undo_:
            _confirm("Give calls their first price again?", yes=yes)
            typer.echo(f"{undo(store, since=moment)} calls have their first price again")
            return
        with Repricing(store) as repricing:
            _find(store, settings, moment, repricing)
            _show(repricing, form)
            if dry_run or not repricing.calls:
                return
            _confirm("Store the new prices?", yes=yes)
            repricing.apply()
        typer.echo(f"{repricing.calls} calls priced anew; undo with --undo")
    finally:
        store.close()


def _find(
    store: ClickHouse, settings: Settings, since: datetime | None, repricing: Repricing
) -> None:
    kinds = {spec.name: spec.kind for spec in settings.provider_specs}
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("pricing", total=None)
        repricing.keep(
            find_changes(
                store,
                PriceBook(settings.prices),
                kinds,
                since=since,
                on_progress=lambda rows: progress.advance(task, rows),
            )
        )


def _show(repricing: Repricing, form: Format) -> None:
    """Print the difference by provider and model."""
    rows = []
    for (provider, model), found in sorted(repricing.differences.items()):
        more = (found.after or Decimal(0)) - (found.before or Decimal(0))
        told = (found.before, found.after, more)
        shown = [None if usd is None else format_usd(usd) for usd in told]
        rows.append((provider, model, found.calls, *shown))
    columns = ("provider", "model", "calls", "before_usd", "after_usd", "difference_usd")
    print_table(columns, rows, form)


def _confirm(question: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        message = "nothing was changed: say --yes where nobody can be asked"
        raise UsageError(message)
    typer.confirm(question, abort=True)

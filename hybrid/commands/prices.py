"""What models cost, and new prices for calls that were made: `costs prices|reprice`."""

from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Annotated, get_args

import typer
from rich.console import Console
from rich.progress import Progress

from agents.pricing.prices import Price, PriceBook, charge_of
from agents.pricing.usage import Usage
from hybrid.commands.common import FormatOption, SinceOption, confirm, parse_moment
from hybrid.config import load_settings, need_clickhouse
from hybrid.errors import UsageError
from hybrid.printing import Format, print_table
from schemas.base import format_usd
from schemas.pricing import Tier
from schemas.settings import Settings
from streams.bill.repricing import Repricing, find_changes, undo
from streams.store.clickhouse import ClickHouse
from streams.store.migrations import Layout, migrate

__all__ = ["prices", "reprice"]

#: Prices are told for so many tokens, and asked for so many, so that no prompt counts as long.
TOLD_FOR = 1_000_000
ASKED_FOR = 1_000
UNCHANGED = "nothing was changed"
MICRO_USD = Decimal("0.000001")
CLASSES = ("input", "cached", "output", "reasoning")


def prices(
    model: Annotated[
        list[str] | None, typer.Option(help="a model to look up; may be repeated")
    ] = None,
    at: Annotated[str | None, typer.Option(help="as it was at a moment")] = None,
    tier: Annotated[str, typer.Option(help="standard, batch, flex or priority")] = "standard",
    prompt_tokens: Annotated[
        int, typer.Option(min=1, help="for prompts so long: some models charge more for them")
    ] = ASKED_FOR,
    form: FormatOption = Format.TABLE,
) -> None:
    """Show what a million tokens of each class cost, and which price says so.

    Example: `hybrid costs prices --model gpt-4o-mini --at 2026-01-31`
    """
    if tier not in get_args(Tier):
        message = f"--tier {tier}: choose one of {', '.join(get_args(Tier))}"
        raise UsageError(message)
    settings = load_settings()
    book = PriceBook(settings.prices)
    moment = parse_moment(at, option="--at") or datetime.now(UTC)
    rows = []
    for spec in settings.provider_specs:
        share = Decimal(str(spec.low_tier_price))
        charge = charge_of(served=tier, asked=spec.low_tier, share=share)
        for name in model or [spec.deployment or spec.model]:
            ask = partial(book.price, (spec.name, spec.kind), (name,), at=moment, charge=charge)
            rows.append((spec.name, name, *_told(ask, prompt_tokens)))
    columns = ("provider", "model", *(f"{name}_usd" for name in CLASSES), "price")
    print_table(columns, rows, form)


def _told(ask: Callable[[Usage], Price], prompt: int) -> list[str | None]:
    """Give a million tokens of each class, in dollars, and the price that says so."""
    alone = ask(Usage(uncached_input=prompt))
    usages = (
        Usage(cached_input=prompt),
        Usage(uncached_input=prompt, visible_output=ASKED_FOR),
        Usage(uncached_input=prompt, reasoning=ASKED_FOR),
    )
    cached, visible, reasoning = (ask(usage).usd for usage in usages)
    if alone.usd is None or cached is None or visible is None or reasoning is None:
        return [None] * len(CLASSES) + ["not known: its calls cost NULL, not 0"]
    told = (
        (alone.usd, prompt),
        (cached, prompt),
        (visible - alone.usd, ASKED_FOR),
        (reasoning - alone.usd, ASKED_FOR),
    )
    shown = [format_usd((usd * TOLD_FOR / tokens).quantize(MICRO_USD)) for usd, tokens in told]
    return [*shown, alone.price_id]


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
    with closing(ClickHouse(settings)) as store:
        migrate(store, Layout.of(settings))
        if undo_:
            confirm("Give calls their first price again?", yes=yes, otherwise=UNCHANGED)
            typer.echo(f"{undo(store, since=moment)} calls have their first price again")
            return
        with Repricing(store) as repricing:
            _find(store, settings, moment, repricing)
            _show(repricing, form)
            if dry_run or not repricing.calls:
                return
            confirm("Store the new prices?", yes=yes, otherwise=UNCHANGED)
            repricing.apply()
        typer.echo(f"{repricing.calls} calls priced anew; undo with --undo")


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

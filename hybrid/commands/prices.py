"""What models cost, and new prices for calls that were made: `costs prices|reprice`."""

import json
import re
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import httpx
import typer
from genai_prices.update_prices import DEFAULT_UPDATE_URL

from agents.deciding.groups import Groups
from agents.pricing.book import age_of, stored_list
from agents.pricing.prices import charge_of
from agents.pricing.public import PriceListError, read_list
from agents.pricing.rates import Rates
from agents.pricing.words import explained
from hybrid.commands.common import (
    FormatOption,
    SinceOption,
    confirm,
    parse_moment,
    price_book,
    progress_on_stderr,
)
from hybrid.config import load_settings, need_clickhouse
from hybrid.errors import HybridError, UsageError
from hybrid.printing import Format, print_table
from hybrid.text import shown_address
from schemas.base import format_usd
from schemas.settings import Settings
from streams.bill.repricing import Repricing, find_changes, undo
from streams.store.clickhouse import ClickHouse
from streams.store.migrations import Layout, migrate

__all__ = ["register"]

#: Some models charge more for long prompts: asked for so short a one, none counts as long.
ASKED_FOR = 1_000
FETCH_LIMIT_S = 60
WEB = ("http://", "https://")
UNCHANGED = "nothing was changed"
MICRO_USD = Decimal("0.000001")
CLASSES = (
    "input", "cached", "cache_write", "audio_input", "output", "reasoning", "audio_output",
)  # fmt: skip
TIER = re.compile(r"[a-z][a-z0-9_]*")


def register(app: typer.Typer) -> None:
    """Add the commands for prices."""
    app.command()(reprice)
    app.add_typer(prices_app, name="prices")


prices_app = typer.Typer(help="What models cost, and where it is known from.")


@prices_app.callback(invoke_without_command=True)
def prices(
    context: typer.Context,
    model: Annotated[
        list[str] | None, typer.Option(help="a model to look up; may be repeated")
    ] = None,
    at: Annotated[str | None, typer.Option(help="as it was at a moment")] = None,
    tier: Annotated[str, typer.Option(help="standard, batch, flex, priority …")] = "standard",
    prompt_tokens: Annotated[
        int, typer.Option(min=1, help="for prompts so long: some models charge more for them")
    ] = ASKED_FOR,
    form: FormatOption = Format.TABLE,
) -> None:
    """Show what a million tokens of each class cost, and which price says so.

    Example: `hybrid costs prices --model gpt-4o-mini --at 2026-01-31`
    """
    if context.invoked_subcommand is not None:
        return
    if not TIER.fullmatch(tier):
        message = f"--tier {tier}: write a tier as providers name it, such as flex or priority"
        raise UsageError(message)
    settings = load_settings()
    book = price_book(settings)
    moment = parse_moment(at, option="--at") or datetime.now(UTC)
    groups, rows = Groups(settings.models), []
    for spec in settings.provider_specs:
        share = Decimal(str(spec.low_tier_price))
        charge = charge_of(served=tier, asked=spec.low_tier, share=share)
        who = (spec.name, spec.kind)
        for name in _at(groups, spec.name, model) if model else settings.models_at(spec):
            names = book.seller(who).names(name)
            rates = book.rates(who, names, at=moment, prompt_tokens=prompt_tokens, charge=charge)
            rows.append((spec.name, name, *_told(rates)))
    columns = ("provider", "model", *(f"{name}_usd" for name in (*CLASSES, "per_call")))
    columns += ("price", "source")
    if form is Format.TABLE:
        columns, rows = without_echoes(columns, rows)
    print_table(columns, rows, form)


def _at(groups: Groups, provider: str, models: list[str]) -> list[str]:
    """Give what models are called at a provider; those groups that it lacks are left out."""
    there = [one for one in models if one not in groups or provider in groups.having(one)]
    return [groups.name_at(one, provider) for one in there]


@prices_app.command()
def update(
    source: Annotated[
        str, typer.Argument(help="file, or http(s) URL; without it what the project publishes")
    ] = DEFAULT_UPDATE_URL,
) -> None:
    """Fetch a newer list of prices, in genai-prices' format, into HYBRID_PRICE_LIST.

    Example: `hybrid costs prices update prices.json`
    """
    target = load_settings().hybrid_price_list
    if target is None:
        message = "HYBRID_PRICE_LIST is not set: name the file that workers are to read prices from"
        raise UsageError(message)
    day = datetime.now(UTC).date()
    try:
        stored = stored_list(json.loads(_fetched(source)), source=_shown(source), day=day)
    except (ValueError, RecursionError, PriceListError) as error:
        said = str(error) if isinstance(error, PriceListError) else "it is no JSON"
        message = f"{_shown(source)}: {said}"
        raise HybridError(message) from None
    try:
        beside = Path(f"{target}.new")
        beside.write_text(json.dumps(stored), encoding="utf-8")
        beside.replace(target)  # whoever reads it meanwhile reads the old one, whole
    except OSError as error:
        message = f"HYBRID_PRICE_LIST = {target}: it cannot be written ({error.strerror})"
        raise HybridError(message) from None
    age = age_of(read_list(stored["providers"], day=day))
    typer.echo(f"{age}; workers take it over within a minute")


def _shown(source: str) -> str:
    """Give a source as it may be printed: people put keys into URLs."""
    return shown_address(source) if source.startswith(WEB) else source


def _fetched(source: str) -> str:
    """Read a file or a URL; raises HybridError."""
    try:
        if not source.startswith(WEB):
            return Path(source).read_text(encoding="utf-8-sig")
        answer = httpx.get(source, timeout=FETCH_LIMIT_S, follow_redirects=True)
        answer.raise_for_status()
    except (OSError, UnicodeDecodeError, httpx.HTTPError, httpx.InvalidURL) as error:
        message = f"{_shown(source)}: it cannot be read ({type(error).__name__})"
        raise HybridError(message) from None
    return answer.text


def _told(rates: Rates | None) -> list[str | None]:
    """Give a million tokens of each class, in dollars, and what says so, by id and in words."""
    if rates is None:
        return [None] * (len(CLASSES) + 1) + [None, explained("")]
    shown = [format_usd(getattr(rates, name).quantize(MICRO_USD)) for name in CLASSES]
    per_call = format_usd(rates.per_call.quantize(MICRO_USD))
    return [*shown, per_call, rates.price_id, explained(rates.price_id)]


def without_echoes(
    columns: tuple[str, ...], rows: list[tuple[str | None, ...]]
) -> tuple[tuple[str, ...], list[tuple[str | None, ...]]]:
    """Leave out, for a table to be read, columns that say what another says in every row."""
    same_as = {
        "cache_write_usd": "input_usd", "audio_input_usd": "input_usd",
        "reasoning_usd": "output_usd", "audio_output_usd": "output_usd",
    }  # fmt: skip
    kept = []
    for number, name in enumerate(columns):
        other = columns.index(same_as[name]) if name in same_as else None
        echo = other is not None and all(row[number] == row[other] for row in rows)
        nothing = name == "per_call_usd" and all(row[number] in {None, "0"} for row in rows)
        if not echo and not nothing and name != "price":
            kept.append(number)
    return (
        tuple(columns[number] for number in kept),
        [tuple(row[number] for number in kept) for row in rows],
    )


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
    with progress_on_stderr() as progress:
        task = progress.add_task("pricing", total=None)
        repricing.keep(
            find_changes(
                store,
                price_book(settings),
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

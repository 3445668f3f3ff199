"""The cost questions: `hybrid costs report|top|latency|wasted`."""

from collections.abc import Callable
from typing import Annotated

import typer

from hybrid.commands.bills import forecast, reconcile
from hybrid.commands.common import (
    Format,
    FormatOption,
    SinceOption,
    console,
    parse_moment,
    print_table,
)
from hybrid.commands.prices import prices, reprice
from hybrid.config import load_settings, need_clickhouse
from hybrid.errors import UsageError
from streams import costs as questions
from streams.clickhouse import ClickHouse

__all__ = ["register"]

By = Annotated[str, typer.Option(help=f"any of {', '.join(questions.DIMENSIONS)}")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    costs = typer.Typer(help="What it cost, and where the time went.", no_args_is_help=True)
    for command in (report, top, latency, wasted, forecast, reconcile, prices, reprice):
        costs.command()(command)
    app.add_typer(costs, name="costs")


def report(
    by: By = "provider,model", since: SinceOption = None, form: FormatOption = Format.TABLE
) -> None:
    """Show spend by the chosen dimensions, with its sum.

    Example: `hybrid costs report --by tenant,day --since 7d`
    """
    moment, dimensions = parse_moment(since), _dimensions(by)
    store = _store()
    try:
        table = questions.report(store, by=dimensions, since=moment)
        whole = questions.total(store, since=moment)
    finally:
        store.close()
    print_table(table.columns, table.rows, form)
    if form is Format.TABLE:
        total = dict(zip(whole.columns, whole.rows[0], strict=True))
        console.print(
            f"total: {total['cost_usd']} USD for {total['calls']} calls; "
            f"{total['unpriced']} without a known price, {total['orphaned']} orphaned, "
            f"up to {total['uncertain_usd']} USD more for calls of which no answer was read",
            highlight=False,
        )


def top(
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 10,
    since: SinceOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Show the dearest intents.

    Example: `hybrid costs top --limit 20`
    """
    moment = parse_moment(since)
    _show(lambda store: questions.top(store, since=moment, limit=limit), form)


def latency(
    by: By = "provider,model", since: SinceOption = None, form: FormatOption = Format.TABLE
) -> None:
    """Show where the calls' time goes: p50, p95 and p99 in milliseconds.

    Example: `hybrid costs latency --by provider`
    """
    moment, dimensions = parse_moment(since), _dimensions(by)
    _show(lambda store: questions.latency(store, by=dimensions, since=moment), form)


def wasted(since: SinceOption = None, form: FormatOption = Format.TABLE) -> None:
    """Show spend that served nobody, by its cause.

    Example: `hybrid costs wasted --since 24h`
    """
    moment = parse_moment(since)
    _show(lambda store: questions.wasted(store, since=moment), form)


def _show(ask: Callable[[ClickHouse], questions.Table], form: Format) -> None:
    store = _store()
    try:
        table = ask(store)
    finally:
        store.close()
    print_table(table.columns, table.rows, form)


def _store() -> ClickHouse:
    return ClickHouse(need_clickhouse(load_settings()))


def _dimensions(by: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(part.strip() for part in by.split(",") if part.strip()))
    unknown = [name for name in names if name not in questions.DIMENSIONS]
    if unknown or not names:
        allowed = ", ".join(questions.DIMENSIONS)
        message = f"--by {by}: choose any of {allowed}"
        raise UsageError(message)
    return names

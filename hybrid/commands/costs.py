"""The cost questions: `hybrid costs report|top|latency|reliability|wasted`."""

from typing import Annotated

import typer

from hybrid.commands.charts import PlotOption, PngOption, chart_of, show
from hybrid.commands.common import (
    ColumnsOption,
    FormatOption,
    ModelOption,
    ProviderOption,
    SinceOption,
    TenantOption,
    TypeOption,
    UntilOption,
    WideOption,
    open_clickhouse,
    parse_moment,
)
from hybrid.commands.saved import with_savings
from hybrid.errors import UsageError
from hybrid.lazy import Later, Register, group_of
from hybrid.printing import Format, View, console
from hybrid.text import visible
from streams.bill import costs as questions
from streams.bill.dimensions import Which

__all__ = ["register"]

#: What is shown first where there is little room: what it is asked by, then the money.
RANK = (*questions.DIMENSIONS, "intent_id", "cause", "phase", "cost_usd", "calls", "p95_ms")

By = Annotated[str, typer.Option(help=f"any of {', '.join(questions.DIMENSIONS)}")]


def _bills() -> Register:
    from hybrid.commands import bills  # noqa: PLC0415 - loaded when one of its commands is run

    return bills.register


def _budgets() -> Register:
    from hybrid.commands import budgets  # noqa: PLC0415 - the same

    return budgets.register


def _prices() -> Register:
    from hybrid.commands import prices  # noqa: PLC0415 - the same

    return prices.register


def _exports() -> Register:
    from hybrid.commands import exports  # noqa: PLC0415 - the same

    return exports.register


PARTS = (
    Later(
        _budgets,
        {
            "budgets": "Show what tenants have spent of their budgets, and when a spent one opens "
            "again."
        },
    ),
    Later(
        _bills,
        {
            "forecast": "Show what this month will cost, from the trend of the last two weeks, by "
            "provider.",
            "reconcile": "Compare a provider's usage export with our record; by day where meters "
            "are no models.",
            "rebuild": "Record again what Kafka still has: after ClickHouse was lost, or rows were "
            "set aside.",
        },
    ),
    Later(
        _prices,
        {
            "reprice": "Price calls anew with the prices that hold now; shows the difference "
            "first.",
            "prices": "What models cost, and where it is known from.",
        },
    ),
    Later(
        _exports,
        {
            "export": "Write costs as a FOCUS dataset, one row for a day, tenant, model and "
            "direction."
        },
    ),
)


def register(app: typer.Typer) -> None:
    """Add the commands for the cost questions."""
    costs = typer.Typer(
        cls=group_of(*PARTS),
        help="What it cost, and where the time went.",
        no_args_is_help=True,
    )
    for command in (report, top, latency, reliability, wasted):
        costs.command()(command)
    app.add_typer(costs, name="costs")


def report(
    by: By = "provider,model",
    since: SinceOption = None,
    until: UntilOption = None,
    tenant: TenantOption = None,
    type_: TypeOption = None,
    provider: ProviderOption = None,
    model: ModelOption = None,
    wide: WideOption = False,
    columns: ColumnsOption = None,
    form: FormatOption = Format.TABLE,
    plot: PlotOption = False,
    png: PngOption = None,
) -> None:
    """Show spend by the chosen dimensions, with its sum.

    Example: `hybrid costs report --by tenant,day --since 7d --plot`
    """
    chosen, dimensions = _chosen(since, until, tenant, type_, provider, model), _dimensions(by)
    with open_clickhouse() as store:
        table, whole = questions.spent(store, by=dimensions, **chosen)
        table = with_savings(store, table, by=dimensions, chosen=chosen)
        priceless = questions.unpriced(store, **chosen)
    chart = chart_of(table, f"USD by {by}", keys=dimensions, values=("cost_usd",))
    show(table, form, chart=chart, plot=plot, png=png, view=View(wide, columns, RANK))
    if form is Format.TABLE:
        total = whole.named()[0]
        known = total["cost_usd"] if total["calls"] else "0"
        console.print(
            f"total: {known or '–'} USD for {total['calls']} calls; "
            f"{total['unpriced']} without a known price, {total['orphaned']} orphaned, "
            f"up to {total['uncertain_usd']} USD more for calls of which no answer was read",
            highlight=False,
        )
        if priceless.rows:
            named = ", ".join(
                f"{model} at {provider}" for model, provider, _ in priceless.rows[:10]
            )
            console.print(
                f"in no sum, for want of a price: {visible(named)}; add it to [[prices]], then run "
                "hybrid costs reprice",
                highlight=False,
                markup=False,
            )


def top(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="how many")] = 10,
    since: SinceOption = None,
    until: UntilOption = None,
    tenant: TenantOption = None,
    type_: TypeOption = None,
    provider: ProviderOption = None,
    model: ModelOption = None,
    wide: WideOption = False,
    columns: ColumnsOption = None,
    form: FormatOption = Format.TABLE,
    plot: PlotOption = False,
    png: PngOption = None,
) -> None:
    """Show the dearest intents.

    Example: `hybrid costs top --limit 20`
    """
    chosen = _chosen(since, until, tenant, type_, provider, model)
    with open_clickhouse() as store:
        table = questions.top(store, **chosen, limit=limit)
    chart = chart_of(table, "USD by intent", keys=("intent_id",), values=("cost_usd",))
    show(table, form, chart=chart, plot=plot, png=png, view=View(wide, columns, RANK))


def latency(
    by: By = "provider,model",
    since: SinceOption = None,
    until: UntilOption = None,
    tenant: TenantOption = None,
    type_: TypeOption = None,
    provider: ProviderOption = None,
    model: ModelOption = None,
    wide: WideOption = False,
    columns: ColumnsOption = None,
    form: FormatOption = Format.TABLE,
    plot: PlotOption = False,
    png: PngOption = None,
) -> None:
    """Show where the time goes, in ms: queue, limiter, backoff and provider of the calls, total.

    Example: `hybrid costs latency --by provider --since 24h`
    """
    chosen, dimensions = _chosen(since, until, tenant, type_, provider, model), _dimensions(by)
    with open_clickhouse() as store:
        table = questions.latency(store, by=dimensions, **chosen)
    percentiles = [name for name in table.columns if name.endswith("_ms")]
    times = any(name in questions.TIMES for name in dimensions)
    if times:
        # A line for each phase would be a tangle: of a trend the whole is drawn, or the calls.
        phase = "total" if any("total" in row for row in table.rows) else "provider"
        whole = questions.Table(table.columns, [row for row in table.rows if phase in row])
        chart = chart_of(whole, f"{phase} ms by {by}, p95", keys=dimensions, values=("p95_ms",))
    else:
        keys = (*dimensions, "phase")
        chart = chart_of(table, f"ms by {by} and phase", keys=keys, values=percentiles)
    show(table, form, chart=chart, plot=plot, png=png, view=View(wide, columns, RANK))


def reliability(
    by: By = "provider,model",
    since: SinceOption = None,
    until: UntilOption = None,
    tenant: TenantOption = None,
    type_: TypeOption = None,
    provider: ProviderOption = None,
    model: ModelOption = None,
    wide: WideOption = False,
    columns: ColumnsOption = None,
    form: FormatOption = Format.TABLE,
    plot: PlotOption = False,
    png: PngOption = None,
) -> None:
    """Show how calls end: answers, refusals for limits, failures; results after retry or fallback.

    Example: `hybrid costs reliability --by provider,hour --since 24h --plot`
    """
    chosen, dimensions = _chosen(since, until, tenant, type_, provider, model), _dimensions(by)
    with open_clickhouse() as store:
        table = questions.reliability(store, by=dimensions, **chosen)
    shares = ("error_share", "share_429", "after_retry_share", "fallback_share")
    chart = chart_of(table, f"shares by {by}", keys=dimensions, values=shares)
    show(table, form, chart=chart, plot=plot, png=png, view=View(wide, columns, RANK))


def wasted(
    since: SinceOption = None,
    until: UntilOption = None,
    tenant: TenantOption = None,
    type_: TypeOption = None,
    provider: ProviderOption = None,
    model: ModelOption = None,
    wide: WideOption = False,
    columns: ColumnsOption = None,
    form: FormatOption = Format.TABLE,
    plot: PlotOption = False,
    png: PngOption = None,
) -> None:
    """Show spend that served nobody, by its cause.

    Example: `hybrid costs wasted --since 24h`
    """
    chosen = _chosen(since, until, tenant, type_, provider, model)
    with open_clickhouse() as store:
        table = questions.wasted(store, **chosen)
    chart = chart_of(
        table,
        "USD that served nobody",
        keys=("cause", "provider"),
        values=("cost_usd", "upper_usd"),
    )
    show(table, form, chart=chart, plot=plot, png=png, view=View(wide, columns, RANK))


def _chosen(since: str | None, until: str | None, *values: str | None) -> Which:
    """Read the filters; `values` are in the order of their names."""
    named = zip(("tenant", "type", "provider", "model"), values, strict=True)
    return {
        "since": parse_moment(since),
        "until": parse_moment(until, option="--until"),
        "only": {name: value for name, value in named if value is not None},
    }


def _dimensions(by: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(part.strip() for part in by.split(",") if part.strip()))
    unknown = [name for name in names if name not in questions.DIMENSIONS]
    if unknown or not names:
        allowed = ", ".join(questions.DIMENSIONS)
        message = f"--by {by}: choose any of {allowed}"
        raise UsageError(message)
    return names

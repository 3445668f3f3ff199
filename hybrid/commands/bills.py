"""The bill of this month, of the provider, and made anew: `costs forecast|reconcile|rebuild`."""

import asyncio
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import typer

from hybrid.commands.charts import PlotOption, PngOption, show
from hybrid.commands.common import FormatOption, SinceOption, open_clickhouse, parse_moment
from hybrid.config import load_settings, need_clickhouse, need_kafka
from hybrid.errors import HybridError, UsageError
from hybrid.plots import Chart
from hybrid.printing import Format, console, print_table
from schemas.base import format_usd
from streams.bill.costs import Table
from streams.bill.forecast import Trend
from streams.bill.months import month_ahead
from streams.bill.reconcile import BY, ExportError, compare, our_usage, read_export
from streams.recording.rebuild import rebuild as rebuild_record

__all__ = ["register"]

RATE = re.compile(r"([A-Za-z]{3})=(\d{1,9}(?:\.\d{1,12})?)")


def register(app: typer.Typer) -> None:
    """Add the commands for bills."""
    for command in (forecast, reconcile, rebuild):
        app.command()(command)


def forecast(
    form: FormatOption = Format.TABLE, plot: PlotOption = False, png: PngOption = None
) -> None:
    """Show what this month will cost, from the trend of the last two weeks, by provider.

    Example: `hybrid costs forecast --plot`
    """
    today = datetime.now(UTC).date()
    with open_clickhouse() as store:
        trends = month_ahead(store, today=today)
    table = Table(
        ["provider", "so_far_usd", "rest_usd", "month_usd", "trend_usd_a_day", "made_of"],
        [_row(name, trend, today) for name, trend in trends.items()],
    )
    show(table, form, chart=_chart(trends, today), plot=plot, png=png)


def _row(name: str, trend: Trend, today: date) -> tuple[str, ...]:
    so_far, rest = trend.so_far(today), trend.rest(today)
    told = (so_far, rest, so_far + rest, trend.slope)
    return (name, *(format_usd(Decimal(str(round(one, 6)))) for one in told), trend.made_of)


def _chart(trends: dict[str, Trend], today: date) -> Chart:
    """Draw the days that are known and, apart, those that are expected."""
    every = sorted({day for one in trends.values() for day in (*one.days, *one.expected)})
    if not every:
        return Chart("", [], {})
    days = [every[0] + timedelta(days=n) for n in range((every[-1] - every[0]).days + 1)]
    lines: dict[str, list[float | None]] = {}
    for name, one in trends.items():
        # Today is not over: drawn, it would look like a fall.
        lines[name] = [one.days.get(day, 0.0) if day < today else None for day in days]
        lines[f"{name}, expected"] = [one.expected.get(day) for day in days]
    return Chart("USD a day", [f"{day:%m-%d}" for day in days], lines, trend=True)


def reconcile(
    file: Annotated[Path, typer.Argument(help="a provider's usage export, CSV or JSON")],
    provider: Annotated[str | None, typer.Option(help="compare calls of this one only")] = None,
    by: Annotated[str, typer.Option(help=f"one of {'; '.join(BY)}")] = BY[0],
    rate: Annotated[
        list[str] | None,
        typer.Option(help="dollars for one unit of the export's currency, such as EUR=1.08"),
    ] = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Compare a provider's usage export with our record; by day where meters are no models.

    Example: `hybrid costs reconcile usage.csv --provider openai`
    """
    if by not in BY:
        message = f"--by {by}: choose one of {'; '.join(BY)}"
        raise UsageError(message)
    rates = _rates(rate or [])
    try:
        theirs = read_export(file.read_text(encoding="utf-8-sig"), rates)
    except (OSError, UnicodeDecodeError) as error:
        message = f"{file} cannot be read: {error}"
        raise UsageError(message) from None
    except ExportError as error:
        message = f"{file}: {error}"
        raise HybridError(message) from None
    days = [day for day, _ in theirs if day is not None]
    with open_clickhouse() as store:
        ours = our_usage(store, first=min(days), last=max(days), provider=provider)
    lines = compare(theirs, ours, by=by)
    rows = [
        (
            None if line.day is None else str(line.day),
            line.model or None,
            format_usd(line.theirs.usd),
            format_usd(line.ours.usd),
            format_usd(line.gap_usd),
            line.explanation,
        )
        for line in lines
    ]
    print_table(("day", "model", "theirs_usd", "ours_usd", "gap_usd", "why"), rows, form)
    if form is Format.TABLE:
        gap = sum((line.gap_usd for line in lines), Decimal(0))
        uncertain = sum((line.ours.uncertain_usd for line in lines), Decimal(0))
        console.print(
            f"they charge {format_usd(gap)} USD more than is on record; calls without an answer "
            f"may have cost up to {format_usd(uncertain)} USD",
            highlight=False,
        )


def _rates(given: list[str]) -> dict[str, Decimal]:
    """Read what currencies are worth; raises UsageError."""
    found = {}
    for one in given:
        match = RATE.fullmatch(one.strip())
        if not match or not Decimal(match[2]):
            message = f"--rate {one}: write a currency and its worth in dollars, such as EUR=1.08"
            raise UsageError(message)
        found[match[1].upper()] = Decimal(match[2])
    return found


def rebuild(since: SinceOption = None) -> None:
    """Record again what Kafka still has: after ClickHouse was lost, or rows were set aside.

    Example: `hybrid costs rebuild --since 7d`
    """
    moment = parse_moment(since)
    settings = need_clickhouse(need_kafka(load_settings()))
    with console.status("reading") as status:
        found = asyncio.run(
            rebuild_record(
                settings,
                since=moment,
                on_progress=lambda rows: status.update(f"{rows:,} rows stored"),
            )
        )
    if not found.rows and not found.set_aside:
        where = ", ".join(settings.topics.recorded)
        console.print(
            f"nothing was stored: Kafka has no record {'since then ' if moment else ''}in {where}",
            highlight=False,
        )
        return
    print_table(("table", "rows"), sorted(found.rows.items()), Format.TABLE)
    if found.set_aside:
        shown = "; ".join(found.set_aside[:5])
        message = f"{len(found.set_aside)} records are no rows, the first: {shown}"
        raise HybridError(message)

"""One screen of what is going on: `hybrid status`."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hybrid.announced import running_stack
from hybrid.commands.common import FormatOption
from hybrid.config import load_settings, need_kafka
from hybrid.errors import UsageError
from hybrid.printing import Format, console
from hybrid.standing import Standing, document_of, gather, providers_of, verdict
from hybrid.text import cell, json_text
from schemas.settings import Settings
from streams.stories.words import duration
from streams.triage.ordered import named

__all__ = ["register"]

UNKNOWN = "–"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(status)


def status(
    watch: Annotated[bool, typer.Option("--watch", help="again and again, until Ctrl-C")] = False,
    every: Annotated[float, typer.Option(min=1, help="seconds between two looks")] = 2.0,
    metrics: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="a worker's /metrics; the local stack's are known"),
    ] = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Show on one screen what waits, what runs, the providers, the recorder and today's spend.

    Example: `hybrid status --watch`
    """
    if form is Format.CSV:
        message = "--format csv: a screen is no table; choose table or json"
        raise UsageError(message)
    settings = load_settings()
    addresses = _addresses(metrics or [], is_local=not settings.kafka_bootstrap_servers)
    asyncio.run(_show(need_kafka(settings), addresses, form, every if watch else None))


def _addresses(given: list[str], *, is_local: bool) -> list[str]:
    """Give where workers say how they are; raises UsageError for what is no address."""
    wrong = [one for one in given if not one.startswith(("http://", "https://"))]
    if wrong:
        message = f"--metrics {wrong[0]}: write an address like http://worker-1:9464/metrics"
        raise UsageError(message)
    stack = running_stack() if is_local and not given else None
    return given or [str(one) for one in (stack or {}).get("metrics") or []]


async def _show(
    settings: Settings, addresses: list[str], form: Format, every_s: float | None
) -> None:
    alive = every_s is not None and form is Format.TABLE and console.is_terminal
    with _screen(alive=alive) as live:
        while True:
            standing = await gather(settings, addresses, now=datetime.now(UTC))
            if live is not None:
                live.update(_drawn(standing), refresh=True)
            elif form is Format.JSON:
                one_line = (",", ":") if every_s else None
                document = document_of(standing)
                indent = None if every_s else 2
                sys.stdout.write(json_text(document, indent=indent, separators=one_line) + "\n")
                sys.stdout.flush()
            else:
                console.print(_drawn(standing))
            if every_s is None:
                return
            await asyncio.sleep(every_s)


@contextmanager
def _screen(*, alive: bool) -> Iterator[Live | None]:
    if not alive:
        yield None
        return
    with Live(console=console, auto_refresh=False, screen=True) as live:
        yield live


def _drawn(standing: Standing) -> RenderableType:
    needs = verdict(standing)
    if needs:
        head = cell(f"{len(needs)} thing{'s need' if len(needs) > 1 else ' needs'} somebody: ")
        head.append(cell("; ".join(needs)))
        head.stylize("bold red")
    elif standing.unknown:
        head = cell(f"Nothing that is seen needs you; unknown: {', '.join(standing.unknown)}")
        head.stylize("bold yellow")
    else:
        head = Text("Nothing needs you.", style="bold green")
    parts: list[RenderableType] = [head, Text(), _figures(standing)]
    if standing.workers:
        parts += [Text(), _providers(standing)]
    reasons = [cell(f"{UNKNOWN} {name}: {why}") for name, why in standing.unknown.items()]
    parts += [Text(), *reasons] if reasons else []
    parts.append(Text(f"as of {standing.as_of:%H:%M:%S} UTC", style="dim"))
    return Group(*parts)


def _figures(standing: Standing) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _lines(standing):
        table.add_row(name, cell(value))
    return table


def _lines(standing: Standing) -> Iterator[tuple[str, str]]:
    line, workers, spend = standing.line, standing.workers, standing.spend
    if line is None:
        yield "in line", UNKNOWN
        yield "deferred", UNKNOWN
    else:
        least = "" if line.whole else "at least "
        deferred = {name: n for name, n in line.by_topic.items() if ".deferred." in name}
        ready = sum(line.by_topic.values()) - sum(deferred.values())
        old = ""
        if ready and line.oldest_at is not None:
            old = f", the oldest for {duration(standing.as_of - line.oldest_at)}"
        yield (
            "in line",
            f"{least}{ready:,}{old} (not committed yet; those in flight are among them)",
        )
        due = ""
        if line.next_due_at is not None:
            left = line.next_due_at - standing.as_of
            due = f", the next due in {duration(left)}" if left.total_seconds() > 0 else ", due now"
        yield "deferred", f"{least}{sum(deferred.values()):,}{due}"
    if standing.paused is None:
        yield "paused", UNKNOWN
    for hold in standing.paused or ():
        why = f": {hold.why}" if hold.why else ""
        since = duration(standing.as_of - hold.at)
        yield "paused", f"{named(hold)}, for {since}, by {hold.by}{why}"
    yield "in flight", f"{sum(one.in_flight for one in workers):,}" if workers else UNKNOWN
    ready_now = sum(one.ready for one in workers)
    yield "workers", f"{ready_now} of {len(workers)} ready" if workers else UNKNOWN
    lag = standing.recorder_lag
    yield "recorder", UNKNOWN if lag is None else f"{lag:,} records behind"
    if spend is None:
        yield "spend today", UNKNOWN
        return
    known = (
        spend["cost_usd"]
        if spend["cost_usd"] is not None
        else ("0" if not spend["calls"] else UNKNOWN)
    )
    more = f", {spend['unpriced']} without a known price" if spend["unpriced"] else ""
    lost = f", {spend['orphaned']} orphaned" if spend["orphaned"] else ""
    yield "spend today", f"{known} USD for {spend['calls']:,} calls{more}{lost} (UTC day)"


def _providers(standing: Standing) -> Table:
    table = Table.grid(padding=(0, 2))
    for name in ("provider", "called", "in flight", "keys resting"):
        table.add_column(name)
    table.add_row(
        *(Text(name, style="dim") for name in ("provider", "called by", "in flight", "keys"))
    )
    for one in providers_of(standing):
        table.add_row(
            cell(one.name),
            Text(
                f"{one.open_to} of {one.workers} workers",
                style="" if one.open_to == one.workers else "red",
            ),
            str(one.in_flight),
            f"{one.resting} resting" if one.resting else "usable",
        )
    return table

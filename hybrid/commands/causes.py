"""What dead letters have in common: `hybrid dlq causes`."""

import asyncio
from datetime import UTC, datetime

import typer

from hybrid.commands.common import ColumnsOption, FormatOption, WideOption
from hybrid.commands.selecting import none_like, selecting
from hybrid.config import load_settings, need_kafka
from hybrid.printing import Format, View, console, print_table
from hybrid.text import json_text
from schemas.base import format_time, format_usd
from schemas.settings import Settings
from streams.publishing.dead_letters import Selection
from streams.publishing.kinds import stated_model
from streams.triage.book import read_book
from streams.triage.causes import Cause, Causes
from streams.triage.stands import standing_letters

__all__ = ["dlq_causes"]

COLUMNS = (
    "count", "reason", "failure", "provider", "model", "type", "message", "trend", "last_24h",
    "tenants", "first_at", "last_at", "spent_usd", "unpriced", "can_succeed", "advice", "cause",
)  # fmt: skip
#: What is shown first where there is little room.
RANK = (
    "count", "failure", "message", "trend", "can_succeed", "spent_usd", "reason", "advice",
    "provider", "type", "model", "last_24h", "tenants", "last_at", "first_at", "unpriced",
    "cause",
)  # fmt: skip
#: Eight heights of a bar; nothing is a dot.
BARS = "▁▂▃▄▅▆▇█"


@selecting
def dlq_causes(
    selection: Selection,
    wide: WideOption = False,
    columns: ColumnsOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Group dead letters by what they have in common, with what a replay can do about it.

    Example: `hybrid dlq causes --since 24h`
    """
    view = View(wide, columns, RANK)
    view.chosen(COLUMNS)  # a wrong one is said before anything is read
    settings = need_kafka(load_settings())
    now = datetime.now(UTC)
    causes = asyncio.run(_gather(settings, selection))
    found = causes.sorted()
    if form is Format.JSON:
        typer.echo(json_text([one.document(now) for one in found], indent=2))
        return
    if not found and form is Format.TABLE:
        console.print(none_like(selection), highlight=False, markup=False)
        return
    print_table(COLUMNS, [_line(one, now) for one in found], form, view=view)


async def _gather(settings: Settings, selection: Selection) -> Causes:
    """Take in each letter, and keep none."""
    causes = Causes()
    book = await read_book(settings)
    async for _, letter, _ in standing_letters(settings, selection, book):
        causes.add(letter, stated_model(letter))
    return causes


def _line(cause: Cause, now: datetime) -> tuple[object, ...]:
    kind, document = cause.kind, cause.document(now)
    return (
        cause.count,
        kind.reason,
        kind.failure,
        kind.provider,
        kind.model,
        kind.type,
        kind.message,
        cause.trend(now),
        sparkline(cause.by_hour(now)),
        f"{document['tenants']}{'+' if document['more_tenants'] else ''}",
        format_time(cause.first_at) if cause.first_at else None,
        format_time(cause.last_at) if cause.last_at else None,
        format_usd(cause.spent_usd),
        cause.unpriced,
        "yes" if cause.retriable else "no",
        cause.advice,
        kind.id,
    )


def sparkline(counts: list[int]) -> str:
    """Draw counts as bars of eight heights; an hour without any is a dot."""
    most = max(counts, default=0)
    return "".join(
        "·" if not one else BARS[min(len(BARS) - 1, one * len(BARS) // (most + 1))]
        for one in counts
    )

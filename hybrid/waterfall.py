"""A story drawn for the terminal: the sentence, then each part of the time on a line of its own."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Literal

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hybrid.text import cell
from schemas.base import format_time
from streams.stories.story import Span, SpanKind, Status, Story
from streams.stories.words import duration, money

__all__ = ["draw_story", "facts_of", "look_of", "words_of"]

#: A bar has so many cells at the most; on a narrow terminal fewer, that the words have room.
MOST_CELLS, LEAST_CELLS = 40, 10
#: What the other columns take.
BESIDE = 66
STYLES = {
    Status.COMPLETED: "bold green",
    Status.FAILED: "bold red",
    Status.LOST: "bold red",
}
#: Work is drawn full, a wait light.
FULL, LIGHT, POINT = "█", "░", "│"
#: How a terminal draws what a span is.
LOOKS = {"bad": "red", "wait": "yellow", "good": "green", "work": ""}
WAITS = frozenset({
    SpanKind.QUEUE, SpanKind.LIMITER, SpanKind.BACKOFF, SpanKind.DEFERRAL, SpanKind.DEAD,
    SpanKind.DELIVERY,
})  # fmt: skip


def draw_story(story: Story, *, width: int) -> RenderableType:
    """Draw a story for a terminal of so many columns."""
    headline = cell(f"{story.headline}.")
    headline.stylize(STYLES.get(story.status, "bold yellow"))
    parts: list[RenderableType] = [headline, Text(), _grid(facts_of(story)), Text()]
    if story.spans:
        parts += [_waterfall(story, width), Text()]
    parts += [cell(note) for note in story.notes]
    parts.append(cell(f"read from {' and '.join(story.record.sources) or 'Kafka'}"))
    return Group(*parts)


def facts_of(story: Story) -> list[tuple[str, str]]:
    """Give what is known of the intent, by its names."""
    record, ending = story.record, story.ending
    lines = [("intent", record.intent_id)]
    whose = [*record.tenants, *record.types]
    if whose:
        lines.append(("tenant, type", ", ".join(whose)))
    if story.accepted_at is not None:
        lines.append(("came in", format_time(story.accepted_at)))
    if ending is not None and story.is_over:
        kind = "result" if ending.completed else "dead letter"
        lines.append((kind, ending.outcome_id))
        if ending.message:
            lines.append(("what happened", ending.message))
        if ending.advice:
            lines.append(("what to do", ending.advice))
    lines += [("waits at", part.place) for part in record.waiting if not story.is_over]
    return lines


def _grid(lines: Iterable[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in lines:
        table.add_row(name, cell(value))
    return table


def _waterfall(story: Story, width: int) -> Table:
    cells = min(MOST_CELLS, max(LEAST_CELLS, width - BESIDE))
    begin = min(span.begin for span in story.spans)
    ends = [story.now if span.end is None else span.end for span in story.spans]
    whole = max(max(ends) - begin, timedelta(milliseconds=1))
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right", no_wrap=True, style="dim")
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for span in story.spans:
        table.add_row(
            f"+{duration(span.begin - begin)}",
            span.kind.value,
            Text(_bar(span, begin, whole, cells, story.now), style=LOOKS[look_of(span)]),
            _length(span, story.now),
            cell(words_of(span)),
        )
    return table


def _bar(span: Span, begin: datetime, whole: timedelta, cells: int, now: datetime) -> str:
    """Draw where a span lies in the whole; what is short is one cell, what takes no time a line."""
    first = min(cells - 1, int((span.begin - begin) / whole * cells))
    length = span.length(now)
    if not length:
        return " " * first + POINT + " " * (cells - first - 1)
    count = min(cells - first, max(1, round(length / whole * cells)))
    sign = LIGHT if span.kind in WAITS else FULL
    return " " * first + sign * count + " " * (cells - first - count)


def look_of(span: Span) -> Literal["bad", "wait", "good", "work"]:
    """Say how a span is drawn: colour is not alone, for the words say it too."""
    if span.state in {"failed", "orphaned"}:
        return "bad"
    if span.kind in WAITS:
        return "wait"
    return "good" if span.state == "success" else "work"


def _length(span: Span, now: datetime) -> str:
    length = span.length(now)
    if span.end is None:
        return f"{duration(length)} …"
    return duration(length) if length else ""


def words_of(span: Span) -> str:
    """Say what a part of the time was, and why."""
    call = span.call
    if call is None:
        return f"{span.label}: {span.because}" if span.label else span.because
    what = "hedge" if call.hedge else f"call {call.attempt}"
    known = "" if not call.cost_usd else f", {money(call.cost_usd)}"
    tokens = f", {call.input_tokens}+{call.output_tokens} tokens" if call.output_tokens else ""
    return f"{span.label}, {what}: {span.because}{tokens}{known}"

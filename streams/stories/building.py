"""From the record of an intent to its story: where it stands, what it cost, and why; pure."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from schemas.vocabulary import EventName
from streams.stories.parts import Call, Ending, Event
from streams.stories.record import Record
from streams.stories.story import Bill, Span, SpanKind, Status, Story, Turns
from streams.stories.telling import headline
from streams.stories.walk import accepted_of, due_of, spans_of, still_waits

__all__ = ["story_of"]


def story_of(record: Record, now: datetime) -> Story:
    """Build the story as of a moment; the record must hold something."""
    ending = record.endings[-1] if record.endings else None
    deferral = _last_deferral(record.events)
    spans = spans_of(record, now)
    status = _status(record, ending, deferral, spans)
    over = ending if status in {Status.COMPLETED, Status.FAILED} else None
    story = Story(
        record=record,
        now=now,
        status=status,
        accepted_at=_accepted(record),
        spans=spans,
        ending=ending,
        due_at=_due(record, deferral) if status is Status.DEFERRED else None,
        bill=Bill(
            usd=sum((call.cost_usd or Decimal(0) for call in record.calls), Decimal(0)),
            uncertain_usd=sum((_uncertain(call) for call in record.calls), Decimal(0)),
            unpriced=sum(call.finished and call.cost_usd is None for call in record.calls),
        ),
        turns=Turns(
            deferrals=sum(one.name == EventName.WORKFLOW_DEFERRED for one in record.events),
            orphans=sum(span.state == "orphaned" for span in spans),
            replays=_replays(record),
        ),
        cached=over is not None and over.completed and _is_cached(over, record),
        notes=_notes(record),
    )
    return replace(story, headline=headline(story))


def _status(
    record: Record, ending: Ending | None, deferral: Event | None, spans: Iterable[Span]
) -> Status:
    begun = max((call.started_at for call in record.calls), default=None)
    waits = [part for part in record.waiting if still_waits(part, ending)]
    if ending is not None and (begun is None or begun <= ending.at) and not waits:
        return Status.COMPLETED if ending.completed else Status.FAILED
    put_off = max((part.since for part in waits if part.due_at), default=None)
    if deferral is not None and (ending is None or deferral.at > ending.at):
        put_off = max(deferral.at, put_off or deferral.at)
    if put_off is not None and (begun is None or begun < put_off):
        return Status.DEFERRED
    fresh = begun is not None and (ending is None or begun > ending.at)
    if not fresh:
        return Status.WAITING
    calls = [span for span in spans if span.kind is SpanKind.CALL]
    return Status.LOST if calls and calls[-1].state == "orphaned" else Status.RUNNING


def _last_deferral(events: Iterable[Event]) -> Event | None:
    found = [event for event in events if event.name == EventName.WORKFLOW_DEFERRED]
    return found[-1] if found else None


def _due(record: Record, deferral: Event | None) -> datetime | None:
    known = [part.due_at for part in record.waiting if part.due_at is not None]
    if deferral is not None and (until := due_of(deferral)) is not None:
        known.append(until)
    return max(known, default=None)


def _accepted(record: Record) -> datetime | None:
    """Give when the intent came in, by the first of all who know it."""
    known = [part.accepted_at for part in record.waiting]
    known += [ending.at - timedelta(milliseconds=ending.total_ms) for ending in record.endings]
    known += [
        at
        for event in record.events
        if event.name == EventName.WORKFLOW_DEFERRED and (at := accepted_of(event)) is not None
    ]
    known += [
        call.started_at - timedelta(milliseconds=call.queue_ms + call.limiter_ms)
        for call in record.calls
        if call.queue_ms
    ]
    known += [call.started_at for call in record.calls[:1]]
    return min(known, default=None)


def _uncertain(call: Call) -> Decimal:
    """Give what a call may have cost beside what is known."""
    return max(Decimal(0), (call.cost_upper_usd or Decimal(0)) - (call.cost_usd or Decimal(0)))


def _replays(record: Record) -> int:
    counts = [call.replay_count for call in record.calls]
    counts += [one.replay_count or 0 for one in record.endings]
    counts += [one.replay_count for one in record.waiting]
    return max(counts, default=0)


def _is_cached(ending: Ending, record: Record) -> bool:
    """Whether a result came from the cache; ClickHouse's row of it does not say, its event does."""
    if ending.cached is not None:
        return ending.cached
    for event in record.events:
        if event.details.get("result_id") == ending.outcome_id and "cached" in event.details:
            return bool(event.details["cached"])
    return not any(call.used for call in record.calls)


def _notes(record: Record) -> tuple[str, ...]:
    notes = list(record.notes)
    repeats = sum(event.name == EventName.DUPLICATE_IGNORED for event in record.events)
    if repeats:
        times = "once more" if repeats == 1 else f"{repeats} times more"
        notes.append(f"published {times} after it had been decided: ignored, nothing was called")
    for event in record.events:
        if event.name == EventName.FIELDS_UNKNOWN:
            named = event.details.get("fields") or ()
            notes.append(f"fields that mean nothing here: {', '.join(map(str, named))}")
    return tuple(dict.fromkeys(notes))

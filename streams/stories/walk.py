"""From the record to spans: one walk along the time, each wait with its because; pure."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from schemas.vocabulary import EventName
from streams.stories.parts import Call, Ending, Event, Waiting
from streams.stories.record import Record
from streams.stories.story import Span, SpanKind
from streams.stories.words import deferral_reason, duration, failure

__all__ = ["accepted_of", "due_of", "spans_of", "still_waits"]

#: What is shorter is a clock's rounding, not a wait.
LEAST = timedelta(milliseconds=2)
#: On one moment: calls first, then what came of them, then what followed.
ORDER: dict[type[object], int] = {Call: 0, Event: 1, Ending: 2}

Item = Call | Ending | Event


def spans_of(record: Record, now: datetime) -> tuple[Span, ...]:
    """Give the spans of all that is on record, in the order of their begin."""
    walk = _Walk(record, now)
    for item in _in_order(record):
        match item:
            case Call():
                walk.call(item)
            case Ending():
                walk.end(item)
            case Event():
                walk.event(item)
    walk.finish(record.waiting)
    return tuple(sorted(walk.spans, key=lambda span: span.begin))


def due_of(event: Event) -> datetime | None:
    """Give the moment until which a deferral lasts; None where its event does not say."""
    return _moment(event, "until")


def accepted_of(event: Event) -> datetime | None:
    """Give the moment at which a deferred intent had come in; None where it is not said."""
    return _moment(event, "accepted_at")


def _moment(event: Event, name: str) -> datetime | None:
    try:
        return datetime.fromisoformat(str(event.details.get(name)))
    except ValueError:
        return None


def still_waits(part: Waiting, ended: Ending | None) -> bool:
    """Whether a record is to be done yet: after an outcome only a replay is."""
    return ended is None or (part.replay_count > 0 and part.since > ended.at)


def _in_order(record: Record) -> list[Item]:
    told = {EventName.WORKFLOW_DEFERRED.value, EventName.ONLYFANS_MESSAGE_SCHEDULED.value}
    events = [event for event in record.events if event.name in told]
    items: list[Item] = [*record.calls, *record.endings, *events]
    return sorted(items, key=lambda item: (_at(item), ORDER[type(item)]))


def _at(item: Item) -> datetime:
    return item.started_at if isinstance(item, Call) else item.at


class _Walk:
    """Where the story stands: the last call, deferral or ending."""

    def __init__(self, record: Record, now: datetime) -> None:
        self.spans: list[Span] = []
        self._now = now
        self._written = _written(record.events)
        self._moves = _moves(record.events)
        self._last: Call | None = None  # of this execution, hedges aside
        self._open: list[Call] = []  # calls without an end
        self._deferred: Event | None = None
        self._ended: Ending | None = None
        self._ends: datetime | None = None  # of the last call that ended

    def call(self, call: Call) -> None:
        """Tell what was waited for before a call, and the call."""
        waited_from = call.started_at - _ms(call.limiter_ms + call.backoff_ms)
        if self._last is None or self._last.execution_id != call.execution_id:
            self._begin(call, waited_from)
        elif not call.hedge:
            self._between(call, self._last, waited_from)
        limited_from = call.started_at - _ms(call.limiter_ms)
        because = f"{call.provider}'s limits: requests or tokens a minute, or calls in flight"
        self._add(SpanKind.LIMITER, "", because, limited_from, call.started_at)
        if call.finished:
            self._tell_call(call, call.ended_at)
            self._ends = max(call.ended_at or call.started_at, self._ends or call.started_at)
        else:
            self._open.append(call)
        if not call.hedge or self._last is None:
            self._last = call

    def end(self, ending: Ending) -> None:
        """Tell how the outcome was written down; calls without an end are lost by now."""
        self._lose(ending.at)
        if self._ended is not None and not self._has_calls():
            accepted = ending.at - _ms(ending.total_ms)
            self._replayed(self._ended, accepted)
        if not self._has_calls():
            self._without_call(ending)
        written = max(
            ending.written_at or ending.at, self._written.get(ending.outcome_id, ending.at)
        )
        kind = "result" if ending.completed else "dead letter"
        if self._ends is not None:
            because = f"the {kind}, the ledger and the offset go into one transaction"
            self._add(SpanKind.COMMIT, "", because, self._ends, written)
        self._ended, self._last, self._deferred, self._ends = ending, None, None, None

    def event(self, event: Event) -> None:
        """Tell a deferral's begin, or a delivery."""
        if event.name == EventName.WORKFLOW_DEFERRED:
            self._lose(event.at)
            if self._deferred is not None and self._last is None:
                self._resume(self._deferred, event.at)  # put off again without a call
            elif self._last is None and (accepted := accepted_of(event)) is not None:
                self._queue(accepted, event.at, "in line for a slot")
            self._deferred, self._last, self._ends = event, None, None
        elif self._ended is not None:
            because = "deliveries are paced: for the recipient, a minute and an hour"
            self._add(SpanKind.DELIVERY, "", because, self._ended.at, event.at)

    def finish(self, waiting: Iterable[Waiting]) -> None:
        """Tell what goes on: calls without an end, a deferral, a place in line."""
        for call in self._open:
            over = call.deadline_at is not None and call.deadline_at < self._now
            self._tell_call(call, call.deadline_at if over else None, lost=over)
        if self._deferred is not None and self._last is None:
            because = deferral_reason(str(self._deferred.details.get("reason", "")))
            span = Span(SpanKind.DEFERRAL, "", because, self._deferred.at, None)
            self.spans.append(span)
        elif self._last is None:
            for part in waiting:
                if still_waits(part, self._ended):
                    self._wait(part)
        elif self._ends is not None and not self._open and self._last.outcome != "success":
            because = f"{self._last.provider} {failure(self._last)}"
            self.spans.append(Span(SpanKind.BACKOFF, "", because, self._ends, None))

    def _begin(self, call: Call, until: datetime) -> None:
        """Tell what an execution has waited for before its first call."""
        accepted = until - _ms(call.queue_ms)
        if self._deferred is not None:
            self._resume(self._deferred, until)
        elif self._ended is not None:
            self._replayed(self._ended, accepted)
            self._queue(accepted, until, "in line, replayed")
        elif self._last is not None:
            self._lose(until)
            because = "its worker was gone; another one began it anew"
            if self._ends is not None and self._ends > self._last.started_at:
                self._add(SpanKind.QUEUE, "", because, self._ends, until)
        else:
            self._queue(accepted, until, "in line for a slot and a provider with room")
        if call.sequence and not call.hedge:
            self._fall_back(call, until, "could not be called")
        self._deferred = self._ended = None

    def _between(self, call: Call, before: Call, waited_from: datetime) -> None:
        if call.provider != before.provider:
            self._fall_back(call, waited_from, failure(before), origin=before.provider)
        because = f"{before.provider} {failure(before)}"
        if before.retry_after_ms:
            because += f", and asked for {duration(_ms(before.retry_after_ms))}"
        backed_off = waited_from + _ms(call.backoff_ms)
        self._add(SpanKind.BACKOFF, "", because, waited_from, backed_off)

    def _fall_back(self, call: Call, at: datetime, why: str, *, origin: str = "") -> None:
        known = origin or self._moves.get(call.provider, "")
        label = f"{known} → {call.provider}" if known else f"→ {call.provider}"
        because = f"{known or 'the one before it'} {why}"
        self.spans.append(Span(SpanKind.FALLBACK, label, because, at, at))

    def _resume(self, event: Event, until: datetime) -> None:
        due = due_of(event)
        back = until if due is None else min(max(due, event.at), until)
        because = deferral_reason(str(event.details.get("reason", "")))
        self._add(SpanKind.DEFERRAL, "", because, event.at, back)
        self._queue(back, until, "in line again after its deferral")

    def _replayed(self, ended: Ending, accepted: datetime) -> None:
        reason = f" ({ended.reason})" if ended.reason else ""
        because = f"ended without a result{reason}, until it was replayed"
        self._add(SpanKind.DEAD, "", because, ended.at, accepted)

    def _without_call(self, ending: Ending) -> None:
        accepted = ending.at - _ms(ending.total_ms)
        if self._deferred is not None:
            self._resume(self._deferred, ending.at)
        else:
            self._queue(accepted, ending.at, "in line for a slot")
        if ending.completed:
            because = "the same request had been answered before"
            span = Span(SpanKind.CACHE, ending.provider, because, ending.at, ending.at)
            self.spans.append(span)

    def _has_calls(self) -> bool:
        return self._last is not None or self._ends is not None

    def _lose(self, until: datetime) -> None:
        for call in self._open:
            self._tell_call(call, until, lost=True)
        self._open.clear()

    def _tell_call(self, call: Call, end: datetime | None, *, lost: bool = False) -> None:
        state, because = call_state(call, lost=lost)
        self.spans.append(
            Span(SpanKind.CALL, call.provider, because, call.started_at, end, call, state)
        )

    def _wait(self, part: Waiting) -> None:
        if part.due_at is not None:
            because = deferral_reason(part.reason)
            self.spans.append(Span(SpanKind.DEFERRAL, part.topic, because, part.since, None))
        else:
            because = "no worker has begun it"
            self.spans.append(Span(SpanKind.QUEUE, part.topic, because, part.since, None))

    def _queue(self, begin: datetime, end: datetime, because: str) -> None:
        self._add(SpanKind.QUEUE, "", because, begin, end)

    def _add(
        self, kind: SpanKind, label: str, because: str, begin: datetime, end: datetime
    ) -> None:
        if end - begin >= LEAST:
            self.spans.append(Span(kind, label, because, begin, end))


def call_state(call: Call, *, lost: bool) -> tuple[str, str]:
    """Give how a call stands, and what is to be said of it."""
    if lost:
        bound = (
            ""
            if call.cost_upper_usd is None
            else f"; may have cost up to ${call.cost_upper_usd.normalize():f}"
        )
        return "orphaned", f"no end was heard: worker {call.worker} died or lost its lane{bound}"
    if not call.finished:
        return "running", "the provider is at work"
    if call.outcome == "success":
        if not call.used:
            return "success", "answered, and its answer was not used"
        return "success", "answered" + (", quicker than its rival" if call.hedge else "")
    state = "cancelled" if call.outcome == "cancelled" else "failed"
    return state, failure(call)


def _written(events: Iterable[Event]) -> dict[str, datetime]:
    """Give when outcomes were written down, by their ids."""
    named = ((str(event.details.get(name)), event.at)
             for event in events for name in ("result_id", "dead_letter_id")
             if name in event.details)  # fmt: skip
    return dict(named)


def _moves(events: Iterable[Event]) -> dict[str, str]:
    """Give the provider before each that was turned to."""
    started = EventName.FALLBACK_STARTED.value
    return {
        str(event.details.get("to")): str(event.details.get("from"))
        for event in events
        if event.name == started
    }


def _ms(milliseconds: float) -> timedelta:
    return timedelta(milliseconds=milliseconds)

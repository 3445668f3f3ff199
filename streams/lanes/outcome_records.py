"""From an outcome to the records of one transaction; pure."""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import assert_never

from agents.deciding.schedule import NOT_BEFORE
from agents.task import Completed, Deferred, Failed, Outcome
from schemas.attempt import ProviderAttempt
from schemas.base import Message, format_time
from schemas.events import HybridWorkflowState, LedgerRecord, WorkflowEvent
from schemas.topics import Topics
from schemas.vocabulary import EventName, WorkflowStatus
from streams.lanes.letters import dead_letter, dead_letter_headers, result_headers
from streams.messages.batch_records import line_record, passed_on
from streams.messages.records import (
    DEFERRAL_HEADER,
    Decided,
    Identity,
    Incoming,
    OutRecord,
    replay_record,
    start_record,
)
from streams.messages.traces import traced, traces_of

__all__ = ["outcome_records"]


@dataclass(frozen=True, slots=True)
class _Origin:
    """Whose outcome it is, and which worker decided it when."""

    topics: Topics
    incoming: Incoming
    who: Identity
    lane: int
    outcome_id: str
    worker: str
    group: str
    now: datetime
    by_reference: bool = False

    @property
    def key(self) -> bytes:
        """Key of what is written for the intent."""
        return self.who.intent_id.encode()

    @property
    def tenant(self) -> str:
        """For whom it is."""
        return self.who.intent.tenant if self.who.intent else "default"

    @property
    def kind(self) -> str | None:
        """The intent's type, where it could be read."""
        return self.who.intent.type if self.who.intent else None


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What an outcome is called, and the records that only its kind has."""

    status: WorkflowStatus
    event: EventName
    details: dict[str, object]
    records: tuple[OutRecord, ...]
    provider: str | None = None
    deferred_until: datetime | None = None


def outcome_records(
    topics: Topics,
    incoming: Incoming,
    who: Identity,
    outcome: Outcome,
    *,
    lane: int,
    outcome_id: str,
    worker: str,
    group: str,
    now: datetime,
    by_reference: bool = False,
) -> Decided:
    """Build result, dead letter or deferral with its attempts, state, events and ledger entry."""
    origin = _Origin(topics, incoming, who, lane, outcome_id, worker, group, now, by_reference)
    match outcome:
        case Completed():
            verdict = _completed(origin, outcome)
        case Failed():
            verdict = _failed(origin, outcome)
        case Deferred():
            verdict = _deferred(origin, outcome)
        case _:
            assert_never(outcome)
    ledger = _ledger_entry(origin, outcome, verdict)
    records = [
        *verdict.records,
        *_attempt_records(topics, outcome.last_attempt, origin.key),
        *_events(origin, outcome, verdict),
        OutRecord(topics.state, origin.key, _state(origin, verdict).to_json()),
        _keyed(topics.ledger, who.key, ledger, lane),
    ]
    if who.intent is not None:
        records.append(start_record(topics, who.key, None, lane=lane))
    if not isinstance(outcome, Deferred):
        replayed = replay_record(
            topics,
            who,
            lane=lane,
            decided_at_ms=ledger.decided_at_ms,
            status=verdict.status,
            cost_usd=_cost(outcome),
        )
        records += [replayed] if replayed is not None else []
    passed, whole = traces_of(incoming, who)
    waiting = (*topics.deferred, topics.batches)
    # A deferred intent stays as it was sent: its trace is made again, the same.
    told = (traced(one, passed if one.topic in waiting else whole) for one in records)
    return Decided(outcome_id, ledger, tuple(told))


def _cost(outcome: Completed | Failed) -> Decimal | None:
    """Give what all calls of an execution have cost."""
    return outcome.result.total_cost_usd if isinstance(outcome, Completed) else outcome.spent_usd


def _completed(origin: _Origin, outcome: Completed) -> _Verdict:
    result, topics = outcome.result, origin.topics
    headers = result_headers(origin.incoming, origin.who, result, prefix=topics.prefix)
    records = [OutRecord(topics.results, origin.key, result.to_json(), headers)]
    if outcome.cached is not None:
        request, answer = outcome.cached
        records.append(OutRecord(topics.cache, request.encode(), answer.to_json()))
    return _Verdict(
        WorkflowStatus.COMPLETED,
        EventName.WORKFLOW_COMPLETED,
        {
            "provider": result.provider,
            "result_id": result.result_id,
            "cached": result.metadata.cached,
        },
        tuple(records),
        provider=result.provider,
    )


def _failed(origin: _Origin, outcome: Failed) -> _Verdict:
    incoming, who = origin.incoming, origin.who
    told, by_reference = origin.outcome_id, origin.by_reference
    letter = dead_letter(incoming, who, outcome, told, now=origin.now, by_reference=by_reference)
    record = OutRecord(
        origin.topics.dead_letters,
        origin.key if who.intent else (incoming.key or origin.key),
        letter.to_json(),
        dead_letter_headers(incoming, who, letter, origin.group, prefix=origin.topics.prefix),
    )
    return _Verdict(
        WorkflowStatus.FAILED,
        EventName.WORKFLOW_FAILED,
        {"reason": outcome.reason.value, "dead_letter_id": origin.outcome_id},
        (record,),
    )


def _deferred(origin: _Origin, outcome: Deferred) -> _Verdict:
    state = outcome.state
    until = datetime.fromtimestamp(state.until_ms / 1000, UTC)
    return _Verdict(
        WorkflowStatus.DEFERRED,
        EventName.WORKFLOW_DEFERRED,
        {
            "reason": state.reason,
            "count": state.count,
            "until": format_time(until),
            "accepted_at": format_time(state.source.timestamp),
        },
        (_deferred_record(origin, outcome),),
        deferred_until=until,
    )


def _events(origin: _Origin, outcome: Outcome, verdict: _Verdict) -> list[OutRecord]:
    """Say what happened; the moves between providers of an execution that ended come first."""
    happened: list[tuple[EventName, dict[str, object]]] = []
    if not isinstance(outcome, Deferred):
        if origin.who.unknown:
            happened.append((EventName.FIELDS_UNKNOWN, {"fields": list(origin.who.unknown)}))
        happened += [
            (EventName.FALLBACK_STARTED, {"from": step.from_, "to": step.to, "reason": step.reason})
            for step in outcome.fallbacks
        ]
    before = origin.who.deferral
    waits_on = before is not None and before.reason == NOT_BEFORE == verdict.details.get("reason")
    if not waits_on:  # that was said with its first hop
        happened.append((verdict.event, verdict.details))
    events = (
        WorkflowEvent(
            event_id=f"{origin.outcome_id}/{number}",
            name=name,
            intent_id=origin.who.intent_id,
            tenant=origin.tenant,
            type=origin.kind,
            worker=origin.worker,
            details=details,
            trace_context=origin.who.trace_context,
            occurred_at=origin.now,
        )
        for number, (name, details) in enumerate(happened)
    )
    return [OutRecord(origin.topics.events, origin.key, event.to_json()) for event in events]


def _state(origin: _Origin, verdict: _Verdict) -> HybridWorkflowState:
    return HybridWorkflowState(
        intent_id=origin.who.intent_id,
        status=verdict.status,
        tenant=origin.tenant,
        type=origin.kind,
        outcome_id=origin.outcome_id,
        provider=verdict.provider,
        deferred_until=verdict.deferred_until,
        replay_count=origin.who.replay_count,
        updated_at=origin.now,
    )


def _ledger_entry(origin: _Origin, outcome: Outcome, verdict: _Verdict) -> LedgerRecord:
    return LedgerRecord(
        outcome_id=origin.outcome_id,
        status=verdict.status,
        replay_count=origin.who.replay_count,
        deferrals=outcome.state.hop if isinstance(outcome, Deferred) else 0,
        topic=origin.incoming.topic,
        offset=origin.incoming.offset,
        decided_at_ms=int(origin.now.timestamp() * 1000),
    )


def _deferred_record(origin: "_Origin", outcome: Deferred) -> OutRecord:
    topics, incoming, lane = origin.topics, origin.incoming, origin.lane
    # What nobody can read any more is still known by it.
    state = outcome.state.model_copy(update={"key": origin.who.key})
    if outcome.line is not None:
        return line_record(topics, incoming, outcome.line, state, lane=lane)
    return OutRecord(
        topics.deferred[outcome.topic_index],
        incoming.key,
        incoming.value or b"",
        (*passed_on(incoming.headers), (DEFERRAL_HEADER, state.to_json())),
        partition=lane,
    )


def _attempt_records(
    topics: Topics, attempt: ProviderAttempt | None, key: bytes
) -> list[OutRecord]:
    return [] if attempt is None else [OutRecord(topics.attempts, key, attempt.to_json())]


def _keyed(topic: str, key: str, message: Message, lane: int) -> OutRecord:
    return OutRecord(topic, key.encode("utf-8", "surrogatepass"), message.to_json(), partition=lane)

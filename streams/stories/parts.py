"""The parts of a record: calls, endings, events, places in line; pure.

The same parts are made from ClickHouse's rows and from Kafka's records: what both have is one.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from schemas.attempt import ProviderAttempt
from schemas.base import Message
from schemas.events import WorkflowEvent
from schemas.outcome import DeadLetter, WorkflowResult
from schemas.vocabulary import AttemptStatus

__all__ = ["Call", "Ending", "Event", "Waiting"]


class Call(Message):
    """One call of a provider; durations in milliseconds, money in dollars."""

    attempt_id: str
    execution_id: str
    tenant: str
    type: str
    provider: str
    model: str
    attempt: int
    sequence: int
    hedge: bool
    replay_count: int
    finished: bool
    outcome: str
    http_status: int
    error_code: str
    retry_after_ms: int | None
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal | None
    cost_upper_usd: Decimal | None
    used: bool
    queue_ms: int
    limiter_ms: int
    backoff_ms: int
    call_ms: int
    request_id: str
    worker: str
    started_at: datetime
    deadline_at: datetime | None

    @classmethod
    def of(cls, attempt: ProviderAttempt) -> "Call":
        """Take a message."""
        return cls(
            attempt_id=attempt.attempt_id,
            execution_id=attempt.execution_id,
            tenant=attempt.tenant,
            type=attempt.type,
            provider=attempt.provider,
            model=attempt.served_model or attempt.requested_model,
            attempt=attempt.attempt,
            sequence=attempt.provider_sequence,
            hedge=attempt.hedge,
            replay_count=attempt.replay_count,
            finished=attempt.status is AttemptStatus.FINISHED,
            outcome=attempt.outcome.value,
            http_status=attempt.http_status or 0,
            error_code=attempt.error_code,
            retry_after_ms=attempt.retry_after_ms,
            input_tokens=attempt.uncached_input_tokens + attempt.cached_input_tokens,
            output_tokens=attempt.visible_output_tokens + attempt.reasoning_tokens,
            cost_usd=attempt.cost_usd,
            cost_upper_usd=attempt.cost_upper_usd,
            used=attempt.used_result,
            queue_ms=attempt.queue_ms,
            limiter_ms=attempt.limiter_ms,
            backoff_ms=attempt.backoff_ms,
            call_ms=attempt.call_ms,
            request_id=attempt.provider_request_id,
            worker=attempt.worker,
            started_at=_utc(attempt.started_at),
            deadline_at=None if attempt.deadline_at is None else _utc(attempt.deadline_at),
        )

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> "Call":
        """Take a row whose columns are named as the fields are."""
        values = dict(row)
        for name in ("attempt_id", "execution_id"):
            values[name] = str(values[name])
        for name in ("started_at", "deadline_at"):
            values[name] = None if values[name] is None else _utc(values[name])
        return cls.model_validate(values)

    @property
    def ended_at(self) -> datetime | None:
        """When it ended; None = nothing was heard of its end."""
        return self.started_at + timedelta(milliseconds=self.call_ms) if self.finished else None

    @property
    def rank(self) -> tuple[bool, bool]:
        """Of two records of one call the greater counts."""
        return self.finished, self.used


class Ending(Message):
    """A result or a dead letter; `message` and `cached` only where the record has them."""

    outcome_id: str
    completed: bool
    tenant: str
    type: str
    provider: str
    model: str
    at: datetime
    total_ms: int
    cost_usd: Decimal | None
    reason: str = ""
    error_class: str = ""
    error_code: str = ""
    message: str = ""
    advice: str = ""
    cached: bool | None = None
    #: How often it had been replayed; None = the record does not say.
    replay_count: int | None = None
    #: `topic:partition:offset` of the record, and when it was written, as Kafka says.
    place: str = ""
    written_at: datetime | None = None
    deduplication_id: str = ""

    @classmethod
    def of_result(
        cls, result: WorkflowResult, *, place: str = "", written_at: datetime | None = None
    ) -> "Ending":
        """Take a result."""
        return cls(
            outcome_id=result.result_id,
            completed=True,
            tenant=result.tenant,
            type=result.type,
            provider=result.provider,
            model=result.model,
            at=_utc(result.completed_at),
            total_ms=result.timings.total_ms,
            cost_usd=result.total_cost_usd,
            cached=result.metadata.cached,
            place=place,
            written_at=written_at,
            deduplication_id=result.deduplication_id or "",
        )

    @classmethod
    def of_letter(
        cls, letter: DeadLetter, *, place: str = "", written_at: datetime | None = None
    ) -> "Ending":
        """Take a dead letter."""
        at, source = _utc(letter.failed_at), _utc(letter.source.timestamp)
        return cls(
            outcome_id=letter.dead_letter_id,
            completed=False,
            tenant=letter.tenant,
            type=letter.type or "",
            provider=letter.attempts[-1].provider if letter.attempts else "",
            model="",
            at=at,
            total_ms=max(0, round((at - source).total_seconds() * 1000)),
            cost_usd=letter.spent_usd,
            reason=letter.reason.value,
            error_class=letter.error_class.value,
            error_code=letter.error_code,
            message=letter.error_message,
            advice=letter.suggested_action,
            replay_count=letter.replay_count,
            place=place,
            written_at=written_at,
        )

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> "Ending":
        """Take a row of `workflow_outcomes`."""
        completed = row["status"] == "completed"
        return cls(
            outcome_id=row["outcome_id"],
            completed=completed,
            tenant=row["tenant"],
            type=row["type"],
            provider=row["provider"],
            model=row["model"],
            at=_utc(row["completed_at"]),
            total_ms=row["total_ms"],
            cost_usd=row["total_cost_usd"],
            reason=row["reason"],
            error_class=row["error_class"],
            error_code=row["error_code"],
            # A result's row does not know it: the column holds its default.
            replay_count=None if completed else row["replay_count"],
        )

    @property
    def rank(self) -> tuple[bool, bool]:
        """Of two records of one ending the one that says more counts."""
        return bool(self.place), bool(self.message)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, as `workflow.events` says it."""

    event_id: str
    name: str
    at: datetime
    worker: str = ""
    tenant: str = ""
    type: str = ""
    details: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @classmethod
    def of(cls, event: WorkflowEvent) -> "Event":
        """Take a message."""
        return cls(
            event_id=event.event_id,
            name=event.name.value,
            at=_utc(event.occurred_at),
            worker=event.worker,
            tenant=event.tenant,
            type=event.type or "",
            details=event.details,
        )

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> "Event":
        """Take a row of `workflow_events`; details that are no JSON are none."""
        try:
            details = json.loads(row["details"] or "{}")
        except ValueError:
            details = {}
        return cls(
            event_id=row["event_id"],
            name=row["name"],
            at=_utc(row["occurred_at"]),
            worker=row["worker"],
            tenant=row["tenant"],
            type=row["type"],
            details=details if isinstance(details, dict) else {},
        )


class Waiting(Message):
    """The intent in a topic that workers read, behind what they have committed."""

    topic: str
    partition: int
    offset: int
    #: When the record was written there.
    since: datetime
    #: When the intent itself came in.
    accepted_at: datetime
    tenant: str = ""
    type: str = ""
    replay_count: int = 0
    due_at: datetime | None = None
    reason: str = ""

    @property
    def place(self) -> str:
        """Say where, as `hybrid trace` reads it."""
        return f"{self.topic}:{self.partition}:{self.offset}"


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)

"""From messages to ClickHouse rows; pure. The recorder writes them."""

import json
from datetime import UTC, datetime
from typing import Any

from schemas.attempt import ProviderAttempt
from schemas.events import WorkflowEvent
from schemas.outcome import DeadLetter, WorkflowResult
from schemas.vocabulary import AttemptStatus

__all__ = ["Row", "attempt_row", "dead_letter_row", "event_row", "result_row"]

#: A table and the row's JSON form, as `JSONEachRow` takes it.
Row = tuple[str, dict[str, Any]]


#: Moments beyond these are of no clock that was right, and of no partition that should be.
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(2199, 12, 31, tzinfo=UTC)


def _time(moment: datetime | None) -> str | None:
    """Write a moment as ClickHouse's DateTime64(3, 'UTC') reads it, within what it can hold."""
    if moment is None:
        return None
    utc = min(max(_aware(moment), _EARLIEST), _LATEST).astimezone(UTC)
    return utc.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def _aware(moment: datetime) -> datetime:
    """Take a moment without a zone as UTC: what our messages hold, whoever wrote them."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def attempt_row(attempt: ProviderAttempt) -> Row:
    """Give the row of a provider call; a later record of the same call replaces an earlier one."""
    row = attempt.to_dict()
    row["http_status"] = attempt.http_status or 0
    for name in ("started_at", "deadline_at", "finished_at"):
        row[name] = _time(getattr(attempt, name))
    version = 0
    if attempt.status is AttemptStatus.FINISHED:
        # A used answer wins over the same answer journalled as unused by a worker in doubt.
        version = 2 if attempt.used_result else 1
    row["record_version"] = version
    return "provider_attempts", row


def result_row(result: WorkflowResult) -> Row:
    """Give the row of a result."""
    document = result.to_dict()
    return "workflow_outcomes", {
        "outcome_id": result.result_id,
        "intent_id": result.intent_id,
        "status": "completed",
        "tenant": result.tenant,
        "type": result.type,
        "user_id": result.user_id,
        "provider": result.provider,
        "model": result.model,
        "retries": result.metadata.total_retries,
        "fallback": result.metadata.fallback,
        "total_cost_usd": document["total_cost_usd"],
        **result.timings.to_dict(),
        "completed_at": _time(result.completed_at),
    }


def dead_letter_row(letter: DeadLetter) -> Row:
    """Give the row of a dead letter."""
    document = letter.to_dict()
    taken = _aware(letter.failed_at) - _aware(letter.source.timestamp)
    total = max(0, round(taken.total_seconds() * 1000))
    return "workflow_outcomes", {
        "outcome_id": letter.dead_letter_id,
        "intent_id": letter.intent_id,
        "status": "failed",
        "tenant": letter.tenant,
        "type": letter.type or "",
        "provider": letter.attempts[-1].provider if letter.attempts else "",
        "reason": letter.reason.value,
        "error_class": letter.error_class.value,
        "error_code": letter.error_code,
        "fallback": bool(letter.fallback_history),
        "replay_count": letter.replay_count,
        "total_cost_usd": document["spent_usd"],
        "total_ms": total,
        "completed_at": _time(letter.failed_at),
    }


def event_row(event: WorkflowEvent) -> Row:
    """Give the row of an event."""
    return "workflow_events", {
        "event_id": event.event_id,
        "name": event.name.value,
        "intent_id": event.intent_id,
        "tenant": event.tenant,
        "type": event.type or "",
        "worker": event.worker,
        "details": json.dumps(event.details, separators=(",", ":"), sort_keys=True),
        "occurred_at": _time(event.occurred_at),
    }

"""A story as a document for programs; pure. Durations in milliseconds, money as decimal strings."""

from datetime import datetime, timedelta
from typing import Any

from schemas.base import format_time, format_usd
from streams.stories.story import Span, SpanKind, Story

__all__ = ["SPAN_FIELDS", "document_of", "span_of"]

#: Names of a span's fields, in their order.
SPAN_FIELDS = (
    "kind", "label", "state", "because", "began_at", "ended_at", "duration_ms", "attempt_id",
    "provider", "model", "attempt", "hedge", "outcome", "http_status", "error_code", "cost_usd",
    "cost_upper_usd", "input_tokens", "output_tokens", "provider_request_id", "worker",
)  # fmt: skip


def document_of(story: Story) -> dict[str, Any]:
    """Give all of a story but the content of prompts and answers."""
    record, ending = story.record, story.ending
    total = story.total
    return {
        "intent_id": record.intent_id,
        "tenant": record.tenants[0] if record.tenants else None,
        "type": record.types[0] if record.types else None,
        "status": story.status.value,
        "headline": story.headline,
        "accepted_at": _time(story.accepted_at),
        "ended_at": _time(story.ended_at),
        "as_of": _time(story.now),
        "total_ms": None if total is None else _ms(total),
        "due_at": _time(story.due_at),
        "cost_usd": None if story.bill.unpriced else format_usd(story.bill.usd),
        "uncertain_usd": format_usd(story.bill.uncertain_usd),
        "unpriced": story.bill.unpriced,
        "calls": len(record.calls),
        "deferrals": story.turns.deferrals,
        "orphans": story.turns.orphans,
        "replays": story.turns.replays,
        "cached": story.cached,
        "outcome": None
        if ending is None
        else {
            "outcome_id": ending.outcome_id,
            "status": "completed" if ending.completed else "failed",
            "provider": ending.provider or None,
            "model": ending.model or None,
            "reason": ending.reason or None,
            "error_class": ending.error_class or None,
            "error_code": ending.error_code or None,
            "error_message": ending.message or None,
            "suggested_action": ending.advice or None,
            "place": ending.place or None,
        },
        "spent_ms": {kind.name.lower(): _ms(story.spent_on(kind)) for kind in SpanKind},
        "spans": [span_of(span, story.now) for span in story.spans],
        "waiting_at": [part.place for part in record.waiting],
        "sources": list(record.sources),
        "notes": list(story.notes),
    }


def span_of(span: Span, now: datetime) -> dict[str, Any]:
    """Give a span; what only calls have is None for the others."""
    call = span.call
    values = (
        span.kind.value, span.label, span.state or None, span.because, _time(span.begin),
        _time(span.end), _ms(span.length(now)),
    )  # fmt: skip
    of_call: tuple[Any, ...] = (None,) * (len(SPAN_FIELDS) - len(values))
    if call is not None:
        of_call = (
            call.attempt_id,
            call.provider,
            call.model,
            call.attempt,
            call.hedge,
            call.outcome if call.finished else None,
            call.http_status or None,
            call.error_code or None,
            None if call.cost_usd is None else format_usd(call.cost_usd),
            None if call.cost_upper_usd is None else format_usd(call.cost_upper_usd),
            call.input_tokens,
            call.output_tokens,
            call.request_id or None,
            call.worker,
        )
    return dict(zip(SPAN_FIELDS, (*values, *of_call), strict=True))


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else format_time(moment)


def _ms(span: timedelta) -> int:
    return round(span.total_seconds() * 1000)

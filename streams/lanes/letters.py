"""Dead letters, with the exact bytes that came, and the headers of outcomes; pure."""

import base64
import json
from datetime import datetime

from agents.task import Failed
from schemas.intent import WorkflowIntent
from schemas.outcome import DeadLetter, OriginalRecord, WorkflowResult
from streams.messages.cloud_events import (
    DEAD_LETTER,
    RESULT,
    described,
    without_envelope,
)
from streams.messages.records import (
    DELIVERY_HEADER,
    INTENT_ID_HEADER,
    OWN_HEADERS,
    Identity,
    Incoming,
    writable_headers,
)

__all__ = ["dead_letter", "dead_letter_headers", "public_headers", "result_headers"]

#: Headers larger than this together are not repeated on a dead letter.
MAX_PASSED_BYTES = 32_768


def dead_letter(
    incoming: Incoming,
    who: Identity,
    failed: Failed,
    dead_letter_id: str,
    *,
    now: datetime,
    by_reference: bool = False,
) -> DeadLetter:
    """Build the dead letter, with the exact bytes that came, or only where they stand."""
    intent = who.intent
    # What cannot be opened stands nowhere else for long: its source is what was put off.
    by_reference = by_reference and incoming.unreadable is None
    return DeadLetter(
        dead_letter_id=dead_letter_id,
        intent_id=who.intent_id,
        reason=failed.reason,
        error_class=failed.error_class,
        error_code=failed.code,
        error_message=failed.message,
        retriable=failed.retriable,
        suggested_action=failed.suggested_action,
        refusal=None if by_reference else failed.refusal,
        attempts=list(failed.attempts),
        fallback_history=list(failed.fallbacks),
        spent_usd=failed.spent_usd,
        replay_count=who.replay_count,
        source=who.source,
        original=OriginalRecord(
            key=_base64(incoming.key),
            value=None if by_reference else _base64(incoming.value),
            headers=[
                (name, base64.b64encode(value).decode())
                for name, value in writable_headers(incoming.headers)
                if name not in OWN_HEADERS
            ],
        ),
        by_reference=by_reference,
        tenant=intent.tenant if intent else "default",
        type=intent.type if intent else None,
        trace_context=who.trace_context,
        deduplication_id=intent.deduplication_id if intent else None,
        failed_at=now,
    )


def public_headers(incoming: Incoming, who: Identity) -> tuple[tuple[str, bytes], ...]:
    """Pass the intent's headers on, and say in headers what consumers route by."""
    own = {INTENT_ID_HEADER, "intent-type", "tenant", *OWN_HEADERS}
    given = without_envelope(writable_headers(incoming.headers), who.event)
    passed = tuple(pair for pair in given if pair[0] not in own)
    intent = who.intent
    ours = [(INTENT_ID_HEADER, who.intent_id.encode())]
    if intent is not None:
        ours += [("intent-type", intent.type.encode()), ("tenant", intent.tenant.encode())]
    return (*passed, *ours)


def result_headers(
    incoming: Incoming, who: Identity, result: WorkflowResult, *, prefix: str
) -> tuple[tuple[str, bytes], ...]:
    """Say in headers what consumers route by, and whom a result is to be delivered to."""
    event = described(
        who.event,
        kind=RESULT,
        outcome_id=result.result_id,
        subject=who.intent_id,
        prefix=prefix,
        at=result.completed_at,
    )
    return (*public_headers(incoming, who), *_delivery_headers(who.intent), *event)


def _delivery_headers(intent: WorkflowIntent | None) -> tuple[tuple[str, bytes], ...]:
    """Say on a result that it is to be delivered, and to whom."""
    if intent is None or not intent.send_to_onlyfans:
        return ()
    wanted = {"recipient_id": intent.recipient_id, "platforms": intent.platforms}
    return ((DELIVERY_HEADER, json.dumps(wanted).encode()),)


def dead_letter_headers(
    incoming: Incoming, who: Identity, letter: DeadLetter, group: str, *, prefix: str
) -> tuple[tuple[str, bytes], ...]:
    """Add the names of KIP-1191, and ours in the same family."""
    values = {
        "topic": who.source.topic,
        "partition": str(who.source.partition),
        "offset": str(who.source.offset),
        "group": group,
        "message": letter.error_message,
        "delivery.count": str(len(letter.attempts)),
        "timestamp": str(int(who.source.timestamp.timestamp() * 1000)),
        "reason": letter.reason.value,
        "class": letter.error_class.value,
        "replay.count": str(letter.replay_count),
    }
    family = tuple((f"__dlq.errors.{name}", value.encode()) for name, value in values.items())
    passed = tuple(
        pair for pair in public_headers(incoming, who) if not pair[0].startswith("__dlq.errors.")
    )
    if sum(len(name) + len(value) for name, value in passed) > MAX_PASSED_BYTES:
        # They are in `original` too; twice they would not fit into the record.
        passed = tuple(pair for pair in passed if pair not in writable_headers(incoming.headers))
    event = described(
        who.event,
        kind=DEAD_LETTER,
        outcome_id=letter.dead_letter_id,
        subject=who.intent_id,
        prefix=prefix,
        at=letter.failed_at,
    )
    return (*passed, *family, *event)


def _base64(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode()

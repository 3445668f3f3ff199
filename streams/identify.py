"""From a record to whose work it is: decoding, ids, replay and deferral headers; pure."""

from dataclasses import dataclass

from pydantic import ValidationError

from agents.work import Failed
from schemas.codec import IntentError, decode_intent, derive_intent_id
from schemas.events import DeferralState
from schemas.vocabulary import ErrorClass
from streams.records import (
    DEFERRAL_HEADER,
    INTENT_ID_HEADER,
    REPLAY_COUNT_HEADER,
    REPLAYED_HEADER,
    Identity,
    Incoming,
    header,
)

__all__ = ["Identified", "deferral_of", "identify"]

#: Digits of a replay count that are believed; the ledger keeps counts up to 255.
MAX_REPLAYS = 255


@dataclass(frozen=True, slots=True)
class Identified:
    """Who it is and, where it cannot be run, the failure it ends with."""

    who: Identity
    failed: Failed | None = None


def identify(incoming: Incoming, *, max_bytes: int) -> Identified:
    """Read a record; never raises."""
    deferral = deferral_of(incoming)
    replays = _replay_count(incoming)
    replayed_id = None
    if header(incoming.headers, REPLAYED_HEADER) is not None:
        replayed_id = (header(incoming.headers, INTENT_ID_HEADER) or b"").decode("utf-8", "replace")
    derived = derive_intent_id(incoming.topic, incoming.partition, incoming.offset)
    known = (deferral.intent_id if deferral else None) or replayed_id or None
    source = deferral.source if deferral else incoming.source
    try:
        intent = decode_intent(incoming.value, max_bytes=max_bytes)
    except IntentError as error:
        intent_id = known or error.intent_id or derived
        failed = Failed(
            reason=error.reason,
            error_class=ErrorClass.VALIDATION,
            code=error.code,
            message=error.message,
            retriable=False,
            suggested_action="correct the producer, then publish the intent anew",
        )
        # Decided under the record's own id: the same intent, corrected, must be able to run.
        return Identified(Identity(derived, intent_id, replays, None, deferral, source), failed)
    intent_id = intent.intent_id or known or derived
    key = intent.deduplication_id or intent_id
    return Identified(Identity(key, intent_id, replays, intent, deferral, source))


def deferral_of(incoming: Incoming) -> DeferralState | None:
    """Read what a deferred intent carries; None where there is nothing readable."""
    raw = header(incoming.headers, DEFERRAL_HEADER)
    if raw is None:
        return None
    try:
        return DeferralState.model_validate_json(raw)
    except ValidationError:
        return None


def _replay_count(incoming: Incoming) -> int:
    raw = header(incoming.headers, REPLAY_COUNT_HEADER) or b"0"
    return min(int(raw), MAX_REPLAYS) if raw.isdigit() and len(raw) < 9 else 0  # noqa: PLR2004

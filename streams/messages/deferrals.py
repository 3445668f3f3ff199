"""What a deferred intent carries with it, as far as a worker of ours can have written it; pure."""

from pydantic import ValidationError

from schemas.codec import MAX_ID
from schemas.events import DeferralState
from streams.messages.moments import LATEST_MS
from streams.messages.records import DEFERRAL_HEADER, Incoming, header

__all__ = ["deferral_of"]

#: Nothing of ours waits longer: a month's budget begins anew before.
LONGEST_WAIT_MS = 40 * 86_400_000
#: More than any count or moment of ours reaches.
MOST_COUNTED = 10**15


def deferral_of(incoming: Incoming) -> DeferralState | None:
    """Read what a deferred intent carries; None where there is nothing that we can have written.

    A record that somebody else wrote to a deferred topic is an intent like any other.
    """
    raw = header(incoming.headers, DEFERRAL_HEADER)
    if raw is None:
        return None
    try:
        state = DeferralState.model_validate_json(raw)
    except ValidationError:
        return None
    return _bounded(state, incoming.timestamp_ms) if _is_ours(state) else None


def _bounded(state: DeferralState, written_ms: int) -> DeferralState:
    """Bound the due time: no header and no wrong clock puts an intent off for ever."""
    latest = written_ms + LONGEST_WAIT_MS
    if max(state.due_at_ms, state.not_before_ms) <= latest:
        return state
    due, not_before = min(state.due_at_ms, latest), min(state.not_before_ms, latest)
    return state.model_copy(update={"due_at_ms": due, "not_before_ms": not_before})


def _is_ours(state: DeferralState) -> bool:
    """Whether all numbers and moments are such as a lane writes them."""
    moment = state.source.timestamp
    moments = (state.due_at_ms, state.not_before_ms, state.outage_ms or 0)
    counts = (state.count, state.hop, state.limiter_ms, state.backoff_ms, state.provider_ms)
    return (
        0 < len(state.intent_id) <= MAX_ID
        and all(0 <= number <= MOST_COUNTED for number in (*moments, *counts))
        and moment.tzinfo is not None
        and 0 <= moment.timestamp() * 1000 <= LATEST_MS
    )

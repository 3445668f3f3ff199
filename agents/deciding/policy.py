"""Which call comes next, and what follows a failed one; pure: time and chance are arguments.

The table of this policy is generated into `docs/failures.md` from `decide` itself.
"""

from decimal import Decimal
from typing import assert_never

from agents.deciding.decisions import (
    Decision,
    Defer,
    Fallback,
    GiveUp,
    Go,
    Retry,
    Step,
    Wait,
)
from agents.deciding.failures import SILENCE, TRUNCATED, Failure
from agents.deciding.situation import Limits, Override, RetryPolicy, Situation
from schemas.vocabulary import DeadLetterReason, FailureKind

__all__ = [
    "Defer",
    "Fallback",
    "GiveUp",
    "Go",
    "Limits",
    "Override",
    "Retry",
    "RetryPolicy",
    "Situation",
    "Wait",
    "choose",
    "decide",
    "rung",
]

#: Failures that pass by themselves or by an operator's hand: an intent never dies of them.
PATIENT = frozenset(
    {
        FailureKind.RATE_LIMIT,
        FailureKind.QUOTA,
        FailureKind.AUTH,
        FailureKind.DEPLOYMENT_NOT_FOUND,
    }
)
#: Failures of which at least one was an answer, and which no later time makes better.
HOPELESS = frozenset({FailureKind.BAD_OUTPUT, FailureKind.MODEL_NOT_FOUND})


def may_call(limits: Limits, *, now_ms: int, spent_usd: Decimal) -> GiveUp | None:
    """Say whether the intent's own limits still allow a call."""
    if limits.deadline_at_ms is not None and now_ms >= limits.deadline_at_ms:
        return GiveUp(DeadLetterReason.DEADLINE)
    if limits.max_cost_usd is not None and spent_usd >= limits.max_cost_usd:
        return GiveUp(DeadLetterReason.BUDGET)
    return None


def choose(policy: RetryPolicy, situation: Situation) -> Step:
    """Decide before a call: go, wait a little, turn to a provider that is free, or come again."""
    refused = may_call(situation.limits, now_ms=situation.now_ms, spent_usd=situation.spent_usd)
    if refused is not None:
        return refused
    wait = situation.wait_s(situation.position)
    if wait <= 0:
        return Go()
    later = _first_free(situation, within_s=0.0)
    if later is not None and situation.is_out(situation.position):
        return Fallback(later, "unavailable")
    if wait <= policy.inline_wait_s - situation.waited_s or (
        later is None and wait <= policy.inline_wait_s
    ):
        return Wait(wait)
    if later is None:
        later = _first_free(situation, within_s=policy.inline_wait_s)
    if later is not None:
        return Fallback(later, "unavailable")
    # For the shortest time there is: the dispatcher holds it back until a provider can be called.
    seen = situation.now_ms if any(situation.outlook.out) else situation.outage_ms
    wanted = policy.defer_delays[0]
    return _defer(policy, situation, wanted, reason="unavailable", counted=False, outage_ms=seen)


def decide(policy: RetryPolicy, situation: Situation, failure: Failure, *, dice: float) -> Decision:
    """Decide what follows a failed call; `dice` is a fraction in [0, 1) for the jitter."""
    refused = may_call(situation.limits, now_ms=situation.now_ms, spent_usd=situation.spent_usd)
    if refused is not None:
        return refused
    wanted = _other_key(policy, situation, failure) or _overridden(policy, situation, failure)
    if wanted is not None:
        return wanted
    return _here(policy, situation, failure, dice) or _next(policy, situation, failure)


def _here(
    policy: RetryPolicy, situation: Situation, failure: Failure, dice: float
) -> Retry | Fallback | GiveUp | None:
    """Say what the kind of failure asks for; None = to leave this provider."""
    match failure.kind:
        case FailureKind.BAD_REQUEST | FailureKind.CONTEXT_LENGTH | FailureKind.CONTENT_FILTER:
            later = _first_free(situation, within_s=policy.inline_wait_s)
            if failure.kind in policy.fallback_on and later is not None:
                return Fallback(later, failure.kind.value)
            return GiveUp(DeadLetterReason.REJECTED)
        case FailureKind.BAD_OUTPUT:
            cut = failure.code == TRUNCATED
            if situation.repairs_here < policy.repair_tries and not cut:
                return Retry(0.0, repair=True)
        case (
            FailureKind.TIMEOUT
            | FailureKind.CONNECTION
            | FailureKind.SERVER_ERROR
            | FailureKind.RATE_LIMIT
        ):
            return _retry(policy, situation, failure, dice)
        case FailureKind.UNSUPPORTED_PARAMETER:
            # The next call leaves it out; more than a few of them are a mistake of the intent's.
            more = situation.calls_here <= policy.drops
            return Retry(0.0) if more else GiveUp(DeadLetterReason.REJECTED)
        case FailureKind.MODEL_NOT_FOUND:
            if _nobody_has_the_model(situation):
                return GiveUp(DeadLetterReason.REJECTED)
        case (
            FailureKind.QUOTA
            | FailureKind.AUTH
            | FailureKind.REFUSED
            | FailureKind.DEPLOYMENT_NOT_FOUND
        ):
            pass
        case _:
            assert_never(failure.kind)
    return None


def _other_key(policy: RetryPolicy, situation: Situation, failure: Failure) -> Retry | None:
    """Ask the same provider with another key where one is there."""
    wait = failure.another_key_s
    if wait is None:
        return None
    deadline = situation.limits.deadline_at_ms
    late = deadline is not None and situation.now_ms + wait * 1000 >= deadline
    return None if late or wait > policy.inline_wait_s else Retry(wait)


def _overridden(policy: RetryPolicy, situation: Situation, failure: Failure) -> Decision | None:
    """Apply the user's own line of the table; None where there is none, or it cannot be done."""
    override = policy.overrides.get((situation.providers[situation.position], failure.kind))
    if override is None:
        return None
    if override.defer_s is not None:
        wanted = max(override.defer_s, (failure.retry_after_ms or 0) / 1000)
        return _defer(policy, situation, wanted, reason=failure.kind.value)
    for position in range(situation.position + 1, len(situation.providers)):
        free = situation.wait_s(position) <= policy.inline_wait_s
        if situation.providers[position] == override.provider and free:
            return Fallback(position, failure.kind.value)
    return None


def _retry(
    policy: RetryPolicy, situation: Situation, failure: Failure, dice: float
) -> Retry | None:
    """Give the wait before the next call on the same provider, or None when there is none."""
    retries_made = situation.calls_here - 1
    if retries_made >= len(policy.retry_delays):
        return None
    wait = policy.retry_delays[retries_made]
    if failure.retry_after_ms is not None:
        asked = failure.retry_after_ms / 1000
        if asked > policy.inline_wait_s:
            return None
        # The provider's word replaces our guess for a rate limit; for the rest it is a minimum.
        wait = asked if failure.kind is FailureKind.RATE_LIMIT else max(wait, asked)
    wait *= 1 + policy.jitter * dice
    if situation.wait_s(situation.position) > max(wait, policy.inline_wait_s):
        return None  # its breaker has opened, or it asked for a longer rest, in another call
    deadline = situation.limits.deadline_at_ms
    if deadline is not None and situation.now_ms + wait * 1000 >= deadline:
        return None
    return Retry(wait)


def _next(policy: RetryPolicy, situation: Situation, failure: Failure) -> Decision:
    """Leave this provider: to the next one, to later, or to the end."""
    later = _first_free(situation, within_s=policy.inline_wait_s)
    if later is not None:
        return Fallback(later, failure.kind.value)
    kinds = {*situation.earlier, failure.kind}
    outage_ms = _outage(situation, failure)
    patient = bool(kinds & PATIENT) or outage_ms is not None
    if FailureKind.BAD_OUTPUT in kinds and kinds <= HOPELESS:
        return GiveUp(DeadLetterReason.EXHAUSTED)
    if not patient and situation.deferrals >= len(policy.defer_delays):
        return GiveUp(DeadLetterReason.EXHAUSTED)
    ladder = policy.defer_delays[min(situation.deferrals, len(policy.defer_delays) - 1)]
    if outage_ms is not None:
        # The dispatcher holds it back until a provider answers; a long ladder would only delay it.
        # Where the breakers do not know of the outage yet: about as long as it has lasted.
        lasted = (situation.now_ms - outage_ms) / 1000
        ladder = min(max(policy.defer_delays[0], lasted), policy.defer_delays[-1])
    wanted = max(ladder, (failure.retry_after_ms or 0) / 1000)
    # What failed because nobody was answered takes none of the intent's own deferrals.
    counted, reason = outage_ms is None, failure.kind.value
    return _defer(policy, situation, wanted, reason=reason, counted=counted, outage_ms=outage_ms)


def _outage(situation: Situation, failure: Failure) -> int | None:
    """Say when the outage was last seen in which this failed; None = it is the intent's own."""
    if situation.outage:
        return situation.now_ms
    return situation.same_outage_ms if failure.kind in SILENCE else None


def _nobody_has_the_model(situation: Situation) -> bool:
    """Say whether all of the route were asked, and none of them serves the intent's model."""
    asked_all = len(situation.earlier) == situation.position == len(situation.providers) - 1
    return asked_all and set(situation.earlier) <= {FailureKind.MODEL_NOT_FOUND}


def _first_free(situation: Situation, *, within_s: float) -> int | None:
    """Give the next provider, in order, that can be called within a time; None = none."""
    for position in range(situation.position + 1, len(situation.providers)):
        if situation.wait_s(position) <= within_s:
            return position
    return None


def _defer(
    policy: RetryPolicy,
    situation: Situation,
    wanted_s: float,
    *,
    reason: str,
    counted: bool = True,
    outage_ms: int | None = None,
) -> Defer | GiveUp:
    """Put aside for at least so long, unless the intent's deadline comes before."""
    index, delay = rung(policy, wanted_s)
    deadline = situation.limits.deadline_at_ms
    if deadline is not None and situation.now_ms + wanted_s * 1000 >= deadline:
        return GiveUp(DeadLetterReason.DEADLINE)
    not_before = situation.now_ms + round(wanted_s * 1000)
    return Defer(index, delay, not_before, reason, counted=counted, outage_ms=outage_ms)


def rung(policy: RetryPolicy, wanted_s: float) -> tuple[int, float]:
    """Choose the deferred topic for a wait: the shortest that is long enough, else the longest."""
    for index, delay in enumerate(policy.defer_delays):
        if delay >= wanted_s:
            return index, delay
    return len(policy.defer_delays) - 1, policy.defer_delays[-1]

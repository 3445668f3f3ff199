"""What to do after a failed call; pure: time and chance are arguments.

The table of this policy is generated into `docs/failures.md` from `decide` itself.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import assert_never

from agents.failures import Failure
from schemas.vocabulary import DeadLetterReason, FailureKind

__all__ = [
    "Decision",
    "Defer",
    "Fallback",
    "GiveUp",
    "Limits",
    "Retry",
    "RetryPolicy",
    "Situation",
    "decide",
    "may_call",
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


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The numbers of the policy; delays in seconds."""

    retry_delays: tuple[float, ...] = (1.0, 2.0, 5.0)
    defer_delays: tuple[float, ...] = (10.0, 60.0, 600.0)
    jitter: float = 0.10
    #: A provider's Retry-After up to this is waited for in the process.
    inline_wait_s: float = 5.0
    #: Tries of one provider after an answer that was not what was asked for.
    repair_tries: int = 1


@dataclass(frozen=True, slots=True)
class Limits:
    """What the intent itself allows."""

    deadline_at_ms: int | None = None
    max_cost_usd: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Situation:
    """Where an execution stands after a failed call."""

    providers: tuple[str, ...]
    position: int
    calls_here: int
    now_ms: int
    limits: Limits
    spent_usd: Decimal
    deferrals: int = 0
    repairs_here: int = 0
    earlier: tuple[FailureKind, ...] = ()


@dataclass(frozen=True, slots=True)
class Retry:
    """Call the same provider again after a wait."""

    delay_s: float
    repair: bool = False


@dataclass(frozen=True, slots=True)
class Fallback:
    """Go on to the next provider at once."""

    position: int
    reason: str


@dataclass(frozen=True, slots=True)
class Defer:
    """Put the intent aside on a delayed-retry topic."""

    topic_index: int
    delay_s: float
    not_before_ms: int
    reason: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """End the intent with a dead letter."""

    reason: DeadLetterReason


Decision = Retry | Fallback | Defer | GiveUp


def may_call(limits: Limits, *, now_ms: int, spent_usd: Decimal) -> GiveUp | None:
    """Say whether the intent's own limits still allow a call."""
    if limits.deadline_at_ms is not None and now_ms >= limits.deadline_at_ms:
        return GiveUp(DeadLetterReason.DEADLINE)
    if limits.max_cost_usd is not None and spent_usd >= limits.max_cost_usd:
        return GiveUp(DeadLetterReason.BUDGET)
    return None


def decide(policy: RetryPolicy, situation: Situation, failure: Failure, *, dice: float) -> Decision:
    """Decide what follows a failed call; `dice` is a fraction in [0, 1) for the jitter."""
    refused = may_call(situation.limits, now_ms=situation.now_ms, spent_usd=situation.spent_usd)
    if refused is not None:
        return refused
    match failure.kind:
        case FailureKind.BAD_REQUEST | FailureKind.CONTEXT_LENGTH | FailureKind.CONTENT_FILTER:
            return GiveUp(DeadLetterReason.REJECTED)
        case FailureKind.BAD_OUTPUT:
            if situation.repairs_here < policy.repair_tries:
                return Retry(0.0, repair=True)
        case FailureKind.TIMEOUT | FailureKind.CONNECTION | FailureKind.SERVER_ERROR:
            retry = _retry(policy, situation, failure, dice)
            if retry is not None:
                return retry
        case FailureKind.RATE_LIMIT:
            retry = _retry(policy, situation, failure, dice)
            if retry is not None:
                return retry
        case FailureKind.QUOTA | FailureKind.AUTH | FailureKind.DEPLOYMENT_NOT_FOUND:
            pass
        case _:
            assert_never(failure.kind)
    return _next(policy, situation, failure)


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
    deadline = situation.limits.deadline_at_ms
    if deadline is not None and situation.now_ms + wait * 1000 >= deadline:
        return None
    return Retry(wait)


def _next(policy: RetryPolicy, situation: Situation, failure: Failure) -> Decision:
    """Leave this provider: to the next one, to later, or to the end."""
    if situation.position + 1 < len(situation.providers):
        return Fallback(situation.position + 1, failure.kind.value)
    kinds = {*situation.earlier, failure.kind}
    patient = bool(kinds & PATIENT)
    if kinds <= {FailureKind.BAD_OUTPUT}:
        return GiveUp(DeadLetterReason.EXHAUSTED)
    if not patient and situation.deferrals >= len(policy.defer_delays):
        return GiveUp(DeadLetterReason.EXHAUSTED)
    ladder = policy.defer_delays[min(situation.deferrals, len(policy.defer_delays) - 1)]
    wanted = max(ladder, (failure.retry_after_ms or 0) / 1000)
    index, delay = rung(policy, wanted)
    deadline = situation.limits.deadline_at_ms
    if deadline is not None and situation.now_ms + wanted * 1000 >= deadline:
        return GiveUp(DeadLetterReason.DEADLINE)
    return Defer(index, delay, situation.now_ms + int(wanted * 1000), failure.kind.value)


def rung(policy: RetryPolicy, wanted_s: float) -> tuple[int, float]:
    """Choose the deferred topic for a wait: the shortest that is long enough, else the longest."""
    for index, delay in enumerate(policy.defer_delays):
        if delay >= wanted_s:
            return index, delay
    return len(policy.defer_delays) - 1, policy.defer_delays[-1]

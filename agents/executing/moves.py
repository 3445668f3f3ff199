"""What an execution does between calls: wait, go on to another provider, put off, end."""

from agents.deciding.budgets import OverBudget
from agents.deciding.decisions import Defer, Fallback, GiveUp, Retry
from agents.deciding.failures import Failure
from agents.deciding.policy import RetryPolicy, rung
from agents.executing.account import Execution
from agents.executing.attempts import Answer
from agents.executing.endings import limit_reached, refused
from agents.executing.ground import Ground
from agents.executing.results import deferral as deferral_of
from agents.executing.results import result as result_of
from agents.task import Completed, Deferred, Failed
from schemas.attempt import ProviderAttempt
from schemas.outcome import FallbackStep
from schemas.vocabulary import DeadLetterReason, ErrorClass, LogEvent

__all__ = ["complete", "defer", "fall_back", "over_budget", "wait_for_retry", "wait_for_turn"]


async def wait_for_turn(ground: Ground, run: Execution, delay_s: float) -> None:
    """Wait until the provider at hand can be called."""
    since = ground.clock.monotonic()
    await ground.clock.sleep(delay_s)
    run.add_limiter_s(ground.clock.monotonic() - since)


async def wait_for_retry(
    ground: Ground, run: Execution, decision: Retry, *, provider: str, failed: ProviderAttempt
) -> None:
    """Wait as long as the policy says before the same provider is called again."""
    run.repairs += int(decision.repair)
    ground.say(
        LogEvent.RETRY_SCHEDULED,
        run,
        provider=provider,
        delay_ms=int(decision.delay_s * 1000),
        reason=failed.outcome.value,
    )
    since = ground.clock.monotonic()
    await ground.clock.sleep(decision.delay_s)
    run.add_backoff_ms(ground.since_ms(since))


def fall_back(
    ground: Ground,
    run: Execution,
    providers: tuple[str, ...],
    decision: Fallback,
    failure: Failure | None,
) -> None:
    """Turn to another provider, after a failure or because this one cannot be called."""
    step = FallbackStep(
        from_=providers[run.position],
        to=providers[decision.position],
        reason=f"{providers[run.position]}_{decision.reason}",
        timestamp=ground.clock.now(),
    )
    run.move_to(decision.position, step, failure.kind if failure else None)
    ground.say(
        LogEvent.FALLBACK_STARTED,
        run,
        **{"from": step.from_, "to": step.to, "reason": step.reason},
    )


def defer(
    ground: Ground, run: Execution, decision: Defer, attempt: ProviderAttempt | None
) -> Deferred:
    """Put the intent aside, with all that its next execution must know."""
    state = deferral_of(
        run,
        due_at_ms=ground.clock.now_ms() + int(decision.delay_s * 1000),
        not_before_ms=decision.not_before_ms,
        reason=decision.reason,
        counted=decision.counted,
        outage_ms=decision.outage_ms,
    )
    ground.say(
        LogEvent.WORKFLOW_DEFERRED,
        run,
        reason=decision.reason,
        delay_ms=int(decision.delay_s * 1000),
    )
    return Deferred(decision.topic_index, state, attempt)


def over_budget(
    ground: Ground, policy: RetryPolicy, run: Execution, over: OverBudget, *, soon: bool = False
) -> Failed | Deferred:
    """Put aside, or end, what its tenant may not pay for now.

    `soon`: it may once the calls in flight are answered, which cost less than is held for them.
    """
    if over.budget.then == "dead_letter" and not soon:
        message = f"the tenant's budget of {over.budget.usd} USD a {over.budget.per} is spent"
        return refused(
            run,
            DeadLetterReason.BUDGET,
            "tenant_budget_spent",
            message,
            error_class=ErrorClass.UNKNOWN,
            action="raise the tenant's budget, or replay in the next period",
        )
    wait_s = min(over.resets_in_s, policy.defer_delays[0]) if soon else over.resets_in_s
    index, delay = rung(policy, wait_s)
    # Looked at again at each hop: a budget may be raised meanwhile.
    not_before_ms = ground.clock.now_ms() + int(min(delay, wait_s) * 1000)
    deadline = run.limits.deadline_at_ms
    if deadline is not None and not_before_ms >= deadline:
        return limit_reached(run, GiveUp(DeadLetterReason.DEADLINE))
    # It has told nothing about providers: an outage that it waited for may still go on.
    waits = Defer(index, delay, not_before_ms, "budget", counted=False, outage_ms=run.outage_ms)
    return defer(ground, run, waits, None)


def complete(ground: Ground, run: Execution, answer: Answer) -> Completed:
    """End with the answer of a call that succeeded."""
    reply, attempt = answer.reply, answer.attempt
    if reply is None:
        message = "a call without failure has a reply"
        raise AssertionError(message)
    result = result_of(
        run,
        attempt,
        reply,
        answer.usage,
        answer.structured,
        result_id=ground.new_id(),
        now=ground.clock.now(),
    )
    ground.say(
        LogEvent.WORKFLOW_COMPLETED,
        run,
        provider=result.provider,
        calls=run.calls,
        total_ms=result.timings.total_ms,
    )
    return Completed(result, attempt, tuple(run.fallbacks), paid=run.paid)

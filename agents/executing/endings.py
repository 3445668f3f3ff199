"""How an execution ends without a result: the dead letters that it asks for; pure."""

from agents.deciding.failures import Failure
from agents.deciding.policy import GiveUp
from agents.executing.account import Execution
from agents.task import Failed
from schemas.attempt import ProviderAttempt
from schemas.vocabulary import DeadLetterReason, ErrorClass

__all__ = ["called_off", "given_up", "limit_reached", "price_unknown", "refused"]


def given_up(
    run: Execution, reason: DeadLetterReason, failure: Failure, attempt: ProviderAttempt
) -> Failed:
    """End an execution by its last call's failure."""
    return Failed(
        reason=reason,
        error_class=failure.error_class,
        code=failure.code,
        message=failure.message,
        retriable=failure.retriable,
        suggested_action=failure.suggested_action,
        last_attempt=attempt,
        attempts=tuple(run.summaries),
        fallbacks=tuple(run.fallbacks),
        spent_usd=run.known_spend(),
        refusal=failure.refusal or None,
    )


def limit_reached(run: Execution, ended: GiveUp) -> Failed:
    """End an execution because the intent's own deadline or money limit was reached."""
    late = ended.reason is DeadLetterReason.DEADLINE
    message = (
        "the intent's deadline_ms passed before a result was there"
        if late
        else "the intent's max_cost_usd does not pay for another call"
    )
    return refused(
        run,
        ended.reason,
        "deadline_passed" if late else "max_cost_reached",
        message,
        error_class=ErrorClass.TIMEOUT if late else ErrorClass.UNKNOWN,
        action="raise the limit in the intent and publish it anew",
    )


def called_off(run: Execution, why: str) -> Failed:
    """End an execution because an operator wants it to; `why` is in their words."""
    return Failed(
        reason=DeadLetterReason.CANCELLED,
        error_class=ErrorClass.UNKNOWN,
        code="cancelled",
        message=f"cancelled by an operator: {why}" if why else "cancelled by an operator",
        retriable=True,
        suggested_action="replay it, where it is wanted after all",
        attempts=tuple(run.summaries),
        fallbacks=tuple(run.fallbacks),
        spent_usd=run.known_spend(),
        paid=run.paid,
    )


def price_unknown(run: Execution, providers: tuple[str, ...]) -> Failed:
    """End an execution whose limit cannot be held: nobody knows what its calls would cost."""
    model = run.task.intent.model
    what = f"model {model}" if model else "the model"
    message = f"max_cost_usd cannot be held: no price is known for {what} at {', '.join(providers)}"
    return refused(
        run,
        DeadLetterReason.BUDGET,
        "price_unknown",
        message,
        action="add the price to [[prices]], or leave out max_cost_usd, and publish it anew",
    )


def refused(
    run: Execution,
    reason: DeadLetterReason,
    code: str,
    message: str,
    *,
    error_class: ErrorClass = ErrorClass.VALIDATION,
    action: str = "correct the intent and publish it anew",
) -> Failed:
    """End an execution without (another) call."""
    return Failed(
        reason=reason,
        error_class=error_class,
        code=code,
        message=message,
        retriable=False,
        suggested_action=action,
        attempts=tuple(run.summaries),
        fallbacks=tuple(run.fallbacks),
        spent_usd=run.known_spend(),
    )

"""Admission: intents that end, or are put off until later, before any provider is called."""

from agents.deciding.budgets import Spending
from agents.deciding.policy import Defer, GiveUp, RetryPolicy, rung
from agents.deciding.structured import check_schema
from agents.executing.account import Execution
from agents.executing.endings import limit_reached, refused
from agents.executing.ground import Ground
from agents.executing.moves import defer
from agents.executing.prompts import chat_in
from agents.task import Deferred, Failed
from schemas.parameters import chat_problem
from schemas.vocabulary import DeadLetterReason, ErrorClass

__all__ = ["Admission"]


class Admission:
    """Finds intents that must not be called for, now or at all; one for each worker."""

    def __init__(self, *, spending: Spending, policy: RetryPolicy, ground: Ground) -> None:
        """Keep what tenants have spent, and the delays of the deferred topics."""
        self._spending = spending
        self._policy = policy
        self._ground = ground

    def refusal(self, run: Execution, providers: tuple[str, ...]) -> Failed | Deferred | None:
        """End or put off an intent that must not be called for; None when it may be."""
        intent = run.task.intent
        problem = check_schema(intent.response_schema) if intent.response_schema else None
        if problem is not None:
            return refused(run, DeadLetterReason.INVALID_INTENT, "response_schema", problem)
        chat = chat_in(intent)
        problem = chat_problem(chat) if chat is not None else None
        if problem is not None:
            return refused(run, DeadLetterReason.INVALID_INTENT, "invalid_messages", problem)
        if not providers:
            message = f"provider {intent.force_provider} is not configured"
            return refused(run, DeadLetterReason.REJECTED, "provider_not_configured", message)
        return self._over_budget(run) or self._too_early(run)

    def _over_budget(self, run: Execution) -> Failed | Deferred | None:
        """Put off, or end, an intent that its tenant's budget does not allow now."""
        clock = self._ground.clock
        over = self._spending.over(run.task.intent.tenant, clock.now())
        if over is None:
            return None
        if over.budget.then == "dead_letter":
            message = f"the tenant's budget of {over.budget.usd} USD a {over.budget.per} is spent"
            return refused(
                run,
                DeadLetterReason.BUDGET,
                "tenant_budget_spent",
                message,
                error_class=ErrorClass.UNKNOWN,
                action="raise the tenant's budget, or replay in the next period",
            )
        index, delay = rung(self._policy, over.resets_in_s)
        # Looked at again at each hop: a budget may be raised meanwhile.
        not_before_ms = clock.now_ms() + int(min(delay, over.resets_in_s) * 1000)
        deadline = run.limits.deadline_at_ms
        if deadline is not None and not_before_ms >= deadline:
            return limit_reached(run, GiveUp(DeadLetterReason.DEADLINE))
        decision = Defer(index, delay, not_before_ms, "budget", counted=False)
        return defer(self._ground, run, decision, None)

    def _too_early(self, run: Execution) -> Deferred | None:
        """Put an intent back whose provider asked for more time than the longest topic holds."""
        deferral, now_ms = run.task.deferral, self._ground.clock.now_ms()
        if deferral is None or deferral.not_before_ms <= now_ms:
            return None
        index, delay = rung(self._policy, (deferral.not_before_ms - now_ms) / 1000)
        state = deferral.model_copy(
            update={"due_at_ms": now_ms + int(delay * 1000), "hop": deferral.hop + 1}
        )
        return Deferred(index, state)

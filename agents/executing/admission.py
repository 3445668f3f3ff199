"""Admission: intents that end, or are put off until later, before any provider is called."""

from agents.deciding.budgets import Spending
from agents.deciding.policy import RetryPolicy
from agents.deciding.routes import Router
from agents.deciding.schedule import NOT_BEFORE, hop, problem_of
from agents.deciding.structured import check_schema
from agents.executing.account import Execution
from agents.executing.endings import called_off, price_unknown, refused
from agents.executing.ground import Ground
from agents.executing.moves import over_budget
from agents.executing.prompts import chat_in
from agents.executing.results import deferral as deferral_of
from agents.task import Deferred, Failed
from schemas.embeddings import embedding_problem
from schemas.intent import WorkflowIntent
from schemas.parameters import chat_problem
from schemas.vocabulary import DeadLetterReason, LogEvent

__all__ = ["Admission"]


class Admission:
    """Finds intents that must not be called for, now or at all; one for each worker."""

    def __init__(
        self,
        *,
        spending: Spending,
        policy: RetryPolicy,
        router: Router,
        ground: Ground,
        types: frozenset[str] | None = None,
    ) -> None:
        """Keep what tenants have spent, the deferred topics' delays, routes, types (None: any)."""
        self._types = types
        self._spending = spending
        self._policy = policy
        self._router = router
        self._ground = ground

    def refusal(
        self, run: Execution, providers: tuple[str, ...], *, routed: tuple[str, ...]
    ) -> Failed | Deferred | None:
        """End or put off an intent that must not be called for; None when it may be.

        `providers` are those of its route (`routed`) that its money can be held against.
        """
        intent, why = run.task.intent, run.task.why_called_off()
        if why is not None:
            return called_off(run, why)
        problem = check_schema(intent.response_schema) if intent.response_schema else None
        if problem is not None:
            return refused(run, DeadLetterReason.INVALID_INTENT, "response_schema", problem)
        if self._types is not None and intent.type not in self._types:
            message = f"type {intent.type} is not configured: it has no template and no route"
            return refused(run, DeadLetterReason.INVALID_INTENT, "unknown_type", message)
        problem = self._unwaitable(run)
        if problem is not None:
            return refused(run, DeadLetterReason.INVALID_INTENT, "not_before", problem)
        code, problem = _unsendable(intent)
        if problem is not None:
            return refused(run, DeadLetterReason.INVALID_INTENT, code, problem)
        if routed and not providers:
            return price_unknown(run, routed)
        if not providers:
            code, message = self._router.absence(intent)
            return refused(run, DeadLetterReason.REJECTED, code, message)
        return self._too_early(run) or self._over_budget(run)

    @staticmethod
    def _unwaitable(run: Execution) -> str | None:
        """Say why an intent cannot wait for its time; None where it can, or has none."""
        intent = run.task.intent
        if intent.not_before is None:
            return None
        published_ms = int(run.task.source.timestamp.timestamp() * 1000)
        return problem_of(
            intent.not_before, published_ms=published_ms, deadline_ms=intent.deadline_ms
        )

    def _over_budget(self, run: Execution) -> Failed | Deferred | None:
        """Put aside, or end, what its tenant may not pay for now."""
        tenant, now = run.task.intent.tenant, self._ground.clock.now()
        over = self._spending.over(tenant, now)
        if over is None:
            return None
        self._spending.stopped(tenant, over, now)
        return over_budget(self._ground, self._policy, run, over)

    def _too_early(self, run: Execution) -> Deferred | None:
        """Put an intent aside until its own time, or back until its provider's.

        A provider may have asked for more time than the longest topic holds.
        """
        now_ms, deferral = self._ground.clock.now_ms(), run.task.deferral
        until_ms = run.not_before_ms
        if deferral is not None and deferral.not_before_ms > now_ms:
            until_ms = max(until_ms, deferral.not_before_ms)
        if until_ms <= now_ms:
            return None
        index, wait_s = hop(self._policy.defer_delays, (until_ms - now_ms) / 1000)
        due_at_ms = min(until_ms, now_ms + int(wait_s * 1000))
        if deferral is not None and (
            deferral.reason == NOT_BEFORE or deferral.not_before_ms >= until_ms
        ):
            again = {"due_at_ms": due_at_ms, "not_before_ms": until_ms, "hop": deferral.hop + 1}
            return Deferred(index, deferral.model_copy(update=again))
        state = deferral_of(
            run,
            due_at_ms=due_at_ms,
            not_before_ms=until_ms,
            reason=NOT_BEFORE,
            counted=False,
            outage_ms=run.outage_ms,
        )
        self._ground.say(
            LogEvent.WORKFLOW_DEFERRED, run, reason=NOT_BEFORE, delay_ms=until_ms - now_ms
        )
        return Deferred(index, state)


def _unsendable(intent: WorkflowIntent) -> tuple[str, str | None]:
    """Say what is wrong with what is to be sent, after the code of it; None where it is well."""
    if intent.task == "embedding":
        return "invalid_embedding", embedding_problem(intent)
    chat = chat_in(intent)
    return "invalid_messages", None if chat is None else chat_problem(chat)

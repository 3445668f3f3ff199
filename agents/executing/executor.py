"""The execution of one intent, step by step: admission, reuse, pursuit.

task ─► admission ─► reuse ─► pursuit ( planning ─► calls ─► policy ─► moves )* ─► outcome
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from agents.capacity.turns import Capacity
from agents.deciding.budgets import Spending
from agents.deciding.cache import AnswerCache
from agents.deciding.hedging import HedgePolicy, Hedger
from agents.deciding.policy import RetryPolicy
from agents.deciding.protecting import OFF, Protection
from agents.deciding.routes import Router
from agents.deciding.schedule import NOT_BEFORE
from agents.executing.account import Execution
from agents.executing.admission import Admission
from agents.executing.attempts import Attempts
from agents.executing.batched import Batched
from agents.executing.calls import Caller
from agents.executing.embeddings import Embeddings
from agents.executing.endings import called_off
from agents.executing.ground import Ground
from agents.executing.planning import Planner
from agents.executing.ports import Journal, Permit
from agents.executing.pursuit import Pursuit
from agents.executing.resumed import Resumption
from agents.executing.reuse import Reuse
from agents.pricing.prices import PriceBook
from agents.providers.adapters import Provider
from agents.task import Completed, Deferred, Failed, Outcome, Task
from schemas.vocabulary import DeadLetterReason, LogEvent

__all__ = ["Executor", "Rules"]


@dataclass(frozen=True, slots=True)
class Rules:
    """What the configuration says of all executions."""

    policy: RetryPolicy
    hedging: HedgePolicy
    prices: PriceBook
    #: Type of intent → its instructions.
    prompts: Mapping[str, str]
    cache_ttl_s: float
    #: Types of intents that are taken; None = any.
    types: frozenset[str] | None = None
    #: Seconds before its deadline at which an intent leaves a batch.
    batch_margin_s: float = 90.0
    #: Bytes of the largest record: vectors that do not fit into one are not paid for.
    max_record_bytes: int = 1_638_400
    #: What providers do not get to see.
    protection: Protection = OFF


class Executor:
    """Executes intents; one for each worker, shared by all lanes."""

    def __init__(
        self,
        *,
        providers: Mapping[str, Provider],
        router: Router,
        capacity: Capacity,
        rules: Rules,
        spending: Spending,
        cache: AnswerCache,
        journal: Journal,
        ground: Ground,
    ) -> None:
        """Put admission, reuse and pursuit together, once for all intents."""
        self._router, self._ground = router, ground
        self._protection = rules.protection
        self._spending = spending
        self._admission = Admission(
            spending=spending, policy=rules.policy, router=router, ground=ground, types=rules.types
        )
        self._reuse = Reuse(cache=cache, ttl_s=rules.cache_ttl_s, ground=ground)
        self._planner = Planner(
            providers=providers,
            prices=rules.prices,
            spending=spending,
            prompts=rules.prompts,
            hedging=rules.hedging,
            groups=router.groups,
            clock=ground.clock,
        )
        self._embeddings = Embeddings(
            planner=self._planner, max_record_bytes=rules.max_record_bytes
        )
        kinds = {name: provider.kind for name, provider in providers.items()}
        attempts = Attempts(kinds=kinds, prices=rules.prices, ground=ground)
        caller = Caller(
            capacity=capacity,
            attempts=attempts,
            hedger=Hedger(rules.hedging, providers),
            journal=journal,
            ground=ground,
        )
        self._resumption = Resumption(
            providers=providers, planner=self._planner, caller=caller, journal=journal,
            ground=ground,
        )  # fmt: skip
        self._batched = Batched(
            providers=providers, planner=self._planner, attempts=attempts, journal=journal,
            ground=ground, embeddings=self._embeddings,
            margin_ms=round(rules.batch_margin_s * 1000),
        )  # fmt: skip
        self._pursuit = Pursuit(
            policy=rules.policy,
            capacity=capacity,
            planner=self._planner,
            caller=caller,
            resumption=self._resumption,
            batched=self._batched,
            journal=journal,
            ground=ground,
        )

    async def execute(self, task: Task, permit: Permit) -> Outcome:
        """Bring one intent to its outcome; raises LaneLostError when the lane is gone.

        What it cost is to be booked at once, before anything else runs: nothing is held back for
        it any more.
        """
        mask, now = self._protection.mask(task.intent), self._ground.clock.now()
        shown = replace(task, intent=mask.intent) if mask.values else task
        run = Execution(shown, now, mask if mask.values else None)
        try:
            return await self._execute(run, permit)
        except asyncio.CancelledError:
            why, current = task.why_called_off(), asyncio.current_task()
            if why is None or current is None:
                raise
            current.uncancel()  # by an operator: what was paid, or may have been, is booked
            return self._told(run, called_off(run, why))
        finally:
            self._spending.release(task.execution_id)

    async def _execute(self, run: Execution, permit: Permit) -> Outcome:
        task = run.task
        routed = self._router.route(task.intent, identity=task.intent_id)
        providers = self._planner.payable(task.intent, routed)
        outcome: Outcome | None = self._admission.refusal(run, providers, routed=routed)
        paid_for = bool(task.kept) or task.batch is not None
        if outcome is None and task.intent.task == "embedding" and not paid_for:
            outcome = await self._embeddings.refusal(run, providers[0])
        if task.orphans and providers and not _never_called(outcome):
            # Those whose answers are kept are booked when these are fetched, or let go.
            known = {one.attempt.execution_id for one in task.kept}
            bound = self._planner.most(task.intent, providers)
            run.take_over(bound, max(0, task.orphans - len(known)))
        if paid_for and isinstance(outcome, Deferred):
            outcome = None  # what is to be fetched is paid for: no budget stands against it
        elif paid_for and outcome is not None:
            self._resumption.drop(run)
            self._batched.drop(run)
        if outcome is None and paid_for:
            outcome = await self._pursuit.pursue(run, providers, permit)
        elif outcome is None:
            self._ground.say(LogEvent.WORKFLOW_STARTED, run, type=task.intent.type)
            outcome = await self._reuse.answer(
                run,
                partial(self._pursuit.pursue, run, providers, permit),
                model=self._planner.asked_for(task.intent, routed),
                messages=partial(self._planner.messages, task.intent),
            )
        if isinstance(outcome, Completed) and outcome.result.embeddings:
            self._embeddings.note(task.intent, providers[0], outcome.result)
        if outcome.paid is not run.paid:
            outcome = replace(outcome, paid=run.paid)
        if run.mask is not None and isinstance(outcome, Completed):
            outcome = replace(outcome, result=run.mask.revealed(outcome.result))
        return self._told(run, outcome)

    def _told(self, run: Execution, outcome: Outcome) -> Outcome:
        if isinstance(outcome, Failed):
            self._ground.say(
                LogEvent.WORKFLOW_FAILED,
                run,
                level="warning",
                reason=outcome.reason.value,
                error_code=outcome.code,
                calls=run.calls,
            )
        return outcome


def _never_called(outcome: Outcome | None) -> bool:
    """Whether no call can have been made in any execution: invalid, or before its time."""
    match outcome:
        case Failed(reason=reason):
            return reason is DeadLetterReason.INVALID_INTENT
        case Deferred(state=state):
            return state.reason == NOT_BEFORE
        case _:
            return False

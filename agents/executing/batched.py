"""Intents that wait in a provider's batch: put aside for it, and ended by what comes of it.

A line's attempt is made when its intent is put aside; its id is the line's `custom_id`. What comes
back is the same attempt: one row, one price, and a failure goes to the policy as any other
(ADR 24).
"""

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

from agents.deciding.batching import WINDOW_MS, in_time, may_wait
from agents.deciding.protecting import Mask
from agents.executing.account import Execution
from agents.executing.allowance import Short
from agents.executing.asking import request_of
from agents.executing.attempts import Answer, Attempts
from agents.executing.embeddings import Embeddings
from agents.executing.ground import Ground
from agents.executing.planning import Planner
from agents.executing.ports import Journal
from agents.executing.results import deferral
from agents.executing.turnaround import TurnAround
from agents.providers.adapters import Provider
from agents.providers.batching import Batching
from agents.providers.errors import ExecutionError
from agents.task import Deferred, Task
from schemas.attempt import ProviderAttempt
from schemas.batches import BatchAnswer, BatchLine
from schemas.vocabulary import LogEvent, Priority

__all__ = ["Batched", "unclaimed"]

#: Why an intent that waits in a batch is put aside, on its deferral and its event.
REASON = "batch"
#: Beyond that, an hour to be cancelled, read and sent back.
GRACE_MS = 60 * 60 * 1000
#: No call was made: the time that a line took is a wait, and no provider's latency.
CALL_MS = 0


class Batched:
    """Puts intents aside for batches, and takes up what came of them; one for each worker."""

    def __init__(
        self,
        *,
        providers: Mapping[str, Provider],
        planner: Planner,
        attempts: Attempts,
        journal: Journal,
        ground: Ground,
        embeddings: Embeddings,
        margin_ms: int,
    ) -> None:
        """Keep who plans a line, reads it, makes its record; what fits; what a deadline leaves."""
        self._providers = providers
        self._planner = planner
        self._attempts = attempts
        self._journal = journal
        self._ground = ground
        self._embeddings = embeddings
        self._margin_ms = margin_ms
        self._turnaround = TurnAround()

    def gathered(self, run: Execution, providers: tuple[str, ...]) -> Deferred | None:
        """Put an intent aside for a batch of its first provider; None: it is called for at once.

        It waits in a batch once; a call that money does not pay for now is none either.
        """
        intent, provider = run.task.intent, self._providers[providers[0]]
        now_ms = self._ground.clock.now_ms()
        if provider.batching is None or run.task.deferral is not None:
            return None
        margin_ms, model = self._margin_ms, self._planner.model(intent, provider.name)
        if not may_wait(
            intent.processing,
            low=intent.priority is Priority.LOW,
            deadline_ms=intent.deadline_ms,
            margin_ms=margin_ms,
            expected=self._turnaround.expected_ms(provider.name, model),
        ):
            return None
        if not in_time(run.limits.deadline_at_ms, now_ms=now_ms, margin_ms=margin_ms):
            return None
        if not self._embeddings.fit_a_batch(run, provider.name):
            return None
        call = self._planner.plan(run, provider.name, self._planner.messages(intent))
        if isinstance(call, Short):
            return None
        started = self._attempts.started(run, provider, model=call.model, bound_usd=call.bound_usd)
        # A line of which nothing was heard by then is lost.
        until = started.started_at + timedelta(milliseconds=WINDOW_MS + GRACE_MS)
        started = started.model_copy(update={"deadline_at": until})
        state = deferral(
            run,
            due_at_ms=now_ms + WINDOW_MS,
            not_before_ms=0,
            reason=REASON,
            counted=False,
            outage_ms=run.outage_ms,
        )
        self._ground.say(LogEvent.WORKFLOW_DEFERRED, run, reason=REASON, delay_ms=WINDOW_MS)
        run.reserve(started.cost_upper_usd)  # its tenant's budget counts it while it waits
        line = BatchLine(
            attempt=started, max_output_tokens=call.max_output, prompt_tokens=call.prompt_tokens
        )
        return Deferred(0, state, line=line)

    async def answer(self, run: Execution, providers: tuple[str, ...]) -> Answer | None:
        """Give what a batch answered, good or not; None: it did not, and a call is needed."""
        told = run.task.batch
        if told is None:
            return None
        started, provider = told.attempt, self._providers.get(told.attempt.provider)
        if told.status is None:
            await self._unanswered(run)
            return None
        if provider is None or provider.batching is None:  # it was taken out of the settings
            self._lost(run)
            return None
        took = self._ground.clock.now() - started.started_at
        self._turnaround.learn(
            started.provider,
            started.requested_model,
            told.batch_id,
            round(took.total_seconds() * 1000),
        )
        run.settle(started.cost_upper_usd)
        if started.provider in providers:
            run.stand_at(providers.index(started.provider), calls=started.attempt - 1)
        run.begin_call()
        messages = self._planner.messages(run.task.intent)
        answer = await read(self._attempts, provider.batching, run, told, messages)
        run.end_call(answer.attempt, answer.failure)
        return answer

    def drop(self, run: Execution) -> None:
        """Book what a batch may have cost for an intent that has ended otherwise."""
        told = run.task.batch
        if told is None:
            return
        bound = told.attempt.cost_upper_usd if told.status or told.may_cost else Decimal(0)
        cancelled = self._attempts.cancelled(told.attempt, CALL_MS, code="no_taker")
        run.settle(told.attempt.cost_upper_usd)
        run.risk(bound)
        self._journal.post(
            cancelled.model_copy(update={"cost_upper_usd": bound}), run.task.traceparent
        )

    async def _unanswered(self, run: Execution) -> None:
        """Put a line on record that was not answered; one that may be yet keeps its bound."""
        told = run.task.batch
        if told is None or told.may_cost:
            self._lost(run)
            return
        run.settle(told.attempt.cost_upper_usd)
        ended = self._attempts.cancelled(
            told.attempt, CALL_MS, code=told.code, cost_upper_usd=Decimal(0)
        )
        await self._journal.write(ended, run.task.traceparent)

    def _lost(self, run: Execution) -> None:
        """Book what a line may cost of which nothing will be read here."""
        told = run.task.batch
        if told is not None:
            run.settle(told.attempt.cost_upper_usd)
            run.take_over(told.attempt.cost_upper_usd, 1)


async def read(
    attempts: Attempts,
    batching: Batching,
    run: Execution,
    told: BatchAnswer,
    messages: list[dict[str, Any]],
) -> Answer:
    """Read what a line was answered, as any call's answer is read; it was answered."""
    started = told.attempt
    request = request_of(run.task.intent, messages, started, max_output=None, task=run.task)
    try:
        reply = batching.reply(request, told.status or 0, told.body, told.batch_id)
    except ExecutionError as error:
        return attempts.failed(started, error.failure, CALL_MS)
    await attempts.prepare(started, reply)
    return attempts.answered(run, started, reply, messages, CALL_MS)


async def unclaimed(
    attempts: Attempts,
    batching: Batching,
    task: Task,
    told: BatchAnswer,
    messages: list[dict[str, Any]],
    *,
    mask: Mask | None = None,
) -> ProviderAttempt:
    """Give the end of a line whose intent had gone back before: what it cost, and for nobody."""
    if told.status is None:
        bound = told.attempt.cost_upper_usd if told.may_cost else Decimal(0)
        ended = attempts.cancelled(told.attempt, CALL_MS, code=told.code)
        return ended.model_copy(update={"cost_upper_usd": bound})
    run = Execution(task, told.attempt.started_at, mask)
    answer = await read(attempts, batching, run, told, messages)
    return answer.attempt.model_copy(update={"used_result": False})

"""One provider call: on record before and after it, and known to its provider's capacity.

Before a call a `started` attempt is journalled; whatever happens then, the call is on record.
"""

import asyncio
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from agents.capacity.turns import Capacity, Turn
from agents.deciding.failures import Failure
from agents.deciding.hedging import Hedger
from agents.executing.account import Execution
from agents.executing.attempts import Answer, Attempts
from agents.executing.ground import Ground
from agents.executing.ports import Journal, LaneLostError, Permit
from agents.providers.adapters import ChatRequest, Provider
from agents.providers.errors import ExecutionError
from schemas.attempt import ProviderAttempt
from schemas.vocabulary import FailureKind, LogEvent, Priority

__all__ = ["Call", "Caller"]

#: Output tokens counted against a provider's limit before the answer is there.
ASSUMED_OUTPUT_TOKENS = 256
#: Error code of a call that was cancelled because its rival answered first.
HEDGE_LOST = "hedge_lost"


@dataclass(frozen=True, slots=True)
class Call:
    """One call before it is made: to whom, with what, and what it may cost at most."""

    provider: Provider
    #: The provider's own name for it.
    model: str
    messages: list[dict[str, Any]]
    prompt_tokens: int
    max_output: int | None
    #: Dollars that it cannot exceed; None = no price is known.
    bound_usd: Decimal | None = None
    #: Whether its answer is cut short for want of money.
    cut: bool = False
    #: Place in the route, for a call beside the first one.
    hedge_at: int | None = None
    #: Whether the intent chose that name; else the configuration did.
    own_model: bool = False


class Caller:
    """Makes the calls of one worker."""

    def __init__(
        self,
        *,
        capacity: Capacity,
        attempts: Attempts,
        hedger: Hedger,
        journal: Journal,
        ground: Ground,
    ) -> None:
        """Keep what a call needs: its turn, its record, and its rival."""
        self._hedger = hedger
        self._capacity = capacity
        self._attempts = attempts
        self._journal = journal
        self._ground = ground

    async def call(
        self, run: Execution, call: Call, permit: Permit, *, rival: Call | None = None
    ) -> Answer:
        """Make one call; a rival runs beside one that takes long, the first good answer wins."""
        self._hedger.count_call()
        delay_s = None
        if rival is not None:
            delay_s = self._hedger.delay_s(run.task.intent, call.provider.name)
        if rival is None or delay_s is None:
            return await self._one(run, call, permit)
        loop = asyncio.get_running_loop()
        calls = {loop.create_task(self._one(run, call, permit))}
        waiting = loop.create_task(self._ground.clock.sleep(delay_s))
        chosen: Answer | None = None
        try:
            await asyncio.wait({*calls, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if not any(one.done() for one in calls) and self._may_hedge(run, rival):
                calls.add(loop.create_task(self._one(run, rival, permit)))
            chosen = await self._first_good(calls)
            return chosen
        finally:
            waiting.cancel()
            left = [one for one in calls if not one.done()]
            for one in left:
                one.cancel(HEDGE_LOST)
            await asyncio.gather(*left, return_exceptions=True)
            for one in calls:  # also those that ended while we were cancelled
                if not one.cancelled() and one.exception() is None and one.result() is not chosen:
                    self.post_unused(run, one.result().attempt)

    def post_unused(self, run: Execution, attempt: ProviderAttempt) -> None:
        """Put a call whose answer nobody takes on record, with what it cost."""
        unused = attempt.model_copy(update={"used_result": False})
        self._journal.post(unused, run.task.traceparent)

    @staticmethod
    async def _first_good(calls: set[asyncio.Task[Answer]]) -> Answer:
        """Wait for the first answer without a failure, else for all."""
        pending, ended = set(calls), list[Answer]()
        while pending and not any(answer.failure is None for answer in ended):
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            ended += [one.result() for one in done]
        return min(ended, key=lambda one: (one.failure is not None, one.attempt.hedge))

    def _may_hedge(self, run: Execution, rival: Call) -> bool:
        """Whether the rival is free and the caps allow it; says so in the log."""
        if self._capacity.wait_s(rival.provider.name) > 0:
            return False
        if not self._hedger.allow(self._ground.clock.monotonic(), rival.bound_usd):
            return False
        self._ground.say(LogEvent.HEDGE_STARTED, run, provider=rival.provider.name)
        return True

    async def _one(self, run: Execution, call: Call, permit: Permit) -> Answer:
        """Make one call, on record before and after it, and known to its provider's capacity."""
        # What money cuts an answer to says nothing of how long it will be; what was asked for does.
        longest = run.task.intent.max_output_tokens or ASSUMED_OUTPUT_TOKENS
        expected = call.prompt_tokens + min(call.max_output or longest, longest)
        turn = self._capacity.take(call.provider.name, expected)
        try:
            started = await self._on_record(run, call, permit)
            answer = await self._send(run, call, started)
        except BaseException:
            self._capacity.cancel(turn)
            raise
        self._end(turn, answer, call, evidence=_evidence(run, call))
        run.end_call(answer.attempt, answer.failure)
        self._log_end(run, call.provider, answer)
        return answer

    async def _on_record(self, run: Execution, call: Call, permit: Permit) -> ProviderAttempt:
        """Journal that a call is about to be made; raises LaneLostError when it must not be."""
        await permit.wait()
        started = self._attempts.started(
            run,
            call.provider,
            model=call.model,
            bound_usd=call.bound_usd,
            hedge_at=call.hedge_at,
        )
        try:
            await self._journal.write(started, run.task.traceparent)
            await permit.confirm()
        except (LaneLostError, asyncio.CancelledError):
            # Lost while the journal was written: on record as never sent, at no cost.
            self._journal.post(
                self._attempts.cancelled(started, 0, cost_upper_usd=Decimal(0)),
                run.task.traceparent,
            )
            raise
        return started

    async def _send(self, run: Execution, call: Call, started: ProviderAttempt) -> Answer:
        intent = run.task.intent
        run.begin_call(hedge=call.hedge_at is not None)
        self._ground.say(
            LogEvent(f"{call.provider.kind}_execution_started"),
            run,
            attempt_id=started.attempt_id,
            attempt=started.attempt,
        )
        request = ChatRequest(
            messages=call.messages,
            attempt_id=started.attempt_id,
            attempt=started.attempt,
            model=call.model,
            max_output_tokens=call.max_output,
            temperature=intent.temperature,
            response_schema=intent.response_schema,
            parameters=intent.parameters,
            trace_headers=run.task.trace_headers,
            trace=run.task.trace_context,
            within_s=run.left_s(self._ground.clock.now_ms()),
            low_priority=intent.priority is Priority.LOW,
        )
        since = self._ground.clock.monotonic()
        try:
            reply = await call.provider.complete(request)
        except ExecutionError as error:
            failure = _blame(error.failure, call, run)
            return self._attempts.failed(started, failure, self._ground.since_ms(since))
        except asyncio.CancelledError as error:
            lost = HEDGE_LOST if error.args == (HEDGE_LOST,) else ""
            if lost:
                # It took at least so long. Left out, the p95 would miss just the slow calls.
                self._hedger.note(call.provider.name, self._ground.clock.monotonic() - since)
            cancelled = self._attempts.cancelled(started, self._ground.since_ms(since), code=lost)
            run.risk(cancelled.cost_upper_usd)
            self._journal.post(cancelled, run.task.traceparent)
            raise
        call_ms = self._ground.since_ms(since)
        try:
            await self._attempts.prepare(started, reply)
        except asyncio.CancelledError:
            given_up = self._attempts.answered(run, started, reply, call.messages, call_ms)
            self.post_unused(run, given_up.attempt)
            raise
        return self._attempts.answered(run, started, reply, call.messages, call_ms)

    def _end(self, turn: Turn, answer: Answer, call: Call, *, evidence: str) -> None:
        used = answer.usage.total if answer.reply is not None else turn.tokens
        rest_s = answer.reply.rest_s if answer.reply is not None else 0.0
        failure = _of_provider(answer.failure, call)
        self._capacity.end(turn, failure, tokens=used, rest_s=rest_s, evidence=evidence)
        if answer.failure is None:
            self._hedger.note(turn.provider, answer.attempt.call_ms / 1000)

    def _log_end(self, run: Execution, provider: Provider, answer: Answer) -> None:
        attempt = answer.attempt
        fields: dict[str, object] = {
            "attempt_id": attempt.attempt_id,
            "attempt": attempt.attempt,
            "call_ms": attempt.call_ms,
            "http_status": attempt.http_status,
        }
        name, level = "completed", "info"
        if answer.failure is not None:
            name, level = "error", "warning"
            fields["error_class"] = answer.failure.error_class.value
            fields["error_code"] = answer.failure.code
            fields["key"] = answer.failure.key.label if answer.failure.key else None
        self._ground.say(LogEvent(f"{provider.kind}_execution_{name}"), run, level=level, **fields)


def _evidence(run: Execution, call: Call) -> str:
    """Say whose choice a call was: many intents that name one model are one choice."""
    if call.model != call.provider.model:
        return f"model {call.model}"
    return f"intent {run.task.intent.tenant} {run.task.intent_id}"


def _blame(failure: Failure, call: Call, run: Execution) -> Failure:
    """Blame the intent, not the configuration, where the intent itself named a missing model.

    And the provider, not one key, where the intent has asked with as many as there are.
    """
    if failure.kind is FailureKind.DEPLOYMENT_NOT_FOUND and call.own_model:
        return replace(failure, kind=FailureKind.MODEL_NOT_FOUND)
    if failure.key is not None and run.key_changes >= failure.key.keys:
        return replace(failure, key=replace(failure.key, another_ms=None))
    return failure


def _of_provider(failure: Failure | None, call: Call) -> Failure | None:
    """Give the failure as the provider's: one that lacks a group's model is well for all others."""
    if failure is None or call.model == call.provider.model:
        return failure
    if failure.kind is FailureKind.DEPLOYMENT_NOT_FOUND:
        return replace(failure, kind=FailureKind.MODEL_NOT_FOUND)
    return failure

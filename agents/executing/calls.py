"""One provider call: on record before and after it, and known to its provider's capacity.

Before a call a `started` attempt is journalled; whatever happens then, the call is on record.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from decimal import Decimal
from functools import partial

from agents.capacity.turns import Capacity, Turn
from agents.deciding.hedging import Hedger
from agents.executing.account import Execution
from agents.executing.asking import Call, Sent, request_of
from agents.executing.attempts import Answer, Attempts
from agents.executing.blame import blame, evidence, is_gone, of_provider
from agents.executing.ground import Ground
from agents.executing.kept import Dropped, Holder
from agents.executing.ports import NO_TAKER, Journal, LaneLostError, Permit
from agents.providers.adapters import ChatRequest, Provider
from agents.providers.errors import ExecutionError
from agents.providers.keeping import NotKeptError, Place
from agents.providers.replies import ChatReply
from schemas.attempt import ProviderAttempt
from schemas.events import KeptCall
from schemas.vocabulary import LogEvent

__all__ = ["Caller"]

#: Error code of a call that was cancelled because its rival answered first.
HEDGE_LOST = "hedge_lost"


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
        self._dropped = Dropped(attempts=attempts, journal=journal)

    async def call(
        self, run: Execution, call: Call, permit: Permit, *, rival: Call | None = None
    ) -> Answer:
        """Make one call; a rival runs beside one that takes long, the first good answer wins."""
        self._hedger.count_call()
        provider = call.provider.name
        delay_s = None if rival is None else self._hedger.delay_s(run.task.intent, provider)
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
            # Without an answer nobody has lost: all is given up, for the reason that we are.
            why = (HEDGE_LOST,) if chosen is not None else getattr(sys.exception(), "args", ())
            for one in left:
                one.cancel(*why[:1])
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
        expected = call.expected_tokens(run.task.intent)
        turn = self._capacity.take(call.provider.name, expected)
        try:
            started = await self._on_record(run, call, permit)
            answer = await self._send(run, call, started, permit)
        except BaseException:
            self._capacity.cancel(turn)
            raise
        self._end(turn, answer, call, whose=evidence(run, call))
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
            if call.keeping is not None:  # it may be made, and nothing heard of it
                await permit.keep(KeptCall(attempt=started))
            await permit.confirm()
        except (LaneLostError, asyncio.CancelledError):
            # Lost while the journal was written: on record as never sent, at no cost.
            self._journal.post(
                self._attempts.cancelled(started, 0, cost_upper_usd=Decimal(0)),
                run.task.traceparent,
            )
            raise
        return started

    async def _send(
        self, run: Execution, call: Call, started: ProviderAttempt, permit: Permit
    ) -> Answer:
        run.begin_call(hedge=call.hedge_at is not None)
        self._ground.say(
            LogEvent(f"{call.provider.kind}_execution_started"),
            run,
            attempt_id=started.attempt_id,
            attempt=started.attempt,
        )
        since, ask, holder = self._ground.clock.monotonic(), call.provider.complete, None
        if call.keeping is not None:
            holder = Holder(permit, self._journal, started, run.task.traceparent)
            ask = partial(ask, keeper=holder)
        return await self._answer(Sent(run, call, started, since, holder), ask)

    def _request(self, sent: Sent) -> ChatRequest:
        run, call = sent.run, sent.call
        return request_of(
            run.task.intent,
            call.messages,
            sent.started,
            max_output=call.max_output,
            task=run.task,
            within_s=run.left_s(self._ground.clock.now_ms()),
        )

    async def _answer(
        self, sent: Sent, ask: Callable[[ChatRequest], Awaitable[ChatReply]]
    ) -> Answer:
        """Wait for what a provider answers."""
        run, call, started, holder = sent.run, sent.call, sent.started, sent.holder
        try:
            reply = await ask(self._request(sent))
        except ExecutionError as error:
            if holder is not None:
                holder.end()
            failure = blame(error.failure, call, run)
            return self._attempts.failed(started, failure, self._ground.since_ms(sent.since))
        except NotKeptError as error:
            self._give_up(sent)
            raise (error.__cause__ or error) from None
        except asyncio.CancelledError as error:
            lost = HEDGE_LOST if error.args == (HEDGE_LOST,) else ""
            if lost:
                # It took at least so long. Left out, the p95 would miss just the slow calls.
                self._hedger.note(call.provider.name, self._ground.clock.monotonic() - sent.since)
            elif holder is not None and holder.on_record and error.args != (NO_TAKER,):
                raise  # who has the lane next fetches it, and ends it
            self._give_up(sent, code=lost)
            raise
        call_ms = self._ground.since_ms(sent.since)
        try:
            await self._attempts.prepare(started, reply)
        except asyncio.CancelledError:
            given_up = self._attempts.answered(run, started, reply, call.messages, call_ms)
            self.post_unused(run, given_up.attempt)
            raise
        answer = self._attempts.answered(run, started, reply, call.messages, call_ms)
        if holder is not None and answer.failure is not None:
            holder.end()
        return answer

    def _give_up(self, sent: Sent, *, code: str = "") -> None:
        """Put a call on record as cancelled, and cancel the answer that its provider keeps."""
        call_ms, holder = self._ground.since_ms(sent.since), sent.holder
        cancelled = self._attempts.cancelled(sent.started, call_ms, code=code)
        place = None if holder is None else holder.place
        if holder is not None and place is not None:
            holder.end()
        self._let_go(sent.run, sent.call, cancelled, place)

    async def resume(self, run: Execution, call: Call, kept: KeptCall, permit: Permit) -> Answer:
        """Fetch the answer of a call that an earlier execution made, or find it; pays nothing."""
        started, provider = kept.attempt, call.provider
        keeping, place = provider.keeping, Place(started.provider_request_id, kept.key)
        if keeping is None:
            message = "only a provider that keeps answers is asked for one"
            raise AssertionError(message)
        await permit.confirm()
        turn = self._capacity.take(provider.name, 0)
        run.begin_call(hedge=started.hedge)
        self._ground.say(LogEvent.ANSWER_FETCHED, run, attempt_id=started.attempt_id)
        holder = Holder(permit, self._journal, started, run.task.traceparent)
        ask = partial(provider.complete, keeper=holder)
        if place.response_id:
            holder.place, holder.on_record = place, True
            ask = partial(keeping.fetch, place=place)
        ago_s = (self._ground.clock.now() - started.started_at).total_seconds()
        since = self._ground.clock.monotonic() - max(0.0, ago_s)
        try:
            answer = await self._answer(Sent(run, call, started, since, holder), ask)
        except BaseException:
            self._capacity.cancel(turn)
            raise
        if is_gone(answer):  # what it forgot says nothing of how it is
            self._capacity.cancel(turn)
        else:
            self._end(turn, answer, call, whose=evidence(run, call), measured=False)
        run.end_call(answer.attempt, answer.failure)
        self._log_end(run, provider, answer)
        return answer

    def drop(self, run: Execution, call: Call, kept: KeptCall) -> None:
        """Let go of an answer that an earlier execution asked for, and nobody takes any more."""
        place = Place(kept.attempt.provider_request_id, kept.key)
        cancelled = self._attempts.cancelled(kept.attempt, 0)
        self._let_go(run, call, cancelled, place if place.response_id else None)

    def _let_go(
        self, run: Execution, call: Call, cancelled: ProviderAttempt, place: Place | None
    ) -> None:
        """Book a call that was cancelled, put it on record, and cancel what is kept for it."""
        run.risk(cancelled.cost_upper_usd)
        self._journal.post(cancelled, run.task.traceparent)
        if place is not None:
            self._dropped.drop(run, call.provider, cancelled, place, call.messages)

    def _end(
        self, turn: Turn, answer: Answer, call: Call, *, whose: str, measured: bool = True
    ) -> None:
        used = answer.usage.total if answer.reply is not None else turn.tokens
        rest_s = answer.reply.rest_s if answer.reply is not None else 0.0
        failure = of_provider(answer.failure, call)
        self._capacity.end(turn, failure, tokens=used, rest_s=rest_s, evidence=whose)
        if answer.failure is None and measured:
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

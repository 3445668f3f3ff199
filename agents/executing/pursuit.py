"""Pursuit: choose a provider, call it, classify the answer, decide; until there is an outcome.

The policy decides (`agents.deciding.policy`), this module does. A call that did not end the intent
goes on record at once; the last one travels with the outcome in the lane's transaction.
"""

from typing import assert_never

from agents.capacity.breaker import BreakerState
from agents.capacity.turns import Capacity
from agents.deciding.policy import (
    Defer,
    Fallback,
    GiveUp,
    Go,
    Retry,
    RetryPolicy,
    Situation,
    Wait,
    choose,
    decide,
)
from agents.executing.account import Execution
from agents.executing.allowance import Short
from agents.executing.attempts import Answer
from agents.executing.batched import Batched
from agents.executing.calls import Caller
from agents.executing.endings import given_up, limit_reached
from agents.executing.ground import Ground
from agents.executing.moves import (
    complete,
    defer,
    fall_back,
    over_budget,
    wait_for_retry,
    wait_for_turn,
)
from agents.executing.planning import Planner, with_complaint
from agents.executing.ports import Journal, Permit
from agents.executing.resumed import Resumption
from agents.task import Completed, Deferred, Failed
from schemas.vocabulary import DeadLetterReason, Priority

__all__ = ["Pursuit"]

#: Priorities whose calls have a place of their own at a provider.
URGENT = frozenset({Priority.HIGH, Priority.CRITICAL})


class Pursuit:
    """The loop over calls of one execution; one object for each worker."""

    def __init__(
        self,
        *,
        policy: RetryPolicy,
        capacity: Capacity,
        planner: Planner,
        caller: Caller,
        resumption: Resumption,
        batched: Batched,
        journal: Journal,
        ground: Ground,
    ) -> None:
        """Keep the policy that decides, the planner that prepares calls, the caller that calls."""
        self._policy = policy
        self._capacity = capacity
        self._planner = planner
        self._caller = caller
        self._resumption = resumption
        self._batched = batched
        self._journal = journal
        self._ground = ground

    async def pursue(
        self, run: Execution, providers: tuple[str, ...], permit: Permit
    ) -> Completed | Failed | Deferred:
        """Call until there is an outcome; raises LaneLostError."""
        if run.task.kept or run.task.batch is not None:
            ended = await self._take_up(run, providers, permit)
            if ended is not None:
                return ended
        elif run.task.intent.processing != "realtime":
            waits = self._batched.gathered(run, providers)
            if waits is not None:
                return waits
        messages = self._planner.messages(run.task.intent)
        while True:
            before = run.position
            ended = await self._reach_turn(run, providers)
            if ended is not None:
                return ended
            if run.position != before:
                messages = self._planner.messages(run.task.intent)
            call = self._planner.plan(run, providers[run.position], messages)
            if isinstance(call, Short):
                return self._short(run, call)
            rival = self._planner.rival(run, providers, messages, beside=call)
            answer = await self._caller.call(run, call, permit, rival=rival)
            try:
                step = await self._after(run, providers, answer)
            except BaseException:  # given up in the middle, or a defect: what was paid is on record
                self._caller.post_unused(run, answer.attempt)
                raise
            match step:
                case Retry(repair=repair):
                    here, failed = providers[run.position], answer.attempt
                    await wait_for_retry(self._ground, run, step, provider=here, failed=failed)
                    messages = with_complaint(messages, answer) if repair else messages
                case Fallback():
                    messages = self._planner.messages(run.task.intent)
                case _:
                    return step

    async def _take_up(
        self, run: Execution, providers: tuple[str, ...], permit: Permit
    ) -> Completed | Failed | Deferred | None:
        """End with an answer that was asked for before; None where a call is needed."""
        answer = await self._batched.answer(run, providers)
        if answer is None and run.task.kept:
            answer = await self._resumption.answer(run, providers, permit)
        if answer is None:
            return None
        try:
            step = await self._after(run, providers, answer)
        except BaseException:  # as below
            self._caller.post_unused(run, answer.attempt)
            raise
        match step:
            case Retry():
                here = answer.attempt.provider
                await wait_for_retry(self._ground, run, step, provider=here, failed=answer.attempt)
                return None
            case Fallback():
                return None
            case _:
                return step

    async def _after(
        self, run: Execution, providers: tuple[str, ...], answer: Answer
    ) -> Completed | Failed | Deferred | Retry | Fallback:
        """End with an answer, or put it on record where the policy says to go on."""
        if answer.failure is None:
            return complete(self._ground, run, answer)
        situation, dice = self._situation(run, providers), self._ground.dice.fraction()
        decision = decide(self._policy, situation, answer.failure, dice=dice)
        match decision:
            case Retry():
                await self._journal.write(answer.attempt, run.task.traceparent)
                return decision
            case Fallback():
                await self._journal.write(answer.attempt, run.task.traceparent)
                fall_back(self._ground, run, providers, decision, answer.failure)
                return decision
            case Defer():
                return defer(self._ground, run, decision, answer.attempt)
            case GiveUp():
                return given_up(run, decision.reason, answer.failure, answer.attempt)
            case _:
                assert_never(decision)

    def _short(self, run: Execution, why: Short) -> Failed | Deferred:
        """End, or put aside, what nobody's money pays for now."""
        if why.over is None:
            return limit_reached(run, GiveUp(DeadLetterReason.BUDGET))
        return over_budget(self._ground, self._policy, run, why.over, soon=why.soon)

    async def _reach_turn(
        self, run: Execution, providers: tuple[str, ...]
    ) -> Deferred | Failed | None:
        """Wait for a provider's turn, or turn to another; None when the call may start now."""
        while True:
            step = choose(self._policy, self._situation(run, providers))
            match step:
                case Go():
                    return None
                case Wait(delay_s=delay):
                    await wait_for_turn(self._ground, run, delay)
                case Fallback():
                    fall_back(self._ground, run, providers, step, None)
                case Defer():
                    return defer(self._ground, run, step, None)
                case GiveUp():
                    return limit_reached(run, step)
                case _:
                    assert_never(step)

    def _situation(self, run: Execution, providers: tuple[str, ...]) -> Situation:
        urgent = run.task.intent.priority in URGENT
        return run.situation(
            providers,
            self._ground.clock.now_ms(),
            waits_s=tuple(self._capacity.wait_s(name, urgent=urgent) for name in providers),
            out=tuple(self._capacity.state(name) is not BreakerState.CLOSED for name in providers),
            answered_ms=self._capacity.answered_ms(providers),
        )

"""Answers that providers keep for an intent whose earlier execution had no end: fetched, not paid.

An earlier owner of the lane has put on record which calls it made at providers that keep their
answers, and where each is. Who executes the intent next fetches what is there before it calls
anybody; of what it cannot find it says so, and counts it as what it may have cost.
"""

from collections.abc import Mapping

from agents.executing.account import Execution
from agents.executing.asking import Call
from agents.executing.attempts import Answer
from agents.executing.blame import is_gone
from agents.executing.calls import Caller
from agents.executing.ground import Ground
from agents.executing.planning import Planner
from agents.executing.ports import Journal, Permit
from agents.providers.adapters import Provider
from schemas.events import KeptCall
from schemas.vocabulary import LogEvent

__all__ = ["Resumption"]


class Resumption:
    """Takes up what earlier executions asked for; one for each worker."""

    def __init__(
        self,
        *,
        providers: Mapping[str, Provider],
        planner: Planner,
        caller: Caller,
        journal: Journal,
        ground: Ground,
    ) -> None:
        """Keep who fetches, and who plans the call by which one is found."""
        self._providers = providers
        self._planner = planner
        self._caller = caller
        self._journal = journal
        self._ground = ground

    async def answer(
        self, run: Execution, providers: tuple[str, ...], permit: Permit
    ) -> Answer | None:
        """Give the answer that an earlier call brought, good or not; None where none did.

        What it gives is on record by whoever ends the intent with it, the others are already.
        Raises LaneLostError.
        """
        if self._is_late(run):
            self.drop(run)
            return None
        # Those whose place is known first: where they are good, nothing need be asked for again.
        waiting = sorted(run.task.kept, key=lambda one: not one.attempt.provider_request_id)
        while waiting:
            kept = waiting.pop(0)
            answer = await self._one(run, kept, providers, permit)
            if answer is None:
                continue
            if answer.failure is None:
                self._drop(run, waiting)
                return answer
            own = kept.attempt.provider in providers and not kept.attempt.hedge
            if own and not waiting and not is_gone(answer):
                return answer
            await self._journal.write(answer.attempt, run.task.traceparent)
        return None

    def drop(self, run: Execution) -> None:
        """Let go of all that earlier calls may have brought: the intent has ended otherwise."""
        self._drop(run, run.task.kept)

    def _drop(self, run: Execution, left: tuple[KeptCall, ...] | list[KeptCall]) -> None:
        for kept in left:
            provider = self._providers.get(kept.attempt.provider)
            if provider is None or provider.keeping is None:
                self._lost(run, kept)
            else:
                self._caller.drop(run, self._call(run, provider, kept), kept)

    async def _one(
        self, run: Execution, kept: KeptCall, providers: tuple[str, ...], permit: Permit
    ) -> Answer | None:
        """Fetch the answer of one call, or find it; None where nobody can."""
        attempt = kept.attempt
        provider = self._providers.get(attempt.provider)
        call = None
        if provider is not None and provider.keeping is not None:
            if attempt.provider_request_id:
                call = self._call(run, provider, kept)
            elif provider.keeping.finds:
                call = self._made_again(run, provider, kept)
        if call is None:
            self._lost(run, kept)
            permit.let_go(attempt.attempt_id)
            return None
        if attempt.provider in providers:
            run.stand_at(providers.index(attempt.provider), calls=attempt.attempt - 1)
        return await self._caller.resume(run, call, kept, permit)

    def _call(self, run: Execution, provider: Provider, kept: KeptCall) -> Call:
        """Describe a call that has been made."""
        attempt = kept.attempt
        return Call(
            provider,
            attempt.requested_model,
            self._planner.messages(run.task.intent),
            0,
            None,
            bound_usd=attempt.cost_upper_usd,
            own_model=run.task.intent.model is not None,
        )

    def _made_again(self, run: Execution, provider: Provider, kept: KeptCall) -> Call | None:
        """Plan the same call once more; None where its money is spent by now."""
        messages = self._planner.messages(run.task.intent)
        call = self._planner.plan(run, provider.name, messages)
        return (
            call if isinstance(call, Call) and call.model == kept.attempt.requested_model else None
        )

    def _lost(self, run: Execution, kept: KeptCall) -> None:
        """Book what a call may have cost of which nothing more will be heard, and say so."""
        run.take_over(kept.attempt.cost_upper_usd, 1)
        self._ground.say(
            LogEvent.ANSWER_LOST,
            run,
            level="warning",
            provider=kept.attempt.provider,
            attempt_id=kept.attempt.attempt_id,
        )

    def _is_late(self, run: Execution) -> bool:
        deadline = run.limits.deadline_at_ms
        return deadline is not None and self._ground.clock.now_ms() >= deadline

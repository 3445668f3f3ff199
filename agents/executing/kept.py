"""Calls whose answers their providers keep: on record before they are waited for, or let go."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from agents.executing.account import Execution
from agents.executing.attempts import Attempts
from agents.executing.ports import Journal, Permit
from agents.providers.adapters import Provider
from agents.providers.keeping import Place
from schemas.attempt import ProviderAttempt
from schemas.events import KeptCall

__all__ = ["Dropped", "Holder"]


@dataclass(slots=True)
class Holder:
    """Puts on record where the answer of one call is."""

    permit: Permit
    journal: Journal
    attempt: ProviderAttempt
    traceparent: str | None
    #: Where it is, once that is known.
    place: Place | None = None
    #: Whether the next owner of the lane finds it there.
    on_record: bool = field(default=False)

    async def kept(self, place: Place) -> None:
        """Return once it is durable where the answer is; raises LaneLostError."""
        self.place = place
        attempt = self.attempt.model_copy(update={"provider_request_id": place.response_id})
        await self.permit.keep(KeptCall(attempt=attempt, key=place.key))
        self.on_record = True
        self.journal.post(attempt, self.traceparent)

    def end(self) -> None:
        """Note that nobody has to fetch it any more."""
        self.permit.let_go(self.attempt.attempt_id)


class Dropped:
    """Cancels answers that nobody takes, and has what they cost put on record."""

    def __init__(self, *, attempts: Attempts, journal: Journal) -> None:
        """Keep who makes the records and who writes them."""
        self._attempts = attempts
        self._journal = journal
        self._running: set[asyncio.Task[None]] = set()

    def drop(
        self,
        run: Execution,
        provider: Provider,
        started: ProviderAttempt,
        place: Place,
        messages: list[dict[str, Any]],
    ) -> None:
        """Cancel an answer without waiting for it; its call is on record as cancelled already."""
        keeping = provider.keeping
        if keeping is None:
            return

        async def cancel() -> None:
            reply = await keeping.cancel(place)
            if reply is not None:
                answer = self._attempts.answered(run, started, reply, messages, started.call_ms)
                told = {"used_result": False, "provider_request_id": place.response_id}
                self._journal.post(answer.attempt.model_copy(update=told), run.task.traceparent)

        task = asyncio.get_running_loop().create_task(cancel())
        self._running.add(task)
        task.add_done_callback(self._running.discard)

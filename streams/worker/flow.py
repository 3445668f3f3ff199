"""How what a worker's parts decide reaches its consumer and its dispatcher.

The parts know each other in a circle: a breaker that moves makes the dispatcher look again, and the
dispatcher asks the breakers. This is the one place where the circle is closed, by `attach`.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from agents.clock import Clock
from streams.membership.faust_app import TP, App
from streams.worker.dispatcher import Dispatcher
from streams.worker.supervisor import Supervisor

__all__ = ["Flow"]


class Flow:
    """Fetching, looking again, halting, and commits of offsets."""

    def __init__(self, *, supervisor: Supervisor, clock: Clock) -> None:
        """Begin with nothing to steer; `attach` comes before the first record."""
        self._supervisor = supervisor
        self._clock = clock
        self._app: App | None = None
        self._dispatcher: Dispatcher | None = None

    def attach(self, app: App, dispatcher: Dispatcher) -> None:
        """Say which dispatcher and which consumer are steered."""
        self._app = app
        self._dispatcher = dispatcher

    def pause(self, topic: str, partition: int) -> None:
        """Fetch no more from a partition."""
        if self._app is not None:
            self._app.consumer.pause_partitions({TP(topic, partition)})

    def resume(self, topic: str, partition: int) -> None:
        """Fetch from a partition again, where it is still ours."""
        if self._app is not None and TP(topic, partition) in self._app.consumer.assignment():
            self._app.consumer.resume_partitions({TP(topic, partition)})

    def look_again(self) -> None:
        """See what waits in a new light: a provider's breaker has moved, a lane has opened."""
        if self._dispatcher is not None:
            self._dispatcher.poke()

    def halt_for(self, seconds: float, *, then: Callable[[], None]) -> None:
        """Take no work for a while."""
        if self._dispatcher is not None:
            self._supervisor.once("a halt", self._halted(self._dispatcher, seconds, then))

    async def commit_offsets(self, limit_s: float) -> None:
        """Commit what is done, if that is possible in time: a repeat is known by the ledger."""
        if self._app is not None:
            with suppress(Exception):
                await asyncio.wait_for(self._app.consumer.commit(), limit_s)

    async def _halted(
        self, dispatcher: Dispatcher, seconds: float, then: Callable[[], None]
    ) -> None:
        dispatcher.halt(halted=True)
        await self._clock.sleep(seconds)
        then()
        dispatcher.halt(halted=False)

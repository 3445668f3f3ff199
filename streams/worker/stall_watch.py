"""Ends a process that has stalled silently: it is started again, and nothing is lost."""

import os

from agents.clock import Clock
from agents.log import Log
from schemas.vocabulary import LogEvent
from streams.worker.dispatcher import Dispatcher

__all__ = ["STALLED_STATUS", "StallWatch"]

#: Work is waiting, slots are free, and nothing has begun or ended for this long: a silent stall.
STALL_LIMIT_S = 120
STALLED_STATUS = 76
LOOK_EVERY_S = 5


class StallWatch:
    """Looks whether open lanes have work that does not begin."""

    def __init__(self, dispatcher: Dispatcher, *, clock: Clock, log: Log) -> None:
        """Watch a dispatcher."""
        self._dispatcher = dispatcher
        self._clock = clock
        self._log = log

    def stalled(self) -> bool:
        """Whether work of open lanes waits, nothing runs, and nothing has moved for too long.

        A lane that opens is no stall: it reads its ledger, which may be long, and each of its steps
        has a limit of its own.
        """
        dispatcher = self._dispatcher
        idle_s = self._clock.monotonic() - dispatcher.last_progress
        stuck = dispatcher.ready_to_run() > 0 and dispatcher.running == 0
        return stuck and idle_s > STALL_LIMIT_S

    async def watch_forever(self) -> None:
        """End the process when it is stalled."""
        while True:
            await self._clock.sleep(LOOK_EVERY_S)
            if self.stalled():
                self._log(
                    LogEvent.WORKER_STALLED,
                    level="error",
                    waiting=self._dispatcher.waiting,
                    idle_ms=int((self._clock.monotonic() - self._dispatcher.last_progress) * 1000),
                )
                os._exit(STALLED_STATUS)

"""Ends a process that has stalled silently: it is started again, and nothing is lost."""

import os
from collections.abc import Callable

from agents.clock import Clock
from agents.log import Log
from schemas.vocabulary import LogEvent
from streams.worker.dispatcher import Dispatcher

__all__ = ["STALLED_STATUS", "StallWatch"]

#: Work is waiting, slots are free, and nothing has begun or ended for this long: a silent stall.
#: So it is where the consumer, a member of its group, has not come back from fetching for as long.
STALL_LIMIT_S = 120
STALLED_STATUS = 76
LOOK_EVERY_S = 5


class StallWatch:
    """Looks whether open lanes have work that does not begin, and whether work comes at all."""

    def __init__(
        self, dispatcher: Dispatcher, *, in_group: Callable[[], bool], clock: Clock, log: Log
    ) -> None:
        """Watch a dispatcher; `in_group` says whether the group has heard us lately."""
        self._dispatcher = dispatcher
        self._in_group = in_group
        self._clock = clock
        self._log = log
        self._in_group_since = clock.monotonic()

    def stalled(self) -> bool:
        """Whether work of open lanes waits, nothing runs, and nothing has moved for too long.

        A lane that opens is no stall: it reads its ledger, which may be long, and each of its steps
        has a limit of its own.
        """
        dispatcher = self._dispatcher
        idle_s = self._clock.monotonic() - dispatcher.last_progress
        stuck = dispatcher.ready_to_run() > 0 and dispatcher.running == 0
        return stuck and idle_s > STALL_LIMIT_S

    def deaf(self) -> bool:
        """Whether we are in our group and have not even asked for records for too long.

        Seen with a frozen broker: heartbeats went on, lanes were open, Faust never fetched again
        (`faust_app.SEEK_LIMIT_S`). To be out of the group is no stall.
        """
        now = self._clock.monotonic()
        if not self._in_group():
            self._in_group_since = now
        return now - max(self._in_group_since, self._dispatcher.last_fetched) > STALL_LIMIT_S

    async def watch_forever(self) -> None:
        """End the process when it is stalled."""
        dispatcher = self._dispatcher
        while True:
            await self._clock.sleep(LOOK_EVERY_S)
            deaf = self.deaf()
            if deaf or self.stalled():
                since = dispatcher.last_fetched if deaf else dispatcher.last_progress
                self._log(
                    LogEvent.WORKER_STALLED,
                    level="error",
                    why="nothing is fetched" if deaf else "nothing begins",
                    waiting=dispatcher.waiting,
                    idle_ms=int((self._clock.monotonic() - since) * 1000),
                )
                os._exit(STALLED_STATUS)

"""The lease: whether this process may still act for its lanes.

A worker that was stopped and woken (SIGSTOP, a stalled loop, a sleeping host) would start paid
calls before it learns that its partitions are somebody else's. So: a gap between two ticks longer
than half the session timeout ends the process at once, and no call starts without a heartbeat
inside the session timeout.
"""

import os
import threading

from agents.clock import Clock
from agents.log import Log
from schemas.vocabulary import LogEvent

__all__ = ["LEASE_LOST_STATUS", "Lease"]

#: Exit status of a worker that gave itself up; its supervisor starts it again.
LEASE_LOST_STATUS = 75
#: A gap that counts is three seconds at least (a session is six); an idle worker wakes for each.
TICK_S = 0.5


class Lease:
    """Heartbeats heard and ticks counted; `heard` may be called from the consumer's thread."""

    def __init__(self, *, session_timeout_s: float, clock: Clock, log: Log) -> None:
        """Begin without a lease; the first heartbeat gives it."""
        self._timeout = session_timeout_s
        self._clock = clock
        self._log = log
        self._heard_at: float | None = None
        self._ticked_at = clock.monotonic()
        self._lock = threading.Lock()

    def heard(self) -> None:
        """Take note of a heartbeat, or an assignment, that the coordinator accepted."""
        self._heard_at = self._clock.monotonic()

    def holds(self) -> bool:
        """Whether a new paid call may start; ends the process when it was stopped too long."""
        self._check_gap()
        return self.heard_lately

    @property
    def heard_lately(self) -> bool:
        """Whether the coordinator accepted a heartbeat within the session timeout; only looks."""
        heard = self._heard_at
        return heard is not None and self._clock.monotonic() - heard < self._timeout

    async def tick_forever(self) -> None:
        """Tick, and end the process at a gap between two ticks that is too long."""
        while True:
            self._check_gap()
            self._ticked_at = self._clock.monotonic()
            await self._clock.sleep(TICK_S)

    def begin(self) -> None:
        """Start counting gaps from now."""
        self._ticked_at = self._clock.monotonic()

    def _check_gap(self) -> None:
        gap = self._clock.monotonic() - self._ticked_at
        if gap > self._timeout / 2:
            self._log(LogEvent.LEASE_LOST, level="error", stopped_for_ms=int(gap * 1000))
            os._exit(LEASE_LOST_STATUS)

"""Waiting until a run's record is whole."""

import asyncio
from contextlib import suppress

from streams.recording.lag import recorder_lag
from tests.chaos.oracle import Calls, Recorded, read_calls, read_recorded
from tests.chaos.running import RunningStack

__all__ = ["settled"]


async def settled(running: RunningStack) -> tuple[Calls, Recorded]:
    """Wait until the recorder has caught up and nothing changes any more."""
    last: tuple[int, int] = (-1, -1)
    for _ in range(60):
        calls = read_calls(running.stack.simulator_log)
        with suppress(Exception):
            behind = await recorder_lag(running.settings)
            recorded = await asyncio.to_thread(read_recorded, running.settings)
            now = (len(calls.entries), len(recorded.finished))
            if now == last and not behind and not set(calls.attempt_ids) - recorded.all:
                return calls, recorded
            last = now
        await asyncio.sleep(1.5)
    return calls, recorded

"""The jobs of a lane that run or wait for their commit, by what they stand for."""

import asyncio
from collections.abc import Iterator

from agents.executing.ports import NO_TAKER
from streams.lanes.job import Job
from streams.messages.orders import Orders

__all__ = ["InFlight"]


class InFlight:
    """One job for each slot: an intent's key, or a name of its own for what only writes events."""

    def __init__(self) -> None:
        """Begin idle."""
        self._jobs: dict[str, Job] = {}
        self._idle = asyncio.Event()
        self._idle.set()

    def __len__(self) -> int:
        """Count them."""
        return len(self._jobs)

    def __iter__(self) -> Iterator[Job]:
        """Give those of this moment; they may be taken out meanwhile."""
        return iter(list(self._jobs.values()))

    @property
    def oldest_ms(self) -> int | None:
        """When the oldest of their records was written, in milliseconds since 1970."""
        return min((job.incoming.timestamp_ms for job in self), default=None)

    def get(self, slot: str) -> Job | None:
        """Find the job of a slot."""
        return self._jobs.get(slot)

    def add(self, job: Job, slot: str) -> None:
        """Take a job in."""
        job.slot = slot
        self._jobs[slot] = job
        self._idle.clear()

    def remove(self, job: Job) -> None:
        """Take a job out; `look` says afterwards whether it was the last."""
        self._jobs.pop(job.slot, None)

    def look(self) -> None:
        """Wake who waits for idleness, where it has come."""
        if not self._jobs:
            self._idle.set()

    async def until_idle(self) -> None:
        """Wait until there is none."""
        await self._idle.wait()

    def running(self) -> list[Job]:
        """Give those that are executed now."""
        return [job for job in self if job.task is not None and not job.task.done()]

    def call_off(self, orders: Orders) -> None:
        """End those that an operator has called off: what is in flight for them is cancelled.

        One that has not begun finds the order when it begins.
        """
        for job in self.running():
            if job.begun and job.called_off is None and job.task is not None:
                job.called_off = orders.calls_off(job.who.named)
                if job.called_off is not None:
                    job.task.cancel(NO_TAKER)

    def release(self) -> None:
        """Forget all: their records are read again."""
        for job in self:
            self.remove(job)
            job.release()
        self._idle.set()

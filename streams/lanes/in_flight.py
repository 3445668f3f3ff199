"""The jobs of a lane that run or wait for their commit, by what they stand for."""

import asyncio
from collections.abc import Iterator

from streams.lanes.job import Job

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

    def release(self) -> None:
        """Forget all: their records are read again."""
        for job in self:
            self.remove(job)
            job.release()
        self._idle.set()

"""Keeps a worker's tasks: one that ends unasked ends the worker, with a reason."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from agents.log import Log
from schemas.vocabulary import LogEvent

__all__ = ["Supervisor", "WorkerEndedError"]


class WorkerEndedError(Exception):
    """Raised when a worker ends itself; the message says why and what to do."""


class Supervisor:
    """Holds a worker's tasks, and whether, and why, the worker is to stop. Stopping is final."""

    def __init__(self, *, log: Log) -> None:
        """Begin with nothing running."""
        self._log = log
        self._tasks: set[asyncio.Task[Any]] = set()
        self._stopping = asyncio.Event()
        self.failure: BaseException | None = None

    @property
    def stopping(self) -> bool:
        """Whether a stop was asked for, by whoever it was."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Ask for a clean stop."""
        self._stopping.set()

    async def until_stopped(self) -> None:
        """Wait until a stop is asked for."""
        await self._stopping.wait()

    def end(self, why: str) -> None:
        """Stop with a failure: one sentence that says why and what to do."""
        self.fail(WorkerEndedError(why))

    def fail(self, error: BaseException) -> None:
        """Stop with a failure; the first one is the one that is told."""
        if self.failure is None:
            self.failure = error
            self._log(LogEvent.WORKER_STALLED, level="error", why=str(error) or repr(error))
        self.stop()

    def keep(self, name: str, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a task that must run as long as the worker does; if it ends, the worker ends."""
        self._start(name, coroutine, for_ever=True)

    def once(self, name: str, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a task that ends by itself; only an error of it ends the worker."""
        self._start(name, coroutine, for_ever=False)

    def cancel(self) -> None:
        """End all tasks; what they say then is not heard any more."""
        self._stopping.set()
        for task in self._tasks:
            task.cancel()

    def _start(self, name: str, coroutine: Coroutine[Any, Any, None], *, for_ever: bool) -> None:
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(self._heard_forever if for_ever else self._heard_once)

    def _heard_forever(self, task: asyncio.Task[Any]) -> None:
        if not self.stopping:
            self._ended(task, self._error_of(task))

    def _heard_once(self, task: asyncio.Task[Any]) -> None:
        error = self._error_of(task)
        if error is not None and not self.stopping:
            self._ended(task, error)

    @staticmethod
    def _error_of(task: asyncio.Task[Any]) -> BaseException | None:
        return None if task.cancelled() else task.exception()

    def _ended(self, task: asyncio.Task[Any], error: BaseException | None) -> None:
        cause = f" ({type(error).__name__})" if error else ""
        self.end(
            f"{task.get_name()} ended unexpectedly{cause}: a defect; start the worker again, "
            "nothing is lost"
        )

"""Running a job: the executor, permission to call, and every way in which that ends."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from agents.clock import uuid7
from agents.executing.ports import LaneLostError
from agents.task import Outcome, Task
from schemas.events import KeptCall
from schemas.vocabulary import LogEvent
from streams.lanes.job import Job, LaneParts
from streams.lanes.starts import Starts
from streams.lanes.verdicts import Verdicts, internal
from streams.messages.traces import with_trace

__all__ = ["JobRunner"]


class JobRunner:
    """Executes the jobs of one lane."""

    def __init__(
        self,
        parts: LaneParts,
        *,
        starts: Starts,
        verdicts: Verdicts,
        may_call: Callable[[], Awaitable[None]],
        decided: Callable[[Job], None],
    ) -> None:
        """Keep `may_call`, which waits for permission or raises LaneLostError."""
        self._starts = starts
        self._parts = parts
        self._verdicts = verdicts
        self.may_call = may_call
        self._decided = decided

    async def run(self, job: Job) -> None:
        """Execute a job to its outcome; every way out ends it.

        A suspect runs when no other does: its neighbours are not counted for what it does.
        """
        if not job.is_suspect:
            await self._run(job)
            return
        async with self._parts.suspects:
            try:
                await self.may_call()  # its start counts, so not while a rebalance is on
            except LaneLostError:
                return
            await self._run(job)

    async def _run(self, job: Job) -> None:
        who, parts = job.who, self._parts
        intent = who.intent
        if intent is None:
            message = "an intent that cannot be read is not run"
            raise AssertionError(message)
        job.execution_id = uuid7(parts.clock.now_ms(), parts.dice)
        task = Task(
            intent=intent,
            intent_id=who.intent_id,
            execution_id=job.execution_id,
            source=who.source,
            headers=with_trace(job.incoming.headers, who.traceparent),
            replay_count=who.replay_count,
            deferral=who.deferral,
            orphans=max(0, job.start - 1),
            kept=tuple(job.kept.values()),
            batch=job.batch,
            why_called_off=job.why_called_off,
        )
        job.begun = True
        parts.events.on_begun(job)
        if parts.events.orders.cancels:
            job.called_off = parts.events.orders.calls_off(who.named)
        outcome: Outcome | None = None
        # On its way together with the first attempt's record; awaited before the call itself.
        counted = asyncio.get_running_loop().create_task(self._starts.count(job))
        try:
            outcome = await parts.executor.execute(task, _Permit(self, job, counted))
            self._verdicts.decide(job, outcome)
        except LaneLostError:
            return
        except Exception as error:  # noqa: BLE001 - a defect of ours must not lose the intent
            parts.log(
                LogEvent.INTERNAL_ERROR,
                level="error",
                intent_id=who.intent_id,
                error=type(error).__name__,
                where=_where(error),
            )
            try:
                self._verdicts.decide(job, internal(type(error).__name__, outcome))
            except Exception as again:  # noqa: BLE001 - then only a restart can help it
                parts.events.on_broken(
                    f"intent {who.intent_id} cannot be ended ({type(again).__name__} at "
                    f"{_where(again)}): a defect; start the worker again, nothing is lost"
                )
                return
        parts.fail_points.reach("after_call")
        self._decided(job)

    async def keep(self, job: Job, call: KeptCall) -> None:
        """Put on record what a provider keeps for a job; raises LaneLostError."""
        await self._starts.keep(job, call)

    def let_go(self, job: Job, attempt_id: str) -> None:
        """Put on record that a call has ended."""
        self._starts.let_go(job, attempt_id)


@dataclass(frozen=True, slots=True)
class _Permit:
    """What lets a job of a lane call: the lane open, the lease held, the start counted."""

    runner: JobRunner
    job: Job
    counted: asyncio.Task[None]

    async def wait(self) -> None:
        """Wait until a new paid call may start; raises LaneLostError."""
        await self.runner.may_call()

    async def confirm(self) -> None:
        """Ask once more, at the last moment before a call; raises LaneLostError."""
        await self.counted
        await self.runner.may_call()

    async def keep(self, call: KeptCall) -> None:
        """Put on record what a provider keeps for it; raises LaneLostError."""
        await self.counted  # the record that says less must not come after it
        await self.runner.keep(self.job, call)

    def let_go(self, attempt_id: str) -> None:
        """Put on record that such a call has ended."""
        self.runner.let_go(self.job, attempt_id)


def _where(error: BaseException) -> str:
    """Name the innermost place of a traceback, without its message (it may hold content)."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "unknown"
    return f"{trace.tb_frame.f_code.co_filename.rsplit('/', 2)[-1]}:{trace.tb_lineno}"

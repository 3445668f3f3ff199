"""The committer of a lane: finished jobs in, one transaction after the other out.

No wait when idle; while one transaction commits, the next batch gathers. After an indefinite error
the producer is started anew with the same id, and the ledger's tail says what was committed, and
what another worker has decided where the lane was its for a while: answers stay in memory, no call
is repeated.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from typing import assert_never

from aiokafka.errors import KafkaError

from schemas.versions import NewerRecordError
from schemas.vocabulary import LogEvent, WorkflowStatus
from streams.kafka.faults import FaultKind, kind_of, why_never
from streams.kafka.patience import pause_s
from streams.lanes.broker import LaneProducer
from streams.lanes.job import Job, LaneParts
from streams.lanes.ledger import Ledger
from streams.lanes.packing import all_written

__all__ = ["Committer"]

#: One step of a transaction may take this long; well below the transaction timeout.
STEP_LIMIT_S = 20
#: One transaction holds at most this many outcomes and bytes.
BATCH_OUTCOMES = 200
BATCH_BYTES = 8 * 1024 * 1024


class Committer:
    """Owns the transactional producer of one lane."""

    def __init__(
        self,
        lane: int,
        parts: LaneParts,
        ledger: Ledger,
        *,
        on_committed: Callable[[Job], None],
        on_fenced: Callable[[], None],
        on_refused: Callable[[Job], bool],
        on_read_on: Callable[[Sequence[Job]], Collection[Job]],
    ) -> None:
        """Commit nothing yet; `open` fences the earlier owner.

        `on_refused` shrinks what a job writes after the broker refused it; False: it cannot.
        `on_read_on` hears that the ledger was read on, and what is still to be written, in order;
        gives those of it that others have decided.
        """
        self._on_read_on = on_read_on
        self._on_refused = on_refused
        self._failures = 0
        self._lane = lane
        self._parts = parts
        self._ledger = ledger
        self._on_committed = on_committed
        self._on_fenced = on_fenced
        self._producer: LaneProducer | None = None
        self._ready: list[Job] = []
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    async def open(self) -> int:
        """Start the producer, then read the ledger; gives the entries read; raises KafkaError."""
        broker = self._parts.broker
        await self._stop_producer()  # one of an opening that failed
        # In this order: once our producer has started no other can write, so the end stays the end.
        self._producer = await broker.open_producer(self._lane)
        ends = await broker.mark_ends(self._lane, self._producer)
        return await broker.read_ledger(self._lane, self._ledger, ends)

    def start(self) -> None:
        """Commit from now on, in a task of its own."""
        self._task = asyncio.get_running_loop().create_task(self._commit_forever())
        self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Note that the task has ended unasked: paid answers must not wait here for ever."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._parts.events.on_broken(
                f"the committer of lane {self._lane} ended unexpectedly ({type(error).__name__}): "
                "a defect; start the worker again, nothing is lost"
            )

    def submit(self, job: Job) -> None:
        """Take a job whose outcome is known; it is committed with the next batch."""
        if self._closed:
            self._journal_unused([job])
            return
        self._ready.append(job)
        self._wake.set()

    def abandon(self) -> None:
        """Commit nothing more; paid answers that were waiting go on record as unused."""
        self._closed = True
        self._journal_unused(self._ready)
        self._ready.clear()

    async def close(self) -> None:
        """Abandon, and end task and producer."""
        self.abandon()
        if self._task is not None:
            self._task.cancel()
        await self._stop_producer()

    async def _commit_forever(self) -> None:
        while not self._closed:
            await self._wake.wait()
            self._wake.clear()
            while self._ready and not self._closed:
                await self._commit(self._take_batch())

    def _take_batch(self) -> list[Job]:
        """Take what has finished, bounded in number and bytes; at least one."""
        size, count = 0, 0
        for job in self._ready[:BATCH_OUTCOMES]:
            size += job.size
            if count and size > BATCH_BYTES:
                break
            count += 1
        batch, self._ready = self._ready[:count], self._ready[count:]
        return batch

    async def _commit(self, batch: list[Job]) -> None:
        """Write a batch in one transaction, however often it takes."""
        try:
            while batch and not self._closed:
                try:
                    await self._transact(batch)
                except Exception as error:  # noqa: BLE001 - no error may end the committer in silence
                    batch = await self._after(batch, error)
                    continue
                self._failures = 0
                self._committed(batch)
                return
        except asyncio.CancelledError:
            self._journal_unused(batch)  # given up in the middle: what was paid stays on record
            raise
        self._journal_unused(batch)

    async def _after(self, batch: list[Job], error: Exception) -> list[Job]:
        """Do what an error asks for; gives what is still to be written."""
        kind = kind_of(error)
        match kind:
            case FaultKind.FENCED:
                # Another worker has the lane: drop it, never re-initialise.
                self._parts.log(LogEvent.LANE_FENCED, level="warning", lane=self._lane)
                self._journal_unused(batch)
                self.abandon()
                self._on_fenced()
                return []
            case FaultKind.RIGHT | FaultKind.NEWER:
                self._broken(why_never(error))
                return batch
            case FaultKind.RECORD | FaultKind.INDEFINITE:
                batch = await self._reopen(batch, error)
                shrinks = kind is FaultKind.RECORD and not self._closed
                return self._smaller(batch, error) if shrinks else batch
            case _:
                assert_never(kind)

    def _smaller(self, batch: list[Job], error: Exception) -> list[Job]:
        """Close in on the one job that the broker refuses, and shrink what it writes."""
        if len(batch) > 1:
            half = len(batch) // 2
            self._ready[:0] = batch[half:]
            self._wake.set()
            return batch[:half]
        if batch and not self._on_refused(batch[0]):
            self._broken(f"not even a minimal dead letter can be written ({error})")
        return batch

    def _broken(self, why: str) -> None:
        """End the worker: this does not pass by itself, and nothing behind it could go on."""
        self.abandon()
        self._parts.events.on_broken(f"lane {self._lane} cannot write its outcomes: {why}")

    async def _transact(self, batch: list[Job]) -> None:
        client, reach = self._producer, self._parts.fail_points.reach
        if client is None:
            message = "an open lane has a producer"
            raise AssertionError(message)
        async with asyncio.timeout(STEP_LIMIT_S):
            await client.begin_transaction()
        reach("after_begin")
        for job in batch:
            job.extra_sent = len(job.extra)
        async with asyncio.timeout(STEP_LIMIT_S):
            sent = await client.write([record for job in batch for record in job.records])
            reach("after_send")
            await all_written(sent)
        reach("before_commit")
        async with asyncio.timeout(STEP_LIMIT_S):
            await client.commit_transaction()
        reach("after_commit")

    def _committed(self, batch: list[Job]) -> None:
        for job in batch:
            if job.decided is not None:
                self._ledger.put(job.who.key, job.decided.ledger)
                self._ledger.forget_starts(job.who.key)
                if job.decided.ledger.status is not WorkflowStatus.DEFERRED:
                    self._ledger.replays.note(job.who, job.decided.ledger.decided_at_ms)
            self._on_committed(job)

    async def _reopen(self, batch: list[Job], error: Exception) -> list[Job]:
        """Start the producer anew under the same id; gives what is still to be written."""
        parts = self._parts
        while not self._closed:
            self._failures += 1
            parts.log(
                LogEvent.LANE_REOPENED, level="warning", lane=self._lane, error=type(error).__name__
            )
            await self._stop_producer()
            await parts.clock.sleep(pause_s(self._failures))
            # Without a lease the lane may be somebody else's: do not fence them.
            if not self._closed and parts.lease_holds():
                try:
                    await self.open()
                    break
                except (KafkaError, TimeoutError, OSError, NewerRecordError) as again:
                    error = again
                    if kind_of(again) in {FaultKind.FENCED, FaultKind.RIGHT, FaultKind.NEWER}:
                        return await self._after(batch, again)
        done = [job for job in batch if self._is_committed(job)]
        self._committed(done)
        # The lane may have been another worker's before it came back to us.
        left = [job for job in (*batch, *self._ready) if job not in done]
        overtaken = self._on_read_on(left)
        self._journal_unused(overtaken)
        self._ready = [job for job in self._ready if job not in overtaken]
        return [job for job in batch if job not in done and job not in overtaken]

    def _is_committed(self, job: Job) -> bool:
        return job.decided is not None and self._ledger.holds(job.who.key, job.decided.outcome_id)

    def _journal_unused(self, jobs: Iterable[Job]) -> None:
        """Put paid answers that cannot be used on record as what they are."""
        for job in jobs:
            attempt = job.outcome.last_attempt if job.outcome else None
            if attempt is not None:
                unused = attempt.model_copy(update={"used_result": False})
                self._parts.journal.post(unused, job.who.traceparent)

    async def _stop_producer(self) -> None:
        client, self._producer = self._producer, None
        if client is not None:
            with suppress(Exception):  # it is thrown away, failed or not
                await asyncio.wait_for(client.stop(), 3)

"""The lane: one partition number across all source topics, and the promise of one outcome.

It owns a committer with a transactional producer (starting it fences any earlier owner), the
ledger of its partition and the jobs in flight. A delivery becomes a job, joins one, or is found
decided; a job ends in one transaction that writes its outcome and its ledger entry; only then is
the delivery done.

    offer ─► ledger? in flight? ─► job ─► executor ─► committer ─► one transaction ─► done
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import Enum
from typing import Any, assert_never

from agents.executing.ports import NO_TAKER, LaneLostError
from schemas.vocabulary import LogEvent
from streams.lanes.admission import Admission, admit, batch_answer
from streams.lanes.committer import Committer
from streams.lanes.in_flight import InFlight
from streams.lanes.job import Delivery, Job, LaneParts
from streams.lanes.ledger import Ledger
from streams.lanes.opening import Opening
from streams.lanes.runner import JobRunner
from streams.lanes.starts import Starts
from streams.lanes.verdicts import Verdicts, kills_workers
from streams.messages.identity import Identified, identify
from streams.messages.records import Incoming

__all__ = ["Lane", "LaneState"]

#: An intent that was started this often without an end has killed its workers: no call more.
MAX_STARTS = 4


class LaneState(Enum):
    """OPENING → OPEN ⇄ SUSPENDED; any state may become CLOSED, which is final."""

    OPENING = "opening"  # producer and ledger are not ready
    OPEN = "open"  # runs intents
    SUSPENDED = "suspended"  # a rebalance is on: what runs goes on, no new paid call starts
    CLOSED = "closed"  # another worker's


class Lane:
    """One lane of one worker; all methods run on the worker's loop."""

    def __init__(self, number: int, parts: LaneParts) -> None:
        """Create it closed to work; `open` makes it ready."""
        self.number = number
        self.state = LaneState.OPENING
        self._parts = parts
        settings = parts.settings
        self.ledger = Ledger(
            sources=settings.topics.sources,
            window_ms=settings.hybrid_deduplication_window * 1000,
        )
        self._verdicts = Verdicts(number, parts)
        self._committer = Committer(
            number,
            parts,
            self.ledger,
            on_committed=self._committed,
            on_fenced=self._fenced,
            on_refused=self._verdicts.shrink,
            on_read_on=self._read_on,
        )
        self._starts = Starts(
            number,
            parts,
            is_ours=lambda: self.state is not LaneState.CLOSED,
            counts=lambda: self.state is LaneState.OPEN,
        )
        self._runner = JobRunner(
            parts,
            starts=self._starts,
            verdicts=self._verdicts,
            may_call=self._may_call,
            decided=self._committer.submit,
        )
        self._opening: asyncio.Task[Any] | None = None
        self.jobs = InFlight()
        self._may_run = asyncio.Event()

    # ── life ────────────────────────────────────────────────────────────────────────────────

    async def open(self) -> None:
        """Fence the earlier owner, then read the ledger; tries again until closed."""
        self._opening = asyncio.current_task()
        with suppress(asyncio.CancelledError):  # `close` came first
            await self._open()
        if self.state is LaneState.CLOSED:
            await self._committer.close()  # a producer that started late goes too

    async def _open(self) -> None:
        parts = self._parts
        parts.spending.forget(self.number)  # what an earlier owner of this lane committed counts
        opening = Opening(
            self.number,
            parts,
            self._committer,
            wanted=lambda: self.state is LaneState.OPENING,
            on_fenced=self._fenced,
        )
        count = await opening.run()
        if count is not None and self.state is LaneState.OPENING:
            self.state = LaneState.OPEN
            self._may_run.set()
            self._committer.start()
            parts.log(LogEvent.LANE_OPENED, lane=self.number, ledger_entries=count)

    def suspend(self) -> None:
        """Let nothing new start; what is in flight goes on.

        Its starts are taken back at once: who has the lane next may read its ledger before we
        hear that we have lost it.
        """
        if self.state is LaneState.OPEN:
            self.state = LaneState.SUSPENDED
            self._may_run.clear()
            self._starts.note(self.jobs.running(), given_up=True)

    def resume(self) -> None:
        """Go on after a rebalance that left the lane here."""
        if self.state is LaneState.SUSPENDED:
            self.state = LaneState.OPEN
            self._may_run.set()
            self._starts.note(self.jobs.running(), given_up=False)

    async def close(self) -> None:
        """Give the lane up: stop its jobs, keep what they cost on record, end the producer."""
        was_open = self.state is LaneState.OPEN
        self._abandon()
        if self._opening is not None and self._opening is not asyncio.current_task():
            self._opening.cancel()  # a closed lane fences nobody
        if was_open:  # where it was suspended they are taken back already
            self._starts.note(self.jobs.running(), given_up=True)
        tasks = [job.task for job in self.jobs if job.task]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=2)
        self.jobs.release()
        await self._committer.close()
        self._parts.log(LogEvent.LANE_CLOSED, lane=self.number)

    async def drained(self) -> None:
        """Wait until no job is in flight or waiting for its commit."""
        await self.jobs.until_idle()

    @property
    def in_flight(self) -> int:
        """Jobs that run or wait for their commit."""
        return len(self.jobs)

    def _abandon(self) -> None:
        self.state = LaneState.CLOSED
        # Those who wait for permission learn that none will come.
        self._may_run.set()
        self._committer.abandon()
        self._parts.spending.forget(self.number)

    # ── intake ──────────────────────────────────────────────────────────────────────────────

    def offer(self, delivery: Delivery, finished: Callable[[], None]) -> None:
        """Take a delivery; `finished` is called once when its slot is free again."""

        def take(incoming: Incoming, *, late: bool) -> None:
            if late and self.state is not LaneState.OPEN:
                finished()  # it is read again
            else:
                self._take(incoming, delivery, finished)

        self._parts.events.contents.give(delivery.incoming, take)

    def _take(self, incoming: Incoming, delivery: Delivery, finished: Callable[[], None]) -> None:
        settings = self._parts.settings
        found = identify(
            incoming,
            max_bytes=settings.hybrid_max_intent_bytes,
            refuse_unknown=settings.hybrid_unknown_fields == "refuse",
        )
        who = found.who
        running = self.jobs.get(who.key)
        if running is not None and running.is_followed_by(who):
            running.next_hops.append((delivery, finished))
            return
        if running is not None:
            if running.join(delivery):
                self._verdicts.note_duplicate(running, delivery, who)
            finished()
            return
        job = Job(who, incoming, [delivery], finished)
        match self._admission(job):
            case Admission.RUN:
                self._start(job, found)
            case Admission.DONE:
                delivery.done()
                finished()
            case Admission.DUPLICATE:
                self._verdicts.note_duplicate(job, delivery, who)
                self.jobs.add(job, f"duplicate/{incoming.topic}/{incoming.offset}")
                self._committer.submit(job)
            case other:
                assert_never(other)

    def _admission(self, job: Job) -> Admission:
        topics, now_ms = self._parts.settings.topics, self._parts.clock.now_ms()
        return admit(self.ledger, job.who, job.incoming, topics, now_ms=now_ms)

    def _start(self, job: Job, found: Identified) -> None:
        self.jobs.add(job, job.who.key)
        starts = self.ledger.starts(job.who.key)
        failed = found.failed or (kills_workers(starts) if starts >= MAX_STARTS else None)
        if failed is not None:
            self._verdicts.decide(job, failed)
            self._committer.submit(job)
            return
        job.start = starts + 1
        self._starts.take_over(job, self.ledger.kept(job.who.key))
        job.batch = batch_answer(job.incoming, job.who, self.ledger, self._parts.settings.topics)
        job.task = asyncio.get_running_loop().create_task(self._runner.run(job))

    async def _may_call(self) -> None:
        """Wait until a paid call may start; raises LaneLostError when the lane is gone."""
        while True:
            if self.state is LaneState.CLOSED:
                raise LaneLostError
            if self.state is LaneState.OPEN and self._parts.lease_holds():
                return
            if self.state is LaneState.OPEN:
                await self._parts.clock.sleep(0.05)
            else:
                await self._may_run.wait()

    # ── what the committer tells ────────────────────────────────────────────────────────────

    def _committed(self, job: Job) -> None:
        self._let_go(job)
        if job.outcome is not None:
            self._parts.events.on_outcome(job.outcome)
            self._parts.events.on_committed(job)

    def _read_on(self, decided: Sequence[Job]) -> list[Job]:
        """End what another owner has decided while our producer could not be started; gives it.

        A worker that was out of its group may get back a lane that others had meanwhile. What they
        spent counts, and what is not written yet is added to it, in the order of writing.
        """
        overtaken = self._overtaken()
        self._parts.spending.forget(self.number)
        for job in (*overtaken, *(job for job in decided if job not in overtaken)):
            self._verdicts.book_again(job)
        for job in overtaken:
            self._let_go(job)
        return overtaken

    def _overtaken(self) -> list[Job]:
        overtaken = []
        for job in self.jobs:
            if job.is_note or (admission := self._admission(job)) is Admission.RUN:
                continue
            if job.task is not None:
                job.task.cancel(NO_TAKER)  # what it costs goes on record as cancelled
            if admission is Admission.DUPLICATE:
                self._verdicts.note_duplicate(job, job.deliveries[0], job.who)
            job.extra_sent = 0  # they were in the transaction that was not committed
            overtaken.append(job)
        return overtaken

    def _let_go(self, job: Job) -> None:
        """Let the offsets of a decided job go."""
        self.jobs.remove(job)
        late = job.extra[job.extra_sent :]
        if late:  # a repeat that came while its transaction was on its way: an event of its own
            follow_up = Job(job.who, job.incoming, [], lambda: None, extra=late)
            self.jobs.add(follow_up, f"late/{job.slot}")
            self._committer.submit(follow_up)
        for delivery in job.deliveries:
            delivery.done()
        job.finished()
        for delivery, free in job.next_hops:
            self.offer(delivery, free) if self.state is LaneState.OPEN else free()
        self.jobs.look()

    def _fenced(self) -> None:
        self._abandon()
        for job in self.jobs.running():
            if job.task is not None:
                job.task.cancel()  # what it costs goes on record as cancelled
        self.jobs.release()
        self._parts.events.on_fenced(self.number)

"""The lane: one partition number across all source topics, and the promise of one outcome.

It owns a committer with a transactional producer (starting it fences any earlier owner), the
ledger of its partition and the jobs in flight. A delivery becomes a job, joins one, or is found
decided; a job ends in one transaction that writes its outcome and its ledger entry; only then is
the delivery done.

    offer ─► ledger? in flight? ─► job ─► executor ─► committer ─► one transaction ─► done
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from enum import Enum

from aiokafka.errors import KafkaError

from agents.clock import uuid7
from agents.executing.ports import LaneLostError
from agents.task import Completed, Failed, Outcome, Task
from schemas.vocabulary import DeadLetterReason, ErrorClass, LogEvent, WorkflowStatus
from streams.lanes.committer import Committer
from streams.lanes.job import Delivery, Job, LaneParts
from streams.lanes.ledger import Entry, Ledger
from streams.lanes.outcome_records import outcome_records
from streams.messages.identity import Identified, identify
from streams.messages.records import (
    Decided,
    Identity,
    Incoming,
    duplicate_records,
    spend_record,
    start_record,
)

__all__ = ["Lane", "LaneState"]

#: Room that a record's framing takes beside key, value and headers.
FRAMING_BYTES = 1024
#: An intent that was started this often without an end has killed its workers: no call more.
MAX_STARTS = 4


class LaneState(Enum):
    """Where a lane stands; it goes down this list only, save SUSPENDED ⇄ OPEN."""

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
        self._committer = Committer(
            number, parts, self.ledger, on_committed=self._committed, on_fenced=self._fenced
        )
        self._jobs: dict[str, Job] = {}
        self._may_run = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    # ── life ────────────────────────────────────────────────────────────────────────────────

    async def open(self) -> None:
        """Fence the earlier owner, then read the ledger; tries again until closed."""
        parts, delay = self._parts, 0.2
        while self.state is LaneState.OPENING:
            try:
                count = await self._committer.open()
            except (KafkaError, TimeoutError, OSError) as error:
                parts.log(
                    LogEvent.LANE_REOPENED,
                    level="warning",
                    lane=self.number,
                    error=type(error).__name__,
                )
                await parts.clock.sleep(delay)
                delay = min(delay * 2, 5)
                continue
            if self.state is LaneState.OPENING:
                self.state = LaneState.OPEN
                self._may_run.set()
                self._committer.start()
                parts.log(LogEvent.LANE_OPENED, lane=self.number, ledger_entries=count)

    def suspend(self) -> None:
        """Let nothing new start; what is in flight goes on."""
        if self.state is LaneState.OPEN:
            self.state = LaneState.SUSPENDED
            self._may_run.clear()

    def resume(self) -> None:
        """Go on after a rebalance that left the lane here."""
        if self.state is LaneState.SUSPENDED:
            self.state = LaneState.OPEN
            self._may_run.set()

    async def close(self) -> None:
        """Give the lane up: stop its jobs, keep what they cost on record, end the producer."""
        self._abandon()
        tasks = [job.task for job in self._jobs.values() if job.task]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=2)
        self._release_all()
        await self._committer.close()
        self._parts.log(LogEvent.LANE_CLOSED, lane=self.number)

    async def drained(self) -> None:
        """Wait until no job is in flight or waiting for its commit."""
        await self._idle.wait()

    @property
    def in_flight(self) -> int:
        """Jobs that run or wait for their commit."""
        return len(self._jobs)

    def _abandon(self) -> None:
        self.state = LaneState.CLOSED
        # Those who wait for permission learn that none will come.
        self._may_run.set()
        self._committer.abandon()
        self._parts.spending.forget(self.number)

    def _release_all(self) -> None:
        jobs, self._jobs = list(self._jobs.values()), {}
        for job in jobs:
            job.finished()
        self._idle.set()

    # ── intake ──────────────────────────────────────────────────────────────────────────────

    def offer(self, delivery: Delivery, finished: Callable[[], None]) -> None:
        """Take a delivery; `finished` is called once when its slot is free again."""
        incoming = delivery.incoming
        found = identify(incoming, max_bytes=self._parts.settings.hybrid_max_intent_bytes)
        who = found.who
        running = self._jobs.get(who.key)
        if running is not None:
            self._join(running, delivery, who)
            finished()
            return
        entry = self._decision_about(who, incoming)
        job = Job(who, incoming, [delivery], finished)
        if entry is None or self._must_run(entry, who):
            self._start(job, found)
        elif self._is_same_record(entry, incoming):
            delivery.done()
            finished()
        else:
            self._note_duplicate(job, delivery, who)
            self._register(job, f"duplicate/{incoming.topic}/{incoming.offset}")
            self._committer.submit(job)

    def _decision_about(self, who: Identity, incoming: Incoming) -> Entry | None:
        """Find what the ledger says, also where it was written before tenants were told apart.

        An entry under the plain id may be another tenant's: it counts for its own record only.
        """
        now_ms = self._parts.clock.now_ms()
        entry = self.ledger.get(who.key, now_ms=now_ms)
        if entry is not None or who.key == who.stated_key or who.intent is None:
            return entry
        earlier = self.ledger.get(who.stated_key, now_ms=now_ms)
        if earlier is None or not self._is_same_record(earlier, incoming):
            return None
        return earlier

    def _join(self, job: Job, delivery: Delivery, who: Identity) -> None:
        """Wait with a job that is already in flight instead of calling again."""
        first, again = job.incoming, delivery.incoming
        job.deliveries.append(delivery)
        if (first.topic, first.offset) != (again.topic, again.offset):
            self._note_duplicate(job, delivery, who)

    def _note_duplicate(self, job: Job, delivery: Delivery, who: Identity) -> None:
        parts = self._parts
        job.extra.append(
            duplicate_records(
                parts.settings.topics,
                delivery.incoming,
                who,
                event_id=uuid7(parts.clock.now_ms(), parts.dice),
                worker=parts.worker,
                now=parts.clock.now(),
            )
        )
        parts.log(LogEvent.DUPLICATE_IGNORED, intent_id=who.intent_id, lane=self.number)

    @staticmethod
    def _must_run(entry: Entry, who: Identity) -> bool:
        """Whether a decided intent has to run again: its deferral is due, or it is replayed."""
        if who.replay_count > entry.replay_count:
            return entry.status is WorkflowStatus.FAILED
        return (
            entry.status is WorkflowStatus.DEFERRED
            and who.deferral is not None
            and who.deferral.hop == entry.deferrals
        )

    def _is_same_record(self, entry: Entry, incoming: Incoming) -> bool:
        sources = self._parts.settings.topics.sources
        if incoming.topic in self._parts.settings.topics.deferred:
            return True  # an older hop of the same intent, read again
        return (
            entry.offset == incoming.offset
            and entry.topic_index < len(sources)
            and sources[entry.topic_index] == incoming.topic
        )

    def _start(self, job: Job, found: Identified) -> None:
        self._register(job, job.who.key)
        if found.failed is not None:
            self._decide(job, found.failed)
            self._committer.submit(job)
            return
        starts = self.ledger.starts(job.who.key)
        if starts >= MAX_STARTS:
            self._decide(job, _kills_workers_failure(starts))
            self._committer.submit(job)
            return
        job.task = asyncio.get_running_loop().create_task(self._run(job, starts + 1))

    def _register(self, job: Job, slot: str) -> None:
        job.slot = slot
        self._jobs[slot] = job
        self._idle.clear()

    async def _run(self, job: Job, start: int) -> None:
        """Execute a job, for the `start`-th time, to its outcome; every way out ends it."""
        who, parts = job.who, self._parts
        intent = who.intent
        if intent is None:
            message = "an intent that cannot be read is not run"
            raise AssertionError(message)
        task = Task(
            intent=intent,
            intent_id=who.intent_id,
            execution_id=uuid7(parts.clock.now_ms(), parts.dice),
            source=who.source,
            headers=job.incoming.headers,
            replay_count=who.replay_count,
            deferral=who.deferral,
        )
        # On its way together with the first attempt's record; awaited before the call itself.
        counted = asyncio.get_running_loop().create_task(self._count_start(who.key, start))
        try:
            outcome = await parts.executor.execute(task, _Permit(self._may_call, counted))
            self._decide(job, outcome)
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
            self._decide(job, _internal_failure(type(error).__name__))
        parts.fail_points.reach("after_call")
        self._committer.submit(job)

    async def _count_start(self, key: str, start: int) -> None:
        record = start_record(self._parts.settings.topics, key, start, lane=self.number)
        await self._parts.journal.write_record(record)

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

    def _decide(self, job: Job, outcome: Outcome) -> None:
        parts = self._parts
        outcome_id = uuid7(parts.clock.now_ms(), parts.dice)
        if isinstance(outcome, Completed):
            outcome_id = outcome.result.result_id
        decided = self._records(job, outcome, outcome_id)
        limit = parts.settings.max_record_bytes - FRAMING_BYTES
        if any(record.size > limit for record in decided.records):
            outcome = _too_large_failure(outcome)
            decided = self._records(job, outcome, outcome_id)
        job.outcome, job.decided = outcome, self._booked(job, outcome, decided)

    def _booked(self, job: Job, outcome: Outcome, decided: Decided) -> Decided:
        """Add what the tenant has spent, where somebody watches over it."""
        parts, intent = self._parts, job.who.intent
        if intent is None:
            return decided
        booked = parts.spending.add(self.number, intent.tenant, outcome.paid_usd, parts.clock.now())
        if booked is None:
            return decided
        record, crossings = booked
        for crossing in crossings:
            parts.on_crossing(crossing)
        spent = spend_record(parts.settings.topics, record)
        return replace(decided, records=(*decided.records, spent))

    def _records(self, job: Job, outcome: Outcome, outcome_id: str) -> Decided:
        parts = self._parts
        return outcome_records(
            parts.settings.topics,
            job.incoming,
            job.who,
            outcome,
            lane=self.number,
            outcome_id=outcome_id,
            worker=parts.worker,
            group=parts.group,
            now=parts.clock.now(),
        )

    # ── what the committer tells ────────────────────────────────────────────────────────────

    def _committed(self, job: Job) -> None:
        """Let the offsets of a decided job go."""
        self._jobs.pop(job.slot, None)
        late = job.extra[job.extra_sent :]
        if late:  # a repeat that came while its transaction was on its way: an event of its own
            follow_up = Job(job.who, job.incoming, [], lambda: None, extra=late)
            self._register(follow_up, f"late/{job.slot}")
            self._committer.submit(follow_up)
        for delivery in job.deliveries:
            delivery.done()
        job.finished()
        if job.outcome is not None:
            self._parts.on_outcome(job.outcome)
        if not self._jobs:
            self._idle.set()

    def _fenced(self) -> None:
        self._abandon()
        self._release_all()
        self._parts.on_fenced(self.number)


@dataclass(frozen=True, slots=True)
class _Permit:
    """What lets a job of a lane call: the lane open, the lease held, the start counted."""

    may_call: Callable[[], Awaitable[None]]
    counted: asyncio.Task[None]

    async def wait(self) -> None:
        """Wait until a new paid call may start; raises LaneLostError."""
        await self.may_call()

    async def confirm(self) -> None:
        """Ask once more, at the last moment before a call; raises LaneLostError."""
        await self.counted
        await self.may_call()


def _internal_failure(code: str) -> Failed:
    return Failed(
        reason=DeadLetterReason.INTERNAL,
        error_class=ErrorClass.UNKNOWN,
        code=code,
        message="the orchestrator failed on this intent; its log names the place",
        retriable=True,
        suggested_action="report the defect with the log line, then replay",
    )


def _kills_workers_failure(starts: int) -> Failed:
    return Failed(
        reason=DeadLetterReason.POISON,
        error_class=ErrorClass.UNKNOWN,
        code="kills_workers",
        message=f"{starts} workers ended while they worked on this intent",
        retriable=True,
        suggested_action="find out why workers ended (memory, a defect), then replay",
        spent_usd=None,
    )


def _too_large_failure(outcome: Outcome) -> Failed:
    spent = outcome.result.total_cost_usd if isinstance(outcome, Completed) else None
    return Failed(
        reason=DeadLetterReason.INTERNAL,
        error_class=ErrorClass.VALIDATION,
        code="outcome_too_large",
        message="the outcome is larger than a record may be",
        retriable=False,
        suggested_action="lower max_output_tokens, or raise HYBRID_MAX_INTENT_BYTES, then replay",
        last_attempt=outcome.last_attempt,
        spent_usd=spent,
    )


def _where(error: BaseException) -> str:
    """Name the innermost place of a traceback, without its message (it may hold content)."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "unknown"
    return f"{trace.tb_frame.f_code.co_filename.rsplit('/', 2)[-1]}:{trace.tb_lineno}"

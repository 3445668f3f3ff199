"""The lane: one partition number across all source topics, and the promise of one outcome.

It owns a transactional producer (starting it fences any earlier owner), the ledger of its
partition, the jobs in flight and the committer. A delivery becomes a job, joins one, or is found
decided; a job ends in one transaction that writes its outcome and its ledger entry; only then is
the delivery done.

    offer ─► ledger? in flight? ─► job ─► executor ─► committer ─► one transaction ─► done
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, ProducerFenced

from agents.clock import Clock, Dice, uuid7
from agents.errors import LaneLostError
from agents.executor import Executor
from agents.log import Log
from agents.work import Completed, Failed, Outcome, Task
from schemas.settings import Settings
from schemas.vocabulary import DeadLetterReason, ErrorClass, LogEvent, WorkflowStatus
from streams.failpoints import FailPoints
from streams.identify import Identified, identify
from streams.journal import AttemptJournal
from streams.kafka import producer
from streams.ledger import Entry, Ledger, read_ledger
from streams.positions import Position
from streams.records import (
    Decided,
    Identity,
    Incoming,
    OutRecord,
    duplicate_records,
    outcome_records,
)

__all__ = ["Delivery", "Lane", "LaneParts", "LaneState"]

#: One step of a transaction may take this long; well below the transaction timeout.
STEP_LIMIT_S = 20
TRANSACTION_TIMEOUT_MS = 60_000
#: One transaction holds at most this many outcomes and bytes.
BATCH_OUTCOMES = 200
BATCH_BYTES = 8 * 1024 * 1024


class LaneState(Enum):
    """Where a lane stands; it goes down this list only, save SUSPENDED ⇄ OPEN."""

    OPENING = "opening"  # producer and ledger are not ready
    OPEN = "open"  # runs intents
    SUSPENDED = "suspended"  # a rebalance is on: what runs goes on, no new paid call starts
    CLOSED = "closed"  # another worker's


@dataclass(frozen=True, slots=True, eq=False)
class Delivery:
    """One record as Faust handed it over, with the position that waits for it."""

    incoming: Incoming
    position: Position

    def done(self) -> None:
        """Let the offset be committed."""
        self.position.done(self.incoming.offset)


@dataclass(eq=False)
class Job:
    """One piece of work in flight, and everyone who waits for it."""

    who: Identity
    incoming: Incoming
    deliveries: list[Delivery]
    finished: Callable[[], None]
    extra: list[OutRecord] = field(default_factory=list)
    #: How many of `extra` the running transaction holds; a delivery may join while it commits.
    extra_sent: int = 0
    slot: str = ""
    task: asyncio.Task[None] | None = None
    decided: Decided | None = None
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True)
class LaneParts:
    """What all lanes of a worker share."""

    settings: Settings
    executor: Executor
    journal: AttemptJournal
    clock: Clock
    dice: Dice
    worker: str
    group: str
    log: Log
    fail_points: FailPoints
    lease_holds: Callable[[], bool]
    on_outcome: Callable[[Outcome], None] = lambda _outcome: None
    on_fenced: Callable[[int], None] = lambda _lane: None


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
        self._producer: AIOKafkaProducer | None = None
        self._jobs: dict[str, Job] = {}
        self._ready: list[Job] = []
        self._wake = asyncio.Event()
        self._may_run = asyncio.Event()
        self._committer: asyncio.Task[None] | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    # ── life ────────────────────────────────────────────────────────────────────────────────

    async def open(self) -> None:
        """Fence the earlier owner, then read the ledger; tries again until closed."""
        parts, delay = self._parts, 0.2
        while self.state is LaneState.OPENING:
            try:
                await self._start_producer()
                count = await read_ledger(parts.settings, self.number, self.ledger)
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
                self._committer = asyncio.get_running_loop().create_task(self._commit_forever())
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
        for task in [*tasks, *([self._committer] if self._committer else [])]:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=2)
        self._release_all()
        await self._stop_producer()
        self._parts.log(LogEvent.LANE_CLOSED, lane=self.number)

    async def drained(self) -> None:
        """Wait until no job is in flight or waiting for its commit."""
        await self._idle.wait()

    @property
    def closed(self) -> bool:
        """Whether the lane is another worker's now."""
        return self.state is LaneState.CLOSED

    @property
    def in_flight(self) -> int:
        """Jobs that run or wait for their commit."""
        return len(self._jobs)

    def _abandon(self) -> None:
        self.state = LaneState.CLOSED
        # Those who wait for permission learn that none will come.
        self._may_run.set()
        for job in self._ready:
            self._journal_unused(job)
        self._ready.clear()

    def _release_all(self) -> None:
        jobs, self._jobs = list(self._jobs.values()), {}
        for job in jobs:
            job.finished()
        self._idle.set()

    def _journal_unused(self, job: Job) -> None:
        """Put a paid answer that cannot be used on record as what it is."""
        attempt = job.outcome.last_attempt if job.outcome else None
        if attempt is not None:
            self._parts.journal.post(attempt.model_copy(update={"used_result": False}))

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
        entry = self.ledger.get(who.key, now_ms=self._parts.clock.now_ms())
        job = Job(who, incoming, [delivery], finished)
        if entry is None or self._must_run(entry, who):
            self._start(job, found)
        elif self._is_same_record(entry, incoming):
            delivery.done()
            finished()
        else:
            self._note_duplicate(job, delivery, who)
            self._register(job, f"duplicate/{incoming.topic}/{incoming.offset}")
            self._finish(job)

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
            self._finish(job)
            return
        job.task = asyncio.get_running_loop().create_task(self._run(job))

    def _register(self, job: Job, slot: str) -> None:
        job.slot = slot
        self._jobs[slot] = job
        self._idle.clear()

    async def _run(self, job: Job) -> None:
        """Execute a job to its outcome; every way out ends it."""
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
        try:
            outcome = await parts.executor.execute(task, self._permit)
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
        self._finish(job)

    async def _permit(self) -> None:
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
        limit = parts.settings.max_record_bytes - 4096  # headers and framing
        if any(len(record.value) > limit for record in decided.records):
            outcome = _too_large_failure(outcome)
            decided = self._records(job, outcome, outcome_id)
        job.outcome, job.decided = outcome, decided

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

    # ── committer ───────────────────────────────────────────────────────────────────────────

    def _finish(self, job: Job) -> None:
        """Hand a decided job to the committer."""
        if self.state is LaneState.CLOSED:
            self._journal_unused(job)
            return
        self._ready.append(job)
        self._wake.set()

    async def _commit_forever(self) -> None:
        while not self.closed:
            await self._wake.wait()
            self._wake.clear()
            while self._ready and not self.closed:
                await self._commit(self._take_batch())

    def _take_batch(self) -> list[Job]:
        """Take what has finished, bounded in number and bytes; at least one."""
        batch: list[Job] = []
        size = 0
        while self._ready and len(batch) < BATCH_OUTCOMES:
            job_size = self._ready[0].decided.size if self._ready[0].decided else 0
            if batch and size + job_size > BATCH_BYTES:
                break
            batch.append(self._ready.pop(0))
            size += job_size
        return batch

    async def _commit(self, batch: list[Job]) -> None:
        """Write a batch in one transaction, however often it takes."""
        while batch and not self.closed:
            try:
                await self._transact(batch)
            except ProducerFenced:
                self._fenced(batch)
                return
            except (KafkaError, TimeoutError, OSError) as error:
                batch = await self._reopen(batch, error)
                continue
            self._committed(batch)
            return
        for job in batch:
            self._journal_unused(job)

    async def _transact(self, batch: list[Job]) -> None:
        producer_, reach = self._producer, self._parts.fail_points.reach
        if producer_ is None:
            message = "an open lane has a producer"
            raise AssertionError(message)
        async with asyncio.timeout(STEP_LIMIT_S):
            await producer_.begin_transaction()
        reach("after_begin")
        for job in batch:
            job.extra_sent = len(job.extra)
        async with asyncio.timeout(STEP_LIMIT_S):
            sent = [
                await producer_.send(
                    record.topic,
                    value=record.value,
                    key=record.key,
                    partition=record.partition,
                    headers=list(record.headers),
                )
                for job in batch
                for record in (
                    *(job.decided.records if job.decided else ()),
                    *job.extra[: job.extra_sent],
                )
            ]
            reach("after_send")
            await asyncio.gather(*sent)
        reach("before_commit")
        async with asyncio.timeout(STEP_LIMIT_S):
            await producer_.commit_transaction()
        reach("after_commit")

    def _committed(self, batch: list[Job]) -> None:
        """Take note of what is decided now, and let the offsets go."""
        for job in batch:
            if job.decided is not None:
                self.ledger.put(job.who.key, job.decided.ledger)
            self._jobs.pop(job.slot, None)
            late = job.extra[job.extra_sent :]
            if late:
                follow_up = Job(job.who, job.incoming, [], lambda: None, extra=late)
                self._register(follow_up, f"late/{job.slot}")
                self._ready.append(follow_up)
            for delivery in job.deliveries:
                delivery.done()
            job.finished()
            if job.outcome is not None:
                self._parts.on_outcome(job.outcome)
        if not self._jobs:
            self._idle.set()

    def _fenced(self, batch: list[Job]) -> None:
        """Another worker has the lane: drop it, never re-initialise."""
        self._parts.log(LogEvent.LANE_FENCED, level="warning", lane=self.number)
        for job in batch:
            self._journal_unused(job)
        self._abandon()
        self._release_all()
        self._parts.on_fenced(self.number)

    async def _reopen(self, batch: list[Job], error: BaseException) -> list[Job]:
        """After an indefinite error: the same id anew, the ledger's tail decides what is left."""
        parts, delay = self._parts, 0.2
        parts.log(
            LogEvent.LANE_REOPENED, level="warning", lane=self.number, error=type(error).__name__
        )
        while not self.closed:
            await self._stop_producer()
            try:
                # Without a lease the lane may be somebody else's: do not fence them.
                if parts.lease_holds():
                    await self._start_producer()
                    await read_ledger(parts.settings, self.number, self.ledger)
                    break
            except (KafkaError, TimeoutError, OSError):
                pass
            await parts.clock.sleep(delay)
            delay = min(delay * 2, 5)
        kept = [job for job in batch if not self._is_committed(job)]
        self._committed([job for job in batch if self._is_committed(job)])
        return kept

    def _is_committed(self, job: Job) -> bool:
        return job.decided is not None and self.ledger.holds(job.who.key, job.decided.outcome_id)

    # ── producer ────────────────────────────────────────────────────────────────────────────

    async def _start_producer(self) -> None:
        settings = self._parts.settings
        self._producer = producer(
            settings,
            transactional_id=f"{settings.hybrid_topic_prefix}.lane.{self.number}",
            transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
            linger_ms=0,
        )
        async with asyncio.timeout(STEP_LIMIT_S * 1.5):
            await self._producer.start()

    async def _stop_producer(self) -> None:
        producer_, self._producer = self._producer, None
        if producer_ is not None:
            with suppress(Exception):  # it is thrown away whatever it says
                await asyncio.wait_for(producer_.stop(), 3)


def _internal_failure(code: str) -> Failed:
    return Failed(
        reason=DeadLetterReason.INTERNAL,
        error_class=ErrorClass.UNKNOWN,
        code=code,
        message="the orchestrator failed on this intent; its log names the place",
        retriable=True,
        suggested_action="report the defect with the log line, then replay",
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

"""The values of a lane: deliveries, jobs, and what all lanes of a worker share."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from agents.clock import Clock, Dice
from agents.deciding.budgets import Crossing, Spending
from agents.executing.executor import Executor
from agents.log import Log
from agents.task import Outcome
from schemas.batches import BatchAnswer
from schemas.events import KeptCall
from schemas.operations import CancelRecord
from schemas.settings import Settings
from streams.failpoints import FailPoints
from streams.kafka.journal import AttemptJournal
from streams.lanes.broker import LaneBroker
from streams.lanes.contents import Contents
from streams.messages.identity import NO_OUTLINE, Outline
from streams.messages.offset_tracker import OffsetTracker
from streams.messages.orders import Orders
from streams.messages.records import Decided, Identity, Incoming, OutRecord

__all__ = ["SUSPECT_STARTS", "Delivery", "Job", "LaneEvents", "LaneParts"]

#: An intent that was started so often without an end may be what ended its workers.
SUSPECT_STARTS = 2


@dataclass(frozen=True, slots=True, eq=False)
class Delivery:
    """One record as Faust handed it over, with the position that waits for it."""

    incoming: Incoming
    position: OffsetTracker
    outline: Outline = NO_OUTLINE
    #: When it is due, on the monotonic clock; 0 = at once.
    due_at: float = 0.0

    @property
    def tenant(self) -> str:
        """The tenant, as far as it can be read."""
        return self.outline.tenant

    @property
    def line(self) -> object:
        """Records of one partition for the same providers stay in order."""
        return (self.incoming.topic, self.incoming.partition, self.outline.route)

    @property
    def size(self) -> int:
        """Bytes that it takes in memory, about."""
        return len(self.incoming.value or b"")

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
    #: How often it was started without an end, this time included; 0 = it is not executed.
    start: int = 0
    #: Attempt id → its call, of those whose answers their providers keep, this execution's or not.
    kept: dict[str, KeptCall] = field(default_factory=dict, init=False)
    #: What came of its line in a batch.
    batch: BatchAnswer | None = field(default=None, init=False)
    task: asyncio.Task[None] | None = None
    #: UUIDv7 of its execution; empty = it is not executed.
    execution_id: str = field(default="", init=False)
    #: What it writes is as little as it can be.
    bare: bool = False
    #: Whether its executor is at work.
    begun: bool = field(default=False, init=False)
    #: The order by which it is to end.
    called_off: CancelRecord | None = field(default=None, init=False)
    decided: Decided | None = None
    outcome: Outcome | None = None
    #: Its own next hop, where that came back before the commit was heard; and how to free its slot.
    next_hops: list[tuple[Delivery, Callable[[], None]]] = field(default_factory=list, init=False)

    def is_followed_by(self, who: Identity) -> bool:
        """Whether a record is what this very job has put aside, and no repeat of it."""
        own = self.who.deferral.hop if self.who.deferral else 0
        return who.deferral is not None and who.deferral.hop > own

    def join(self, delivery: Delivery) -> bool:
        """Have a record end with the job; whether it is another one than the job's own."""
        self.deliveries.append(delivery)
        first, again = self.incoming, delivery.incoming
        return (first.topic, first.offset) != (again.topic, again.offset)

    def why_called_off(self) -> str | None:
        """Say why it is to end, in the operator's words; None = it goes on."""
        return None if self.called_off is None else self.called_off.why

    def release(self) -> None:
        """Free its slots, and say nothing about its records: they are read again."""
        for free in (self.finished, *(free for _, free in self.next_hops)):
            free()

    @property
    def is_note(self) -> bool:
        """Whether it only writes events, and decides nothing."""
        return self.task is None and self.decided is None

    @property
    def is_suspect(self) -> bool:
        """Whether it was in flight when workers ended, more than once."""
        return self.start > SUSPECT_STARTS

    @property
    def records(self) -> tuple[OutRecord, ...]:
        """Everything that the job's transaction writes."""
        return (*(self.decided.records if self.decided else ()), *self.extra[: self.extra_sent])

    @property
    def size(self) -> int:
        """Bytes of its outcome, for bounding a batch."""
        return self.decided.size if self.decided else 0


@dataclass(frozen=True, slots=True)
class LaneEvents:
    """What a lane tells its worker, and hears from it; by default nothing."""

    on_outcome: Callable[[Outcome], None] = lambda _outcome: None
    #: An execution begins; one of any kind of job is committed. Neither may raise.
    on_begun: Callable[[Job], None] = lambda _job: None
    on_committed: Callable[[Job], None] = lambda _job: None
    on_crossing: Callable[[Crossing], None] = lambda _crossing: None
    on_fenced: Callable[[int], None] = lambda _lane: None
    #: One sentence: what never passes by itself, and ends the worker.
    on_broken: Callable[[str], None] = lambda _why: None
    #: What operators have ordered.
    orders: Orders = field(default_factory=Orders)
    #: Opens content at rest, and seals it.
    contents: Contents = field(default_factory=Contents)


@dataclass(frozen=True, slots=True)
class LaneParts:
    """What all lanes of a worker share."""

    settings: Settings
    executor: Executor
    journal: AttemptJournal
    clock: Clock
    dice: Dice
    worker: str
    log: Log
    fail_points: FailPoints
    lease_holds: Callable[[], bool]
    broker: LaneBroker
    spending: Spending
    events: LaneEvents = LaneEvents()
    #: Held by the one suspect that runs, of all lanes: what kills workers is found out alone.
    suspects: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

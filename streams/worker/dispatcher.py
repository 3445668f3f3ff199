"""From Faust's streams to the lanes: read ahead, slots, priority, and waiting until due.

Urgent work goes first and may use every slot; the rest leaves some of them free, and is shared
fairly between tenants. Work whose providers cannot be called stays here: it takes no slot, costs
no call and is not written anywhere. Deferred work waits until it is due. What is read ahead is
bounded; beyond that partitions are paused, however much is waiting.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from agents.clock import Clock
from schemas.topics import Topics
from streams.lanes.job import Delivery
from streams.lanes.lane import Lane, LaneState
from streams.messages.identity import Outline, deferral_of
from streams.messages.offset_tracker import OffsetTracker
from streams.messages.records import Incoming
from streams.worker.fair_queue import FairQueue

__all__ = ["Dispatcher", "FlowControl", "Gate", "reserved_slots"]

#: A partition of a deferred topic is paused at this many waiting records, resumed at that many.
HIGH_WATER = 64
LOW_WATER = 16
#: What may be read ahead of the other topics: fairness between tenants reaches this far.
READ_AHEAD_RECORDS = 25_000
READ_AHEAD_BYTES = 64 * 1024 * 1024
#: Paused partitions are resumed when what is read ahead has fallen to this share.
RESUME_SHARE = 0.75
#: At most this share of the slots, and this many, are kept for urgent work.
RESERVE_SHARE = 8
RESERVE_MOST = 16
#: A provider that can be called this soon is waited for in a slot.
SOON_S = 0.25
#: Work that no provider can take is looked at again after this long at the latest.
GATE_LOOK_S = 1.0

TopicPartitionKey = tuple[str, int]


class FlowControl(Protocol):
    """Stops and starts the fetching of one partition."""

    def pause(self, topic: str, partition: int) -> None:
        """Fetch no more from it."""
        ...

    def resume(self, topic: str, partition: int) -> None:
        """Fetch from it again."""
        ...


class Gate(Protocol):
    """What providers can take."""

    def wait_s(self, name: str, *, urgent: bool = False) -> float:
        """Seconds until a provider may be called."""
        ...

    def room(self, name: str) -> float:
        """How many jobs that begin with a provider make sense at the same time."""
        ...


@dataclass(eq=False)
class _Partition:
    position: OffsetTracker = field(default_factory=OffsetTracker)
    waiting: int = 0
    paused: bool = False


def reserved_slots(concurrency: int) -> int:
    """Give how many slots only urgent work may use."""
    return min(RESERVE_MOST, max(1, concurrency // RESERVE_SHARE)) if concurrency > 1 else 0


class Dispatcher:
    """Holds what was delivered and gives it to the lanes when its turn has come."""

    def __init__(
        self,
        topics: Topics,
        *,
        concurrency: int,
        clock: Clock,
        flow: FlowControl,
        gate: Gate,
        outline: Callable[[Incoming], Outline],
        weights: Mapping[str, float],
    ) -> None:
        """Begin suspended and empty."""
        self._topics = topics
        self._concurrency = concurrency
        self._reserve = reserved_slots(concurrency)
        self._clock = clock
        self._flow = flow
        self._gate = gate
        self._outline = outline
        self._partitions: dict[TopicPartitionKey, _Partition] = {}
        self._queues: dict[str, FairQueue[Delivery]] = {
            name: FairQueue(weights) for name in ("urgent", "deferred", "ordinary")
        }
        self._lanes: dict[int, Lane] = {}
        self._wake = asyncio.Event()
        self._suspended = True
        self._held = False
        self.halted = False
        self._ahead_bytes = 0
        self._deferred_turn = False
        #: Jobs in slots, by the provider that they are expected to call first.
        self._expected: Counter[str] = Counter()
        self.running = 0
        self.delivered = 0
        self.last_progress = clock.monotonic()

    # ── what Faust calls ────────────────────────────────────────────────────────────────────

    def put(self, incoming: Incoming) -> None:
        """Take a record; never raises, never waits."""
        if self._suspended:
            return  # it is read again after the rebalance
        key = (incoming.topic, incoming.partition)
        partition = self._partitions.setdefault(key, _Partition())
        if not partition.position.deliver(incoming.offset):
            return
        self.delivered += 1
        delivery = Delivery(
            incoming, partition.position, self._outline(incoming), self._due_by(incoming)
        )
        self._queues[self._class_of(incoming.topic)].add(delivery)
        partition.waiting += 1
        self._ahead_bytes += delivery.size
        if not partition.paused and self._enough(incoming.topic, partition):
            partition.paused = True
            self._flow.pause(*key)
        self._wake.set()

    # ── what the worker calls ───────────────────────────────────────────────────────────────

    def hold(self) -> None:
        """Start nothing more; what waits is kept, and what ends still moves its position."""
        self._held = True

    def halt(self, *, halted: bool) -> None:
        """Start nothing while halted, whatever rebalances say."""
        self.halted = halted
        self._wake.set()

    def suspend(self) -> None:
        """Forget what waits (it will be read again) and take nothing more."""
        self._suspended = True
        self._partitions.clear()
        self._ahead_bytes = 0
        for queue in self._queues.values():
            queue.clear()

    def resume(self, lanes: dict[int, Lane]) -> None:
        """Go on with the lanes that are here now."""
        self._lanes = lanes
        self._suspended = self._held = False
        self._wake.set()

    def poke(self) -> None:
        """Look again: a lane has opened, a provider has recovered."""
        self._wake.set()

    @property
    def waiting(self) -> int:
        """Records that are here and have not begun."""
        return sum(len(queue) for queue in self._queues.values())

    def ready_to_run(self) -> int:
        """Waiting records that could begin now, but for slots and providers."""
        return len(self._queues["urgent"]) + len(self._queues["ordinary"])

    def committable(self) -> dict[TopicPartitionKey, int]:
        """Give the offsets to commit."""
        found = {key: one.position.committable() for key, one in self._partitions.items()}
        return {key: offset for key, offset in found.items() if offset is not None}

    def committed(self, offsets: dict[TopicPartitionKey, int]) -> None:
        """Take note of what the broker has."""
        for key, offset in offsets.items():
            if key in self._partitions:
                self._partitions[key].position.committed(offset)

    async def dispatch_forever(self) -> None:
        """Give out what may run, for ever."""
        while True:
            self._wake.clear()
            wait_s = self._dispatch()
            try:
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            except TimeoutError:
                continue

    # ── the order of work ───────────────────────────────────────────────────────────────────

    def _dispatch(self) -> float | None:
        """Start all that may start; gives the seconds until it is worth looking again."""
        look = _Look(self)
        while not (self._suspended or self._held or self.halted):
            delivery = self._next(look)
            if delivery is None:
                break
            provider = look.provider_of(delivery)
            self.running += 1
            self._expected[provider] += 1
            self.last_progress = self._clock.monotonic()
            self._went(delivery)
            self._lanes[delivery.incoming.partition].offer(delivery, self._slot_release(provider))
        if look.awaits_provider:
            self.last_progress = self._clock.monotonic()  # no stall: there is nothing to call
        return look.again_in_s

    def _slot_release(self, provider: str) -> Callable[[], None]:
        released = False

        def release() -> None:
            nonlocal released
            if not released:
                released = True
                self.running -= 1
                self._expected[provider] -= 1
                self.last_progress = self._clock.monotonic()
                self._wake.set()

        return release

    def _next(self, look: "_Look") -> Delivery | None:
        free = self._concurrency - self.running
        if free <= 0:
            return None
        delivery = self._queues["urgent"].take(look.may_run)
        if delivery is None and free > self._reserve:
            # In turns: neither a flood of new work nor one of returning work holds up the other.
            self._deferred_turn = not self._deferred_turn
            order = ("deferred", "ordinary") if self._deferred_turn else ("ordinary", "deferred")
            delivery = self._queues[order[0]].take(look.may_run) or self._queues[order[1]].take(
                look.may_run
            )
        return delivery

    def _went(self, delivery: Delivery) -> None:
        """Book a delivery out, and read on where that makes room."""
        self._ahead_bytes -= delivery.size
        incoming = delivery.incoming
        key = (incoming.topic, incoming.partition)
        partition = self._partitions[key]
        partition.waiting -= 1
        if self._class_of(incoming.topic) == "deferred":
            if partition.paused and partition.waiting <= LOW_WATER:
                self._read_on(key, partition)
        elif self._ahead_share() <= RESUME_SHARE:
            for one, other in self._partitions.items():
                if other.paused and self._class_of(one[0]) != "deferred":
                    self._read_on(one, other)

    def _read_on(self, key: TopicPartitionKey, partition: _Partition) -> None:
        partition.paused = False
        self._flow.resume(*key)

    def _enough(self, topic: str, partition: _Partition) -> bool:
        """Whether no more is to be read from a partition for now; a few of each always are."""
        if partition.waiting < HIGH_WATER:
            return False
        return self._class_of(topic) == "deferred" or self._ahead_share() >= 1

    def _ahead_share(self) -> float:
        return max(self.waiting / READ_AHEAD_RECORDS, self._ahead_bytes / READ_AHEAD_BYTES)

    def _due_by(self, incoming: Incoming) -> float | None:
        """Bound the wait of a deferred record: its topic's delay, from the moment it is read.

        A wall clock that was set back, here or where it was written, holds it up no longer.
        """
        if incoming.topic not in self._topics.deferred:
            return None
        delay = self._topics.defer_delays[self._topics.deferred.index(incoming.topic)]
        return self._clock.monotonic() + delay

    def _due_in_s(self, delivery: Delivery) -> float:
        if delivery.due_by is None:
            return 0.0
        state = deferral_of(delivery.incoming)
        if state is None:
            return 0.0
        by_wall_clock = (state.due_at_ms - self._clock.now_ms()) / 1000
        return min(by_wall_clock, delivery.due_by - self._clock.monotonic())

    def _class_of(self, topic: str) -> str:
        if topic == self._topics.urgent:
            return "urgent"
        return "ordinary" if topic == self._topics.intents else "deferred"


class _Look:
    """One look at everything that waits: what providers can take is asked once for each."""

    def __init__(self, intake: Dispatcher) -> None:
        self._intake = intake
        self._waits: dict[tuple[str, bool], float] = {}
        self._rooms: dict[str, float] = {}
        self.again_in_s: float | None = None
        self.awaits_provider = False

    def may_run(self, delivery: Delivery) -> bool:
        """Whether a delivery can start now; remembers when it could."""
        intake = self._intake
        lane = intake._lanes.get(delivery.incoming.partition)  # noqa: SLF001 - its own helper
        if lane is None or lane.state is not LaneState.OPEN:
            return False
        due_in = intake._due_in_s(delivery)  # noqa: SLF001
        if due_in > 0:
            self._again(due_in)
            return False
        outline = delivery.outline
        if not outline.route or outline.is_late(intake._clock.now_ms()):  # noqa: SLF001
            return True
        urgent = intake._class_of(delivery.incoming.topic) == "urgent"  # noqa: SLF001
        if self._free(outline.route, urgent=urgent) is not None:
            return True
        self.awaits_provider = True
        waits = (self._wait(name, urgent=urgent) for name in outline.route)
        self._again(min(GATE_LOOK_S, *waits) or GATE_LOOK_S)
        return False

    def provider_of(self, delivery: Delivery) -> str:
        """Give the provider that a delivery is expected to call; empty when it calls none."""
        route = delivery.outline.route
        urgent = self._intake._class_of(delivery.incoming.topic) == "urgent"  # noqa: SLF001
        return (self._free(route, urgent=urgent) or route[0]) if route else ""

    def _free(self, route: tuple[str, ...], *, urgent: bool) -> str | None:
        """Give the first provider of a route that can be called soon and has room, or None."""
        # Ordinary jobs that wait for a provider do not take the room of an urgent one.
        expected = self._intake._expected  # noqa: SLF001
        for name in route:
            soon = self._wait(name, urgent=urgent) <= SOON_S
            if soon and (urgent or expected[name] + 1 <= self._room(name)):
                return name
        return None

    def _wait(self, name: str, *, urgent: bool) -> float:
        key = (name, urgent)
        if key not in self._waits:
            self._waits[key] = self._intake._gate.wait_s(name, urgent=urgent)  # noqa: SLF001
        return self._waits[key]

    def _room(self, name: str) -> float:
        if name not in self._rooms:
            self._rooms[name] = self._intake._gate.room(name)  # noqa: SLF001
        return self._rooms[name]

    def _again(self, seconds: float) -> None:
        seconds = max(0.005, seconds)
        self.again_in_s = seconds if self.again_in_s is None else min(self.again_in_s, seconds)

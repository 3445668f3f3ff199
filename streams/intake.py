"""From Faust's streams to the lanes: bounded queues, slots, priority, and waiting until due.

Every partition of every source topic has a queue. Urgent work goes first and may use every slot;
the rest leaves some of them free. Deferred partitions wait until their head is due. A queue that
grows too long has its partition paused, so that memory stays bounded however much is waiting.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from agents.clock import Clock
from schemas.topics import Topics
from streams.identify import deferral_of
from streams.jobs import Delivery
from streams.lane import Lane, LaneState
from streams.positions import Position
from streams.records import Incoming

__all__ = ["FlowControl", "Intake", "reserved_slots"]

#: A partition is paused at this many waiting records, and resumed at that many.
HIGH_WATER = 64
LOW_WATER = 16
#: At most this share of the slots, and this many, are kept for urgent work.
RESERVE_SHARE = 8
RESERVE_MOST = 16

TopicPartitionKey = tuple[str, int]


class FlowControl(Protocol):
    """Stops and starts the fetching of one partition."""

    def pause(self, topic: str, partition: int) -> None:
        """Fetch no more from it."""
        ...

    def resume(self, topic: str, partition: int) -> None:
        """Fetch from it again."""
        ...


@dataclass(eq=False)
class _Queue:
    position: Position = field(default_factory=Position)
    waiting: deque[Delivery] = field(default_factory=deque)
    paused: bool = False


def reserved_slots(concurrency: int) -> int:
    """Give how many slots only urgent work may use."""
    return min(RESERVE_MOST, max(1, concurrency // RESERVE_SHARE)) if concurrency > 1 else 0


class Intake:
    """Holds what was delivered and gives it to the lanes when its turn has come."""

    def __init__(
        self, topics: Topics, *, concurrency: int, clock: Clock, flow: FlowControl
    ) -> None:
        """Begin suspended and empty."""
        self._topics = topics
        self._concurrency = concurrency
        self._reserve = reserved_slots(concurrency)
        self._clock = clock
        self._flow = flow
        self._queues: dict[TopicPartitionKey, _Queue] = {}
        # Partitions with waiting records, by class, in the order in which their turn comes.
        self._turns: dict[str, OrderedDict[TopicPartitionKey, None]] = {
            name: OrderedDict() for name in ("urgent", "deferred", "ordinary")
        }
        self._lanes: dict[int, Lane] = {}
        self._wake = asyncio.Event()
        self._suspended = True
        self._held = False
        self.running = 0
        self.delivered = 0
        self.last_progress = clock.monotonic()

    # ── what Faust calls ────────────────────────────────────────────────────────────────────

    def put(self, incoming: Incoming) -> None:
        """Take a record; never raises, never waits."""
        if self._suspended:
            return  # it is read again after the rebalance
        key = (incoming.topic, incoming.partition)
        queue = self._queues.setdefault(key, _Queue())
        if not queue.position.deliver(incoming.offset):
            return
        self.delivered += 1
        queue.waiting.append(Delivery(incoming, queue.position, self._due_by(incoming)))
        self._turns[self._class_of(incoming.topic)].setdefault(key)
        if len(queue.waiting) >= HIGH_WATER and not queue.paused:
            queue.paused = True
            self._flow.pause(*key)
        self._wake.set()

    # ── what the worker calls ───────────────────────────────────────────────────────────────

    def hold(self) -> None:
        """Start nothing more; what waits is kept, and what ends still moves its position."""
        self._held = True

    def suspend(self) -> None:
        """Forget what waits (it will be read again) and take nothing more."""
        self._suspended = True
        self._queues.clear()
        for turns in self._turns.values():
            turns.clear()

    def resume(self, lanes: dict[int, Lane]) -> None:
        """Go on with the lanes that are here now."""
        self._lanes = lanes
        self._suspended = self._held = False
        self._wake.set()

    def poke(self) -> None:
        """Look again: a lane has opened."""
        self._wake.set()

    @property
    def waiting(self) -> int:
        """Records that are here and have not begun."""
        return sum(len(queue.waiting) for queue in self._queues.values())

    def ready_to_run(self) -> int:
        """Waiting records that could begin now, but for slots; deferred ones wait on purpose."""
        return sum(
            len(self._queues[key].waiting)
            for name in ("urgent", "ordinary")
            for key in self._turns[name]
        )

    def committable(self) -> dict[TopicPartitionKey, int]:
        """Give the offsets to commit."""
        found = {key: queue.position.committable() for key, queue in self._queues.items()}
        return {key: offset for key, offset in found.items() if offset is not None}

    def committed(self, offsets: dict[TopicPartitionKey, int]) -> None:
        """Take note of what the broker has."""
        for key, offset in offsets.items():
            if key in self._queues:
                self._queues[key].position.committed(offset)

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
        """Start all that may start; gives the seconds until something deferred is due."""
        while not (self._suspended or self._held):
            delivery = self._next()
            if delivery is None:
                break
            self.running += 1
            self.last_progress = self._clock.monotonic()
            self._lanes[delivery.incoming.partition].offer(delivery, self._slot_release())
        return self._until_due()

    def _slot_release(self) -> Callable[[], None]:
        released = False

        def release() -> None:
            nonlocal released
            if not released:
                released = True
                self.running -= 1
                self.last_progress = self._clock.monotonic()
                self._wake.set()

        return release

    def _next(self) -> Delivery | None:
        free = self._concurrency - self.running
        if free <= 0:
            return None
        delivery = self._take("urgent")
        if delivery is None and free > self._reserve:
            delivery = self._take("deferred") or self._take("ordinary")
        return delivery

    def _take(self, name: str) -> Delivery | None:
        """Take the head of the first partition in turn that may run; its turn goes to the end."""
        turns = self._turns[name]
        for key in list(turns):
            queue, lane = self._queues[key], self._lanes.get(key[1])
            if lane is None or lane.state is not LaneState.OPEN:
                continue
            if name == "deferred" and self._due_in_s(queue) > 0:
                continue
            delivery = queue.waiting.popleft()
            if queue.waiting:
                turns.move_to_end(key)
            else:
                del turns[key]
            if queue.paused and len(queue.waiting) <= LOW_WATER:
                queue.paused = False
                self._flow.resume(*key)
            return delivery
        return None

    def _due_by(self, incoming: Incoming) -> float | None:
        """Bound the wait of a deferred record: its topic's delay, from the moment it is read.

        A wall clock that was set back, here or where it was written, holds it up no longer.
        """
        if incoming.topic not in self._topics.deferred:
            return None
        delay = self._topics.defer_delays[self._topics.deferred.index(incoming.topic)]
        return self._clock.monotonic() + delay

    def _due_in_s(self, queue: _Queue) -> float:
        head = queue.waiting[0]
        state = deferral_of(head.incoming)
        if state is None or head.due_by is None:
            return 0.0
        by_wall_clock = (state.due_at_ms - self._clock.now_ms()) / 1000
        return min(by_wall_clock, head.due_by - self._clock.monotonic())

    def _until_due(self) -> float | None:
        waits = [self._due_in_s(self._queues[key]) for key in self._turns["deferred"]]
        return max(0.005, min(waits)) if waits else None

    def _class_of(self, topic: str) -> str:
        if topic == self._topics.urgent:
            return "urgent"
        return "ordinary" if topic == self._topics.intents else "deferred"

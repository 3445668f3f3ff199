"""What has been read and has not begun: in line, not due, held back, called off."""

import heapq
from collections import deque
from collections.abc import Mapping

from agents.clock import Clock
from schemas.topics import Topics
from streams.lanes.job import Delivery
from streams.messages.identity import named
from streams.messages.orders import Orders
from streams.worker.fair_queue import FairQueue
from streams.worker.held_back import HeldBack
from streams.worker.look import Look
from streams.worker.read_ahead import WorkClass, class_of

__all__ = ["Intake"]

#: What an operator holds is looked at again after so long: its deadline may have passed.
HELD_LOOK_S = 0.5


class Intake:
    """Deliveries that wait for their turn; one for each worker."""

    def __init__(
        self, topics: Topics, *, weights: Mapping[str, float], orders: Orders, clock: Clock
    ) -> None:
        """Begin empty; `orders` says what is held back."""
        self._topics = topics
        self._delays = dict(zip(topics.deferred, topics.defer_delays, strict=True))
        self._orders = orders
        self._clock = clock
        self._queues: dict[WorkClass, FairQueue[Delivery]] = {
            "urgent": FairQueue(weights),
            "deferred": FairQueue(weights),
            "ordinary": FairQueue(weights),
        }
        #: What is not due yet, the earliest first: it holds up nothing that is.
        self._undue: list[tuple[float, int, Delivery]] = []
        self._held_back = HeldBack()
        #: What an operator has called off: it ends without a slot, a provider or its time.
        self.called_off: deque[Delivery] = deque()
        self._count = 0

    def __len__(self) -> int:
        """Count all that waits."""
        queued = sum(len(queue) for queue in self._queues.values())
        return queued + len(self._undue) + len(self._held_back) + len(self.called_off)

    @property
    def is_in_line(self) -> bool:
        """Whether anything waits that is neither deferred nor held."""
        return bool(self._queues["urgent"]) or bool(self._queues["ordinary"])

    @property
    def held(self) -> int:
        """Those that an operator has paused."""
        return len(self._held_back)

    @property
    def oldest_s(self) -> float:
        """Seconds since the oldest that may begin was written, or was due; 0 = none may."""
        heads = [one for queue in self._queues.values() for one in queue.heads()]
        ages = [
            (self._clock.now_ms() - one.incoming.timestamp_ms) / 1000
            - self._delays.get(one.incoming.topic, 0.0)
            for one in (*heads, *(one for _, _, one in self._undue[:1]))
        ]
        return max(0.0, max(ages, default=0.0))

    def add(self, delivery: Delivery) -> None:
        """Take a delivery in."""
        if self._orders.cancels and self._has_ended(delivery):
            return
        if delivery.due_at:
            self._count += 1
            heapq.heappush(self._undue, (delivery.due_at, self._count, delivery))
        else:
            self._put_in_line(delivery)

    def take(self, kind: WorkClass, look: Look) -> Delivery | None:
        """Take the next of a class that may run; None when there is none."""
        return self._queues[kind].take(look.may_run, is_blocked=look.is_blocked)

    def look(self, now: float, look: Look) -> None:
        """Put in line what is due by now, and what is held and late; say when to look again."""
        while self._undue and self._undue[0][0] <= now:
            self._put_in_line(heapq.heappop(self._undue)[2])
        if self._undue:
            look.look_again(self._undue[0][0] - now)
        if self._held_back:
            for delivery in self._held_back.take_late(self._clock.now_ms()):
                self._put_in_line(delivery)
            look.look_again(HELD_LOOK_S)

    def reconsider(self) -> None:
        """Ask anew of all that waits whether it is held back, or called off."""
        waiting = self._held_back.take_all()
        for queue in self._queues.values():
            waiting += queue.take_all()
        if self._orders.cancels:
            waiting = [one for one in waiting if not self._has_ended(one)]
            self._undue = [one for one in self._undue if not self._has_ended(one[2])]
            heapq.heapify(self._undue)
        for delivery in waiting:
            self._put_in_line(delivery)

    def _has_ended(self, delivery: Delivery) -> bool:
        """Whether a delivery is called off; then it stands among those."""
        ends = self._ends(delivery)
        if ends:
            self.called_off.append(delivery)
        return ends

    def _ends(self, delivery: Delivery) -> bool:
        work = named(delivery.incoming, delivery.outline)
        return self._orders.calls_off(work) is not None

    def clear(self) -> None:
        """Forget all of it."""
        self._undue.clear()
        self._held_back.clear()
        self.called_off.clear()
        for queue in self._queues.values():
            queue.clear()

    def _put_in_line(self, delivery: Delivery) -> None:
        outline = delivery.outline
        if self._orders.holds(outline.tenant, outline.type):
            now_ms = self._clock.now_ms()
            if not (outline.is_late(now_ms) or outline.is_early(now_ms)):  # those call nobody
                self._held_back.add(delivery)
                return
        self._queues[class_of(self._topics, delivery.incoming.topic)].add(delivery)

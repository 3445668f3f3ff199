"""From Faust's streams to the lanes: read ahead, slots, priority, and waiting until due.

Urgent work goes first and may use every slot; the rest leaves some of them free, and is shared
fairly between tenants. Work whose providers cannot be called stays here: it takes no slot, costs
no call and is not written anywhere. Deferred work waits until it is due. What is read ahead is
bounded (`read_ahead`); beyond that partitions are paused, however much is waiting.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping

from agents.clock import Clock
from schemas.topics import Topics
from streams.lanes.job import Delivery
from streams.lanes.lane import Lane, LaneState
from streams.messages.deferrals import deferral_of
from streams.messages.identity import Outline
from streams.messages.orders import Orders
from streams.messages.records import Incoming
from streams.worker.intake import Intake
from streams.worker.look import Gate, Look
from streams.worker.read_ahead import (
    FlowControl,
    ReadAhead,
    TopicPartitionKey,
    WorkClass,
)

__all__ = ["Dispatcher", "reserved_slots"]

#: At most this share of the slots, and this many, are kept for urgent work.
RESERVE_SHARE = 8
RESERVE_MOST = 16
#: Intents whose deadline passes while no provider can take them are looked for this often, …
THOROUGH_EVERY_S = 1.0
#: … in seconds, and so rarely that looking takes at most this part (one in so many) of all time.
THOROUGH_SHARE = 20.0


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
        orders: Orders | None = None,
    ) -> None:
        """Begin empty, and take nothing before `resume`; `concurrency` is the number of slots."""
        self._topics = topics
        self._delays = dict(zip(topics.deferred, topics.defer_delays, strict=True))
        self._concurrency = concurrency
        self._reserve = reserved_slots(concurrency)
        self._clock = clock
        self._gate = gate
        self._outline = outline
        self._ahead = ReadAhead(topics, flow)
        self._intake = Intake(topics, weights=weights, orders=orders or Orders(), clock=clock)
        self._lanes: dict[int, Lane] = {}
        self._wake = asyncio.Event()
        self._suspended = True
        self._held = False
        self._stopped = False
        self.halted = False
        self._deferred_turn = False
        self._thorough_at = 0.0
        #: Jobs in slots, by the provider that they are expected to call first.
        self._expected: Counter[str] = Counter()
        self.running = 0
        self.delivered = 0
        self.last_progress = clock.monotonic()
        self.last_fetched = clock.monotonic()

    # ── what Faust calls ────────────────────────────────────────────────────────────────────

    def put(self, incoming: Incoming) -> None:
        """Take a record; never raises, never waits."""
        if self._suspended:
            return  # it is read again after the rebalance
        tracker = self._ahead.deliver(incoming.topic, incoming.partition, incoming.offset)
        if tracker is None:
            return
        if not self._intake.is_in_line:
            self._progress()  # nothing waited until now: the clock of a stall begins here
        self.delivered += 1
        delivery = Delivery(incoming, tracker, self._outline(incoming), self._due_at(incoming))
        self._intake.add(delivery)
        self._ahead.came(delivery)
        self._wake.set()

    def fetched(self) -> None:
        """Take note that records were asked for, whether any came or not."""
        self.last_fetched = self._clock.monotonic()

    def committable(self) -> dict[TopicPartitionKey, int]:
        """Give the offsets to commit."""
        return self._ahead.committable()

    def committed(self, offsets: dict[TopicPartitionKey, int]) -> None:
        """Take note of what the broker has."""
        self._ahead.committed(offsets)

    # ── what the worker calls ───────────────────────────────────────────────────────────────

    def hold(self) -> None:
        """Start nothing more until `resume`; what waits is kept, what ends moves its offset."""
        self._held = True

    def stop(self) -> None:
        """Start nothing more, for ever: whatever rebalances say, a stopping worker takes none."""
        self._stopped = True

    def halt(self, *, halted: bool) -> None:
        """Start nothing while halted, whatever rebalances say."""
        self.halted = halted
        self._wake.set()

    def suspend(self) -> None:
        """Forget what waits (it will be read again) and take nothing more."""
        self._suspended = True
        self._ahead.clear()
        self._intake.clear()

    def resume(self, lanes: dict[int, Lane]) -> None:
        """Go on with the lanes that are here now."""
        self._lanes = lanes
        self._suspended = self._held = False
        self._progress()
        self._wake.set()

    def poke(self) -> None:
        """Look again: a provider has recovered."""
        self._wake.set()

    def reconsider(self) -> None:
        """Look at all that waits again: what operators order has changed."""
        self._intake.reconsider()
        self._wake.set()

    def lane_opened(self) -> None:
        """Look again: what waits for a lane can run."""
        self._progress()
        self._wake.set()

    @property
    def waiting(self) -> int:
        """Records that are here and have not begun."""
        return len(self._intake)

    @property
    def paused(self) -> int:
        """Those of them that an operator has paused."""
        return self._intake.held

    @property
    def oldest_waiting_s(self) -> float:
        """Seconds since the oldest record that waits here was written, or was due; 0 = none is."""
        return self._intake.oldest_s

    def ready_to_run(self) -> int:
        """Waiting records of open lanes that could begin now, but for slots and providers."""
        is_open = {n: one for n, one in self._lanes.items() if one.state is LaneState.OPEN}
        return self._ahead.waiting_in(is_open)

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
        began = self._clock.monotonic()
        thorough = began >= self._thorough_at
        look = Look(
            self._topics,
            lanes=self._lanes,
            gate=self._gate,
            expected=self._expected,
            clock=self._clock,
            thorough=thorough,
        )
        if (due_in := self._ahead.look(began)) is not None:
            look.look_again(due_in)
        self._intake.look(began, look)
        if self._intake.called_off:
            self._end_called_off()
        while not (self._suspended or self._held or self._stopped or self.halted):
            delivery = self._next(look)
            if delivery is None:
                break
            self._give(delivery, look.provider_of(delivery))
        if thorough:
            took_s = self._clock.monotonic() - began
            self._thorough_at = began + max(THOROUGH_EVERY_S, THOROUGH_SHARE * took_s)
        if look.awaits_provider or self._intake.held:
            self._progress()  # no stall: there is nothing to call
        return look.again_in_s

    def _give(self, delivery: Delivery, provider: str) -> None:
        """Give a delivery to its lane, in a slot."""
        self.running += 1
        self._expected[provider] += 1
        self._progress()
        self._ahead.went(delivery)
        self._lanes[delivery.incoming.partition].offer(delivery, self._slot_release(provider))

    def _end_called_off(self) -> None:
        """Give to open lanes what an operator has called off, slots or none: it calls nobody."""
        if self._suspended or self._held or self._stopped:
            return
        called_off = self._intake.called_off
        for _ in range(len(called_off)):
            delivery = called_off.popleft()
            lane = self._lanes.get(delivery.incoming.partition)
            if lane is not None and lane.state is LaneState.OPEN:
                self._give(delivery, "")
            else:
                called_off.append(delivery)

    def _slot_release(self, provider: str) -> Callable[[], None]:
        released = False

        def release() -> None:
            nonlocal released
            if not released:
                released = True
                self.running -= 1
                self._expected[provider] -= 1
                self._progress()
                self._wake.set()

        return release

    def _next(self, look: Look) -> Delivery | None:
        free = self._concurrency - self.running
        if free <= 0:
            return None
        delivery = self._intake.take("urgent", look)
        if delivery is None and free > self._reserve:
            # In turns: neither a flood of new work nor one of returning work holds up the other. A
            # turn ends when it was used: a provider that is probed takes one job in each look.
            first: WorkClass = "deferred" if self._deferred_turn else "ordinary"
            second: WorkClass = "ordinary" if self._deferred_turn else "deferred"
            delivery = self._intake.take(first, look)
            if delivery is not None:
                self._deferred_turn = not self._deferred_turn
            else:
                delivery = self._intake.take(second, look)
        return delivery

    def _progress(self) -> None:
        self.last_progress = self._clock.monotonic()

    def _due_at(self, incoming: Incoming) -> float:
        """Give when a deferred record is due: at its topic's delay, from now, at the latest.

        A wall clock that was set back, here or where it was written, holds it up no longer.
        """
        delay = self._delays.get(incoming.topic)
        if delay is None:
            return 0.0
        state = deferral_of(incoming)
        if state is None:
            return 0.0
        by_wall_clock = (state.due_at_ms - self._clock.now_ms()) / 1000
        wait = min(delay, by_wall_clock)
        return self._clock.monotonic() + wait if wait > 0 else 0.0

"""One look at everything that waits: which delivery may start now, and when to look again."""

from collections import Counter
from collections.abc import Hashable, Mapping
from typing import Protocol

from agents.clock import Clock
from schemas.topics import Topics
from streams.lanes.job import Delivery
from streams.lanes.lane import Lane, LaneState

__all__ = ["Gate", "Look"]

#: A provider that can be called this soon is waited for in a slot.
SOON_S = 0.25
#: Work that no provider can take is looked at again after this long at the latest.
GATE_LOOK_S = 1.0
#: A look is never repeated sooner than this.
LEAST_WAIT_S = 0.005


class Gate(Protocol):
    """What the dispatcher asks about providers."""

    def wait_s(self, name: str, *, urgent: bool = False) -> float:
        """Seconds until a provider may be called; 0 = now."""
        ...

    def room(self, name: str) -> float:
        """How many jobs that begin with a provider make sense at the same time."""
        ...


class Look:
    """Asks for each provider once what it can take; one look lasts as long as one dispatch."""

    def __init__(
        self,
        topics: Topics,
        *,
        lanes: Mapping[int, Lane],
        gate: Gate,
        expected: Counter[str],
        clock: Clock,
        thorough: bool = True,
    ) -> None:
        """`expected` counts the jobs in slots by the provider that they are to call first.

        A thorough look finds what is late while no provider can take it; it reads every head.
        """
        self._thorough = thorough
        self._topics = topics
        self._lanes = lanes
        self._gate = gate
        self._expected = expected
        self._clock = clock
        self._waits: dict[tuple[str, bool], float] = {}
        self._rooms: dict[str, float] = {}
        #: Seconds until it is worth looking again; None = when something happens.
        self.again_in_s: float | None = None
        #: Whether something waits for a provider, and for nothing else.
        self.awaits_provider = False

    def is_blocked(self, line: Hashable) -> bool:
        """Whether nothing of a line (topic, partition, route) can start now."""
        match line:
            case (str() as topic, int() as partition, tuple() as route):
                lane = self._lanes.get(partition)
                if lane is None or lane.state is not LaneState.OPEN:
                    return True
                return bool(route) and not self._thorough and self._awaits(route, topic)
            case _:
                return False

    def may_run(self, delivery: Delivery) -> bool:
        """Whether a delivery, which is due, can start now; remembers when it could."""
        lane = self._lanes.get(delivery.incoming.partition)
        if lane is None or lane.state is not LaneState.OPEN:
            return False
        outline, now_ms = delivery.outline, self._clock.now_ms()
        if not outline.route or outline.is_late(now_ms) or outline.is_early(now_ms):
            return True
        return not self._awaits(outline.route, delivery.incoming.topic)

    def provider_of(self, delivery: Delivery) -> str:
        """Give the provider that a delivery is expected to call; empty when it calls none."""
        route = delivery.outline.route
        urgent = delivery.incoming.topic == self._topics.urgent
        return (self._free(route, urgent=urgent) or route[0]) if route else ""

    def _awaits(self, route: tuple[str, ...], topic: str) -> bool:
        """Whether no provider of a route can take more; remembers when that may change."""
        urgent = topic == self._topics.urgent
        if self._free(route, urgent=urgent) is not None:
            return False
        self.awaits_provider = True
        waits = (self._wait(name, urgent=urgent) for name in route)
        self.look_again(min(GATE_LOOK_S, *waits) or GATE_LOOK_S)
        return True

    def _free(self, route: tuple[str, ...], *, urgent: bool) -> str | None:
        """Give the first provider of a route that can be called soon and has room, or None."""
        # Ordinary jobs that wait for a provider do not take the room of an urgent one.
        for name in route:
            soon = self._wait(name, urgent=urgent) <= SOON_S
            if soon and (urgent or self._expected[name] + 1 <= self._room(name)):
                return name
        return None

    def _wait(self, name: str, *, urgent: bool) -> float:
        key = (name, urgent)
        if key not in self._waits:
            self._waits[key] = self._gate.wait_s(name, urgent=urgent)
        return self._waits[key]

    def _room(self, name: str) -> float:
        if name not in self._rooms:
            self._rooms[name] = self._gate.room(name)
        return self._rooms[name]

    def look_again(self, seconds: float) -> None:
        """Remember that something may start so many seconds from now."""
        seconds = max(LEAST_WAIT_S, seconds)
        self.again_in_s = seconds if self.again_in_s is None else min(self.again_in_s, seconds)

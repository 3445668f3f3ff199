"""Deliveries that an operator holds: they wait without a place in a queue, and hold up no other."""

import heapq

from streams.lanes.job import Delivery

__all__ = ["HeldBack"]


class HeldBack:
    """What waits until it is resumed, or its deadline passes."""

    def __init__(self) -> None:
        """Begin empty."""
        self._held: dict[int, Delivery] = {}
        self._deadlines: list[tuple[int, int]] = []
        self._count = 0

    def __len__(self) -> int:
        """Count them."""
        return len(self._held)

    def add(self, delivery: Delivery) -> None:
        """Hold one back."""
        self._count += 1
        self._held[self._count] = delivery
        deadline = delivery.outline.deadline_at_ms
        if deadline is not None:
            heapq.heappush(self._deadlines, (deadline, self._count))

    def take_late(self, now_ms: int) -> list[Delivery]:
        """Give those whose deadline has passed: they end, whoever holds them."""
        late = []
        while self._deadlines and self._deadlines[0][0] <= now_ms:
            late.append(self._held.pop(heapq.heappop(self._deadlines)[1]))
        return late

    def take_all(self) -> list[Delivery]:
        """Give all of them, in the order in which they came."""
        held = list(self._held.values())
        self.clear()
        return held

    def clear(self) -> None:
        """Forget all of them."""
        self._held.clear()
        self._deadlines.clear()

"""Who is next: deliveries of one class, fair between tenants, in order for each partition; pure.

Stride scheduling (Waldspurger and Weihl, 1995): each tenant has a position that moves on by
1 / weight with each turn, and the one that is furthest back is next. A tenant that comes anew
begins where the others are, so that neither 100,000 waiting intents nor a long absence buy turns.
"""

import heapq
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from typing import Generic, Protocol, TypeVar

__all__ = ["FairQueue", "Queued"]


class Queued(Protocol):
    """What stands in line."""

    @property
    def tenant(self) -> str:
        """For whom it is."""
        ...

    @property
    def line(self) -> object:
        """Those of one line stay in order; one that cannot run holds up its line only."""
        ...


Item = TypeVar("Item", bound=Queued)


class FairQueue(Generic[Item]):
    """Items that wait for their turn."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        """Begin empty; a tenant without a weight has 1."""
        self._weights = weights
        self._tenants: dict[str, OrderedDict[object, deque[Item]]] = {}
        self._turns: list[tuple[float, int, str]] = []  # position, when it came, tenant
        self._arrivals = 0
        self._now = 0.0
        self._count = 0

    def __len__(self) -> int:
        """Count the items."""
        return self._count

    def add(self, item: Item) -> None:
        """Put an item at the end of its line."""
        lines = self._tenants.get(item.tenant)
        if lines is None:
            lines = self._tenants[item.tenant] = OrderedDict()
            self._arrivals += 1
            heapq.heappush(self._turns, (self._now, self._arrivals, item.tenant))
        lines.setdefault(item.line, deque()).append(item)
        self._count += 1

    def take(self, may_run: Callable[[Item], bool]) -> Item | None:
        """Take the next item that may run; None when there is none."""
        passed_over: list[tuple[float, int, str]] = []
        taken: Item | None = None
        while self._turns and taken is None:
            turn = heapq.heappop(self._turns)
            position, _, tenant = turn
            taken = self._take_of(tenant, may_run)
            if taken is None:
                passed_over.append(turn)
            else:
                self._now = max(self._now, position)
                self._move_on(tenant, position)
        for turn in passed_over:
            heapq.heappush(self._turns, turn)
        return taken

    def clear(self) -> None:
        """Forget everything."""
        self._tenants.clear()
        self._turns.clear()
        self._count = 0

    def _take_of(self, tenant: str, may_run: Callable[[Item], bool]) -> Item | None:
        lines = self._tenants[tenant]
        for line, items in lines.items():
            if may_run(items[0]):
                self._count -= 1
                item = items.popleft()
                if items:
                    lines.move_to_end(line)
                else:
                    del lines[line]
                return item
        return None

    def _move_on(self, tenant: str, position: float) -> None:
        if not self._tenants[tenant]:
            del self._tenants[tenant]
            return
        self._arrivals += 1
        step = 1 / self._weights.get(tenant, 1.0)
        heapq.heappush(self._turns, (position + step, self._arrivals, tenant))

"""Who is next: deliveries of one class, fair between tenants, in order for each partition; pure.

Stride scheduling (Waldspurger and Weihl, 1995): each tenant has a position that moves on by
1 / weight with each turn, and the one that is furthest back is next. A tenant that comes anew
begins where the others are, so that neither 100,000 waiting intents nor a long absence buy turns.

What stands together in one line (a partition, and the providers that may serve it) can usually run,
or not, together. So each line has its own order of tenants, and a line that cannot run costs one
look, however many tenants wait in it.
"""

import heapq
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

__all__ = ["FairQueue", "Queued"]


class Queued(Protocol):
    """What can stand in line."""

    @property
    def tenant(self) -> str:
        """The tenant whose turn it takes."""
        ...

    @property
    def line(self) -> Hashable:
        """A tenant's items of one line stay in order, and hold up no other line."""
        ...


Item = TypeVar("Item", bound=Queued)

#: A tenant's turn in a line: position, when it came, tenant.
_Turn = tuple[float, int, str]


@dataclass(eq=False)
class _Line(Generic[Item]):
    items: dict[str, deque[Item]] = field(default_factory=dict)
    turns: list[_Turn] = field(default_factory=list)


class FairQueue(Generic[Item]):
    """Items that wait for their turn."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        """Begin empty; a tenant without a weight has 1."""
        self._weights = weights
        self._lines: dict[Hashable, _Line[Item]] = {}
        self._positions: dict[str, float] = {}
        self._waiting: dict[str, int] = {}  # items of each tenant
        self._arrivals = 0
        self._now = 0.0
        self._count = 0

    def __len__(self) -> int:
        """Count the items."""
        return self._count

    def add(self, item: Item) -> None:
        """Put an item at the end of its line."""
        tenant = item.tenant
        line = self._lines.setdefault(item.line, _Line())
        if tenant not in self._waiting:
            self._waiting[tenant] = 0
            self._positions[tenant] = self._now
        if tenant not in line.items:
            line.items[tenant] = deque()
            self._queue_up(line, tenant)
        line.items[tenant].append(item)
        self._waiting[tenant] += 1
        self._count += 1

    def take(
        self,
        may_run: Callable[[Item], bool],
        *,
        is_blocked: Callable[[Hashable], bool] = lambda _line: False,
    ) -> Item | None:
        """Take the next item that may run; None when there is none.

        `is_blocked` is asked once for each line; nothing of a blocked line is looked at.
        """
        passed_over: list[tuple[_Line[Item], _Turn]] = []
        open_lines = [line for key, line in self._lines.items() if not is_blocked(key)]
        taken: Item | None = None
        while taken is None:
            line = min((one for one in open_lines if one.turns), key=_first, default=None)
            if line is None:
                break
            turn = heapq.heappop(line.turns)
            tenant = turn[2]
            if turn[0] < self._positions[tenant]:
                # It has had a turn in another line since. It waits here as long as before: with a
                # new place, the line that was served would always be the first again.
                heapq.heappush(line.turns, (self._positions[tenant], *turn[1:]))
            elif may_run(line.items[tenant][0]):
                taken = self._take(line, tenant)
            else:
                passed_over.append((line, turn))
        for line, turn in passed_over:
            heapq.heappush(line.turns, turn)
        return taken

    def heads(self) -> Iterator[Item]:
        """Give each tenant's first item of each line: none waits longer than one of these."""
        for line in self._lines.values():
            for items in line.items.values():
                yield items[0]

    def take_all(self) -> list[Item]:
        """Give all items, each tenant's of one line in their order, and forget them."""
        found = [
            item for line in self._lines.values() for items in line.items.values() for item in items
        ]
        self.clear()
        return found

    def clear(self) -> None:
        """Forget everything."""
        self._lines.clear()
        self._positions.clear()
        self._waiting.clear()
        self._count = 0

    def _take(self, line: _Line[Item], tenant: str) -> Item:
        items = line.items[tenant]
        item = items.popleft()
        self._count -= 1
        self._waiting[tenant] -= 1
        position = self._positions[tenant]
        self._now = max(self._now, position)
        self._positions[tenant] = position + 1 / self._weights.get(tenant, 1.0)
        if items:
            self._queue_up(line, tenant)
        else:
            del line.items[tenant]
            if not line.items:
                del self._lines[item.line]
        if not self._waiting[tenant]:
            del self._waiting[tenant], self._positions[tenant]
        return item

    def _queue_up(self, line: _Line[Item], tenant: str) -> None:
        self._arrivals += 1
        heapq.heappush(line.turns, (self._positions[tenant], self._arrivals, tenant))


def _first(line: _Line[Item]) -> _Turn:
    return line.turns[0]

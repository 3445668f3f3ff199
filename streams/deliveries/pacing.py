"""When a delivery may go out: spacing for each recipient's user, and limits over all; pure."""

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Pace", "PacedQueue"]

MINUTE_S, HOUR_S = 60.0, 3_600.0
Item = TypeVar("Item")
#: When a delivery was asked for: a timestamp, then whatever tells equal ones apart.
Order = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast deliveries may go out."""

    spacing_s: float = 45.0  # between two for one user
    per_minute: int = 10  # over all users
    per_hour: int = 100


class PacedQueue(Generic[Item]):
    """Deliveries in order, user by user; `now` is wall time in seconds: it outlives restarts."""

    def __init__(self, pace: Pace, *, user_of: Callable[[Item], str]) -> None:
        """Begin empty; `user_of` tells for which user an item is."""
        self._pace = pace
        self._user_of = user_of
        self._waiting: dict[str, list[tuple[Order, int, Item]]] = {}  # by user, a heap
        self._last: dict[str, float] = {}
        self._sent: deque[float] = deque()
        self._arrivals = 0

    def __len__(self) -> int:
        """Count what waits."""
        return sum(map(len, self._waiting.values()))

    def add(self, item: Item, *, order: Order) -> None:
        """Put a delivery in line, at the place that `order` gives it among its user's."""
        self._arrivals += 1
        line = self._waiting.setdefault(self._user_of(item), [])
        heapq.heappush(line, (order, self._arrivals, item))

    def sent(self, user: str, at: float) -> None:
        """Note a delivery that went out, also one before a restart."""
        self._last[user] = max(at, self._last.get(user, at))
        self._sent.append(at)

    def wait_s(self, now: float) -> float | None:
        """Seconds until the next delivery may go out; None when nothing waits."""
        if not self._waiting:
            return None
        user = min(self._ready_at(user, now) for user in self._waiting)
        return max(0.0, user - now, self._overall(now) - now)

    def take(self, now: float) -> Item | None:
        """Take the delivery whose turn it is, and note that it went out."""
        user = self._next_user(now)
        if user is None:
            return None
        line = self._waiting[user]
        *_, item = heapq.heappop(line)
        if not line:
            del self._waiting[user]
        self.sent(user, now)
        return item

    def _next_user(self, now: float) -> str | None:
        if self._overall(now) > now:
            return None
        ready = [user for user in self._waiting if self._ready_at(user, now) <= now]
        return min(ready, key=lambda user: self._waiting[user][0][:2], default=None)

    def _ready_at(self, user: str, now: float) -> float:
        last = self._last.get(user)
        if last is None or last > now + HOUR_S:  # a clock that was wrong holds nobody up
            return now
        return last + self._pace.spacing_s

    def _overall(self, now: float) -> float:
        """Give when the limits over all users allow the next one."""
        while self._sent and self._sent[0] <= now - HOUR_S:
            self._sent.popleft()
        recent = sorted(at for at in self._sent if at <= now + HOUR_S)
        at = now
        for most, seconds in ((self._pace.per_minute, MINUTE_S), (self._pace.per_hour, HOUR_S)):
            if len(recent) >= most:
                at = max(at, recent[-most] + seconds)
        return at

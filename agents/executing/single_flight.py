"""One at a time for each key: who comes second waits, and finds what the first one left."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

__all__ = ["SingleFlight"]


class SingleFlight:
    """Locks by key that vanish with their last user."""

    def __init__(self) -> None:
        """Begin without a lock."""
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def turn(self, key: str) -> AsyncIterator[None]:
        """Wait for the turn, in order of arrival, and hold it."""
        lock, users = self._locks.get(key, (asyncio.Lock(), 0))
        self._locks[key] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks[key]
            self._locks[key] = (lock, users - 1)
            if users == 1:
                del self._locks[key]

"""What one worker of all does: the one that has lane 0."""

import asyncio
from collections.abc import Awaitable, Callable

__all__ = ["LaneZero"]


class LaneZero:
    """Services that are to run once; each fences whoever ran it before."""

    def __init__(self, *services: Callable[[], Awaitable[None]]) -> None:
        """Keep them; each runs until it is cancelled."""
        self._services = services

    async def run(self) -> None:
        """Run all of them until cancelled."""
        await asyncio.gather(*(service() for service in self._services))

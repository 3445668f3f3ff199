"""What changes while one looks: one reading a tick for all who look, over server-sent events.

A reader gets the newest state whenever it is ready for one, and never a queue of old ones. While
nobody looks nothing is read.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import ClassVar

from aiohttp import web

from agents.clock import Clock

__all__ = ["Hub", "live_now"]

#: So often it is read while somebody looks.
TICK_S = 3.0
#: Proxies close what says nothing for a minute.
PING_S = 15.0
#: A stream ends after this long, and is begun again: whoever may not look any more is out then.
LIFE_S = 600.0


class Hub:
    """One text for many readers."""

    KEY: ClassVar[web.AppKey["Hub"]]

    def __init__(self, render: Callable[[], Awaitable[str]], *, clock: Clock) -> None:
        """Keep what gives the newest text."""
        self._render = render
        self._clock = clock
        self._readers = 0
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self.text = ""
        #: How often it was rendered: all readers together cause one a tick.
        self.ticks = 0

    async def follow(self, send: Callable[[str], Awaitable[None]]) -> None:
        """Send each new text to one reader, and a comment when nothing is new for a while."""
        until = self._clock.monotonic() + LIFE_S
        self._readers += 1
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._tick())
        sent = None
        try:
            while self._clock.monotonic() < until:
                if self.text and self.text != sent:
                    sent = self.text
                    await send(event_of(sent))
                changed = self._changed
                try:
                    async with asyncio.timeout(PING_S):
                        await changed.wait()
                except TimeoutError:
                    await send(": still here\n\n")
        finally:
            self._readers -= 1

    async def close(self) -> None:
        """End it; readers are gone, or go with the server."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _tick(self) -> None:
        while self._readers:
            self.text = await self._render()
            self.ticks += 1
            self._changed.set()
            self._changed = asyncio.Event()
            await self._clock.sleep(TICK_S)


Hub.KEY = web.AppKey("hub", Hub)


def event_of(text: str) -> str:
    """Write a text as one event: each of its lines is a line of data."""
    return "".join(f"data: {line}\n" for line in text.splitlines()) + "\n"


async def live_now(request: web.Request) -> web.StreamResponse:
    """Send the first page's state as long as its reader looks."""
    response = web.StreamResponse(
        headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}
    )
    await response.prepare(request)

    async def send(text: str) -> None:
        await response.write(text.encode())

    with suppress(ConnectionResetError, ConnectionAbortedError):  # the reader has left
        await request.app[Hub.KEY].follow(send)
    return response

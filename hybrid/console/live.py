"""What changes while one looks: one reading a tick for all who look, over server-sent events.

A reader gets the newest state whenever it is ready for one, and never a queue of old ones. While
nobody looks nothing is read.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress

from aiohttp import web

from agents.clock import Clock
from hybrid.console.access import SESSION

__all__ = ["HUBS", "STREAMS", "Hub", "Streams", "event_of", "live"]

#: So often it is read while somebody looks.
TICK_S = 3.0
#: Proxies close what says nothing for a minute.
PING_S = 15.0
#: A stream ends after this long, and is begun again: whoever may not look any more is out then.
LIFE_S = 600.0
#: A browser has six connections to a host: where a reader has more streams than this, in windows
#: side by side, the oldest ends and is asked for again, so that the others and the pages go on.
MOST_STREAMS = 4
#: A stream that has ended is asked for again after so many milliseconds.
AGAIN_MS = 3000


class Hub:
    """One text for many readers."""

    def __init__(
        self, render: Callable[[], Awaitable[str]], *, clock: Clock, tick_s: float = TICK_S
    ) -> None:
        """Keep what gives the newest text, and how often it is asked."""
        self._tick_s = tick_s
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
            self.text = ""  # what was known when the last one left is old
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
                if self._task.done():  # it could not be rendered: the reader asks again
                    return
        finally:
            self._readers -= 1

    async def close(self) -> None:
        """End it; readers are gone, or go with the server."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _tick(self) -> None:
        try:
            while self._readers:
                self.text = await self._render()
                self.ticks += 1
                self._wake()
                await self._clock.sleep(self._tick_s)
        except Exception:  # readers ask again
            logging.getLogger("aiohttp.web").exception("a live part failed")
        finally:
            self._wake()

    def _wake(self) -> None:
        """Wake who waits; who comes later waits anew, and does not spin."""
        self._changed.set()
        self._changed = asyncio.Event()


class Streams:
    """The streams of each reader, of whom each has a few at once; the newest go on."""

    def __init__(self, most: int = MOST_STREAMS) -> None:
        """Begin without any."""
        self._most = most
        self._open: dict[str, list[asyncio.Task[None]]] = {}

    def close(self) -> None:
        """End all of them: the server stops."""
        for task in [task for mine in self._open.values() for task in mine]:
            task.cancel()

    async def run(self, reader: str, stream: Coroutine[None, None, None]) -> None:
        """Run a stream to its end, or until newer ones of its reader take its place."""
        task = asyncio.create_task(stream)
        mine = self._open.setdefault(reader, [])
        mine.append(task)
        while len(mine) > self._most:
            mine.pop(0).cancel()
        try:
            await asyncio.wait({task})
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error
        finally:
            task.cancel()
            if task in mine:
                mine.remove(task)
            if not mine and self._open.get(reader) is mine:
                del self._open[reader]


HUBS: web.AppKey[Mapping[str, Hub]] = web.AppKey("hubs", Mapping)
STREAMS = web.AppKey("streams", Streams)


def event_of(text: str) -> str:
    """Write a text as one event: each of its lines is a line of data."""
    return "".join(
        (f"retry: {AGAIN_MS}\n", *(f"data: {line}\n" for line in text.splitlines()), "\n")
    )


async def live(request: web.Request) -> web.StreamResponse:
    """Send a page's newest state as long as its reader looks."""
    hub = request.app[HUBS].get(request.match_info["page"])
    if hub is None:
        raise web.HTTPNotFound(text="there is no such stream\n")
    response = web.StreamResponse(
        headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}
    )
    await response.prepare(request)

    async def send(text: str) -> None:
        await response.write(text.encode())

    with suppress(ConnectionResetError, ConnectionAbortedError):  # the reader has left
        await request.app[STREAMS].run(_reader(request), hub.follow(send))
    return response


def _reader(request: web.Request) -> str:
    """Tell readers apart: by their session, or else by where they are."""
    session = request.get(SESSION)
    return (
        session.form_token if session else f"{request.remote} {request.headers.get('User-Agent')}"
    )

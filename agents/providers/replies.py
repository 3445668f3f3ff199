"""What comes back from a provider: an answer, whole or in a stream.

It is data until proven otherwise: read as plain JSON, every field checked. What was billed is
priced even where the answer itself cannot be used: such a reply carries its `failure`.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from typing import Any, Protocol

from agents.deciding.failures import Failure
from agents.providers.assembly import Assembly, ChatReply, UnreadableReplyError
from agents.providers.bodies import document_of
from schemas.vocabulary import FailureKind

__all__ = [
    "Bytes",
    "ChatReply",
    "StalledError",
    "UnreadableReplyError",
    "read_reply",
    "read_stream",
]

#: Bytes of a line of a stream; no answer has longer ones.
MOST_LINE = 8 * 1024 * 1024
DATA = b"data:"


class StalledError(Exception):
    """Raised when a streamed answer does not begin, or pauses, for too long."""

    def __init__(self, what: str, limit_s: float) -> None:
        """Keep a stable code; `what` is `first_token` or `idle`."""
        said = "no answer began within" if what == "first_token" else "the answer paused for"
        super().__init__(f"{said} {limit_s:g} s")
        self.code = f"{what}_timeout"


class Bytes(Protocol):
    """The body of an HTTP answer as it comes."""

    def aiter_bytes(self) -> AsyncIterator[bytes]:
        """Give its pieces as they arrive."""
        ...

    async def aclose(self) -> None:
        """End the answer, read or not, and free its connection."""
        ...


def read_reply(body: bytes, whole: Assembly) -> ChatReply:
    """Read an answer leniently into an assembly; raises UnreadableReplyError and nothing else."""
    whole.add(document_of(body))
    return whole.reply()


async def read_stream(
    opening: Awaitable[Bytes], whole: Assembly, *, first_s: float, idle_s: float
) -> ChatReply:
    """Put a streamed answer together; raises StalledError, UnreadableReplyError.

    `opening` gives the body; it is closed whatever happens, which ends the call. Until the answer
    itself begins it has `first_s`, whatever else is sent before, and again after each piece of
    reasoning; after that `idle_s` a piece.
    """
    clock = asyncio.get_running_loop().time
    since = clock()
    body = await _within(opening, "first_token", first_s)
    events = _events(body)
    try:
        while not whole.ended:
            what, limit, left = "idle", idle_s, idle_s
            if not whole.begun:
                what, limit, left = "first_token", first_s, first_s - (clock() - since)
            event = await _within(anext(events, None), what, limit, left_s=left)
            if event is None:
                break
            thoughts = whole.thoughts
            whole.add(document_of(event))
            since = clock() if whole.thoughts > thoughts else since
    except StalledError as error:
        whole.broken(Failure(FailureKind.TIMEOUT, error.code, str(error), 200))
        if not whole.billed:
            raise
    except Exception as error:
        # Whatever the transport raises: an answer whose bill was seen is not lost with it.
        message = f"the answer broke off ({type(error).__name__})"
        whole.broken(Failure(FailureKind.CONNECTION, "connection", message, 200))
        if not whole.billed:
            raise
    finally:
        await events.aclose()
        await body.aclose()
    return whole.reply()


async def _events(body: Bytes) -> AsyncGenerator[bytes]:
    """Give the data of server-sent events; a body that has none is given whole."""
    left, other, seen = b"", b"", False
    async for piece in body.aiter_bytes():
        *lines, left = (left + piece).split(b"\n")
        for line in lines:
            if line.startswith(DATA):
                seen = True
                data = line[len(DATA) :].strip()
                if data == b"[DONE]":
                    return
                yield data
            elif not seen:
                other = (other + line)[:MOST_LINE]
        left = left[:MOST_LINE]
    if left.startswith(DATA):
        yield left[len(DATA) :].strip()
    elif not seen:
        yield other + left


async def _within(
    step: Awaitable[Any], what: str, limit_s: float, *, left_s: float | None = None
) -> Any:  # noqa: ANN401 - bytes, or a body of them
    try:
        async with asyncio.timeout(limit_s if left_s is None else left_s):
            return await step
    except TimeoutError:
        raise StalledError(what, limit_s) from None

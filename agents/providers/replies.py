"""What comes back from a provider: a chat completion, whole or in a stream.

It is data until proven otherwise: read as plain JSON, every field checked. What was billed is
priced even where the answer itself cannot be used: such a reply carries its `failure`.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from agents.deciding.failures import Failure, text_of
from agents.pricing.prices import NO_TIER, Charge
from agents.pricing.usage import Usage, read_usage
from agents.providers.bodies import (
    content_of,
    document_of,
    embedded_failure,
    error_in,
    fields_of,
    text,
)
from schemas.base import whole_text
from schemas.vocabulary import FailureKind

__all__ = [
    "Bytes",
    "ChatReply",
    "StalledError",
    "UnreadableReplyError",
    "read_reply",
    "read_stream",
]

#: A line of a stream beyond this is none of a chat's.
MOST_LINE = 8 * 1024 * 1024
DATA = b"data:"
#: Failures of the connection, which no longer matter when the answer has come to its end.
LATE = frozenset({FailureKind.TIMEOUT, FailureKind.CONNECTION})


@dataclass(frozen=True, slots=True)
class ChatReply:
    """What came back; `usage` None when the provider did not say."""

    content: str
    served_model: str
    finish_reason: str
    usage: Usage | None
    request_id: str
    http_status: int = 200
    #: The service tier that served the call, where the provider says so.
    tier: str = ""
    charge: Charge = NO_TIER
    #: Seconds for which the provider wants no further call.
    rest_s: float = 0.0
    #: Why it is no answer although it was paid for.
    failure: Failure | None = None


class UnreadableReplyError(Exception):
    """Raised when a 200 is not a chat completion, and says nothing of what it cost."""

    def __init__(self, failure: Failure) -> None:
        """Keep what it is instead."""
        super().__init__(failure.code)
        self.failure = failure


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
        """Give its pieces."""
        ...

    async def aclose(self) -> None:
        """Give the connection back."""
        ...


def read_reply(body: bytes, request_id: str, *, now: datetime) -> ChatReply:
    """Read a chat completion leniently; raises UnreadableReplyError and nothing else."""
    whole = _Assembly(now)
    whole.add(document_of(body))
    return whole.reply(text_of(request_id))


async def read_stream(
    opening: Awaitable[Bytes], *, first_s: float, idle_s: float, now: datetime
) -> ChatReply:
    """Put a streamed chat completion together; raises StalledError, UnreadableReplyError.

    `opening` gives the body; it is closed whatever happens, which ends the call. Until the answer
    itself begins it has `first_s`, whatever else is sent before, and again after each piece of
    reasoning; after that `idle_s` a piece.
    """
    clock = asyncio.get_running_loop().time
    since = clock()
    body = await _within(opening, "first_token", first_s)
    whole, events = _Assembly(now), _events(body)
    try:
        while True:
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
    return whole.reply("")


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


class _Assembly:
    """A chat completion in the making, of one document or of many chunks."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._content: list[str] = []
        self._refusal: list[str] = []
        self._model = self._finish = self._tier = ""
        self._usage: Usage | None = None
        self._failure: Failure | None = None
        self._answered = False
        #: Whether the answer itself has begun, and pieces of reasoning, before it or beside it.
        self.begun, self.thoughts = False, 0

    @property
    def billed(self) -> bool:
        """Whether it is known what it costs."""
        return self._usage is not None

    def add(self, chunk: Any) -> None:  # noqa: ANN401 - foreign JSON
        """Take what a document or chunk says; what is odd in it is passed over."""
        self._model = text(chunk.get("model")) or self._model
        self._tier = text(chunk.get("service_tier")) or self._tier
        self._usage = read_usage(chunk.get("usage")) or self._usage
        choices = chunk.get("choices")
        choice = fields_of(choices[0]) if isinstance(choices, list) and choices else {}
        for error in (choice.get("error"), error_in(chunk)):
            if error:
                self.broken(embedded_failure(error, now=self._now))
        message = choice.get("message")
        self._answered |= isinstance(message, dict)
        said = fields_of(message if isinstance(message, dict) else choice.get("delta"))
        content, refusal = content_of(said.get("content")), content_of(said.get("refusal"))
        self._content.append(content)
        self._refusal.append(refusal)
        self._finish = text(choice.get("finish_reason")) or self._finish
        thought = said.get("reasoning_content") or said.get("reasoning")
        self.thoughts += bool(thought)
        self.begun = bool(self.begun or content or refusal or self._finish)

    def broken(self, failure: Failure) -> None:
        """Note that it is no answer, unless it had come to its end or was broken before."""
        if self._failure is None and not (self._finish and failure.kind in LATE):
            self._failure = failure

    def reply(self, request_id: str) -> ChatReply:
        """Give the whole; raises UnreadableReplyError for a failure whose cost nobody said."""
        failure = self._failure or self._fault()
        if failure is not None and self._usage is None and not self._finish:
            raise UnreadableReplyError(failure)
        return ChatReply(
            whole_text("".join(self._content)),
            self._model,
            self._finish,
            self._usage,
            request_id=request_id,
            tier=self._tier,
            failure=failure,
        )

    def _fault(self) -> Failure | None:
        """Tell why what came, without an error in it, is no answer."""
        refusal = "".join(self._refusal)
        if refusal and not any(self._content):
            # Not its words: an error message holds no content.
            message = "the model refused to answer"
            return Failure(FailureKind.CONTENT_FILTER, "refusal", message, 200)
        if self._finish == "error":
            message = "the provider ended the answer with an error"
            return Failure(FailureKind.SERVER_ERROR, "finish_error", message, 200)
        if not (self._finish or self._answered):
            # Who bills for it has called a model: that one was asked, and gave nothing.
            kind = FailureKind.BAD_OUTPUT if self.billed else FailureKind.SERVER_ERROR
            return Failure(kind, "unreadable_reply", "what came is no chat completion", 200)
        return None

"""What comes back from a provider: a chat completion, whole or in a stream."""

import asyncio
import json
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Any

from agents.deciding.failures import text_of
from agents.pricing.prices import NO_TIER, Charge
from agents.pricing.usage import Usage, read_usage

__all__ = ["ChatReply", "StalledError", "UnreadableReplyError", "read_reply", "read_stream"]


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


class UnreadableReplyError(Exception):
    """Raised when a 200 is not a chat completion."""


def read_reply(body: bytes, request_id: str) -> ChatReply:
    """Read a chat completion leniently: only what is used must be there."""
    try:
        document = json.loads(body)
        choice = document["choices"][0]
        content = choice["message"].get("content") or ""
        usage = document.get("usage")
        return ChatReply(
            content=str(content),
            served_model=str(document.get("model") or ""),
            finish_reason=str(choice.get("finish_reason") or ""),
            usage=read_usage(usage if isinstance(usage, Mapping) else None),
            request_id=text_of(request_id),
            tier=str(document.get("service_tier") or ""),
        )
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise UnreadableReplyError from error


class StalledError(Exception):
    """Raised when a streamed answer does not begin, or pauses, for too long."""

    def __init__(self, what: str, limit_s: float) -> None:
        """Keep a stable code; `what` is `first_token` or `idle`."""
        said = "no answer began within" if what == "first_token" else "the answer paused for"
        super().__init__(f"{said} {limit_s:g} s")
        self.code = f"{what}_timeout"


async def read_stream(opening: Awaitable[Any], *, first_s: float, idle_s: float) -> ChatReply:
    """Put a streamed chat completion together; raises StalledError, UnreadableReplyError.

    `opening` gives the SDK's stream of chunks; it is closed whatever happens, which ends the call.
    """
    begun = asyncio.get_running_loop().time()
    stream = await _within(opening, "first_token", first_s)
    try:
        left = first_s - (asyncio.get_running_loop().time() - begun)
        chunk = await _within(anext(stream, None), "first_token", first_s, left_s=left)
        whole = _Assembly()
        while chunk is not None:
            whole.add(chunk)
            chunk = await _within(anext(stream, None), "idle", idle_s)
    finally:
        await stream.close()
    return whole.reply()


async def _within(
    step: Awaitable[Any], what: str, limit_s: float, *, left_s: float | None = None
) -> Any:  # noqa: ANN401 - the SDK's own types
    try:
        async with asyncio.timeout(limit_s if left_s is None else left_s):
            return await step
    except TimeoutError:
        raise StalledError(what, limit_s) from None


class _Assembly:
    """A chat completion in the making."""

    def __init__(self) -> None:
        self._content: list[str] = []
        self._model = self._finish = self._tier = ""
        self._usage: Usage | None = None

    def add(self, chunk: Any) -> None:  # noqa: ANN401
        self._model = chunk.model or self._model
        self._tier = chunk.service_tier or self._tier
        if chunk.usage is not None:
            self._usage = read_usage(chunk.usage.model_dump())
        for choice in chunk.choices[:1]:
            self._content.append(choice.delta.content or "")
            self._finish = choice.finish_reason or self._finish

    def reply(self) -> ChatReply:
        """Give the whole; raises UnreadableReplyError when its end is missing."""
        if not self._finish:
            raise UnreadableReplyError
        content = "".join(self._content)
        return ChatReply(
            content, self._model, self._finish, self._usage, request_id="", tier=self._tier
        )

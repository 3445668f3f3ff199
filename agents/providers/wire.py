"""The way to a server: one body of bytes out, the raw answer back.

The SDK keeps what its users rely on: configuration, keys, headers, addresses, proxies, connections
and types of errors. Its typed transform of each request is passed by (ADR 17), and so is the
building of what is the same in all of them (`straight`).
"""

import json
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import quote

import httpx2  # the SDK's HTTP library: the type under which it gives an answer as it came
from openai import AsyncOpenAI, AsyncStream
from openai._types import RequestOptions

from agents.providers.straight import Answer, Straight, straight

__all__ = ["UnwritableRequestError", "Wire", "encoded"]

#: Signs that a segment of a path may hold as they are (RFC 3986 §3.3).
SEGMENT = "!$&'()*+,;=:@"
DOTS = frozenset({"", ".", ".."})
#: What is asked of a deployment at Azure's dated API.
OF_DEPLOYMENTS = frozenset({"/chat/completions", "/embeddings"})
#: Paths and kinds of headers whose way is kept; models are paths at Azure's old API.
MOST_KNOWN = 256
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


class UnwritableRequestError(Exception):
    """Raised when a request cannot be written: half a character, NaN, too deep a nest."""


def encoded(body: Mapping[str, Any]) -> bytes:
    """Write a body once, the same bytes for the same body; raises UnwritableRequestError."""
    try:
        return _ENCODER.encode(body).encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise UnwritableRequestError(type(error).__name__) from error


class Wire:
    """One server; all calls of the worker share its connections."""

    def __init__(self, client: AsyncOpenAI, *, deployments: bool = False) -> None:
        """Keep the client; with `deployments` the model is a part of the path (Azure's old one)."""
        self.client = client
        self._deployments = deployments
        #: By path and names of the headers that a call brings.
        self._known: dict[tuple[str, ...], Straight | None] = {}

    async def post(
        self, path: str, body: bytes, headers: Mapping[str, str], *, model: str, stream: bool
    ) -> Answer | httpx2.Response:
        """Send, and give the answer: read, or with `stream` as it comes.

        Raises what the SDK raises, what aiohttp raises, and UnwritableRequestError for a model that
        fits no path.
        """
        if self._deployments and path in OF_DEPLOYMENTS:
            if model in DOTS:
                message = "the model's name fits no path"
                raise UnwritableRequestError(message)
            path = f"/deployments/{quote(model, safe=SEGMENT)}{path}"
        kind = (path, *headers)
        known = self._known.get(kind)
        answer = await known.post(body, headers, stream=stream) if known else None
        if answer is not None:
            return answer
        first = await self._by_sdk(path, body, headers, stream=stream)
        if kind not in self._known:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[kind] = straight(self.client, first, headers)
        return first

    async def ask(
        self, method: Literal["GET", "POST"], path: str, headers: Mapping[str, str]
    ) -> httpx2.Response:
        """Ask about something that is there, without a body; raises what the SDK raises."""
        options: RequestOptions = {"headers": headers}
        if method == "GET":
            return await self.client.get(path, cast_to=httpx2.Response, options=options)
        return await self.client.post(path, cast_to=httpx2.Response, options=options)

    async def _by_sdk(
        self, path: str, body: bytes, headers: Mapping[str, str], *, stream: bool
    ) -> httpx2.Response:
        answer: httpx2.Response = await self.client.post(
            path,
            cast_to=httpx2.Response,
            content=body,
            options={"headers": headers},
            stream=stream,
            stream_cls=AsyncStream[Any],
        )
        return answer

    async def close(self) -> None:
        """Close the shared connections."""
        await self.client.close()

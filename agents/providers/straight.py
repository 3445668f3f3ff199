"""The short way to a server: a request that the SDK has built once, sent with other bytes.

The SDK and its HTTP library spend some 0.7 ms of a processor on each call: they build the same
address and headers anew, copy them several times, and wrap the answer. All of that is the same for
all calls of one path, so it is taken from the first one, and the rest go over the very session
that the SDK's client holds: its connections, certificates and limits (ADR 19).
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx2
from aiohttp import ClientResponse, ClientSession, ClientTimeout
from multidict import CIMultiDict
from openai import APIStatusError, AsyncOpenAI
from yarl import URL

__all__ = ["Answer", "Straight", "straight"]

#: One owner of the time limit: `SdkProvider.complete`.
NO_LIMIT = ClientTimeout()
#: What each request has of its own.
OF_THE_BODY = ("content-length", "transfer-encoding")
#: What aiohttp can decode without another library.
ENCODINGS = "gzip, deflate"
CHUNK = 16 * 1024
FIRST_OF_REDIRECTS = 300
FIRST_OF_ERRORS = 400


class Answer:
    """An answer of HTTP: headers, and the body as it comes or whole in `content`."""

    def __init__(self, response: ClientResponse, content: bytes = b"") -> None:
        """Keep an answer; `content` is its body where that was read."""
        self._response = response
        self.headers: Mapping[str, str] = response.headers
        self.content = content

    async def aiter_bytes(self) -> AsyncIterator[bytes]:
        """Give the pieces of the body as they arrive."""
        async for piece in self._response.content.iter_chunked(CHUNK):
            yield piece

    async def aclose(self) -> None:
        """End the answer, read or not, and free its connection."""
        self._response.release()


@dataclass(frozen=True, slots=True)
class Straight:
    """How requests of one path, with the same names of headers, are sent."""

    client: AsyncOpenAI
    session: ClientSession
    request: httpx2.Request
    url: URL
    headers: CIMultiDict[str]

    async def post(self, body: bytes, own: Mapping[str, str], *, stream: bool) -> Answer | None:
        """Send; None where the server points elsewhere, which the SDK follows.

        Raises APIStatusError as the SDK does, and what aiohttp raises.
        """
        headers = self.headers.copy()
        headers.update(own)
        response = await self.session.post(
            self.url,
            data=body,
            headers=headers,
            allow_redirects=False,
            timeout=NO_LIMIT,
        )
        try:
            is_answer = response.status < FIRST_OF_REDIRECTS
            body = b"" if stream and is_answer else await response.read()
        except BaseException:
            response.close()
            raise
        if is_answer:
            return Answer(response, body)
        if response.status < FIRST_OF_ERRORS:
            return None
        raise self._refused(response, body)

    def _refused(self, response: ClientResponse, body: bytes) -> APIStatusError:
        """Give the SDK's own error."""
        headers = [pair for pair in response.raw_headers if pair[0].lower() != b"content-encoding"]
        answer = httpx2.Response(
            response.status, headers=headers, content=body, request=self.request
        )
        return self.client._make_status_error_from_response(answer)  # noqa: SLF001 - there is no public way


def straight(
    client: AsyncOpenAI, first: httpx2.Response, own: Mapping[str, str]
) -> Straight | None:
    """Learn the short way from the first answer of a path; None where there is none.

    `own`: the headers that were given with that call, which each call brings itself. There is none
    where a proxy is in between, or the client is not the SDK's on aiohttp.
    """
    if first.history:
        return None
    request = first.request
    transport: Any = client._client._transport_for_url(request.url)  # noqa: SLF001 - as above
    session = getattr(transport, "client", None)
    if not isinstance(session, ClientSession) or transport.proxy is not None:
        return None
    headers = CIMultiDict(request.headers.multi_items())
    for name in (*OF_THE_BODY, *own):
        headers.popall(name, None)
    headers["accept-encoding"] = ENCODINGS
    return Straight(client, session, request, URL(str(request.url), encoded=True), headers)

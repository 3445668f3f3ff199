"""The short way to a server: as the SDK's own, from the second call on."""

import asyncio
import gzip
import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import openai
import pytest
from aiohttp import web

from agents.clock import SystemClock
from agents.providers.adapters import Common, SdkProvider
from agents.providers.building import azure_provider, openai_provider
from agents.providers.errors import ExecutionError
from agents.providers.requests import ChatRequest, Transport
from schemas.vocabulary import FailureKind
from tests.contract.test_answers import WHOLE

Handler = Callable[[web.Request], Coroutine[Any, Any, web.StreamResponse]]
#: What differs from call to call.
OF_A_CALL = {"x-client-request-id", "accept-encoding"}


@dataclass
class Server:
    """Answers each request by the next of its handlers, the last one for ever."""

    handlers: list[Handler]
    seen: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append((request.path_qs, dict(request.headers), await request.read()))
        handler = self.handlers.pop(0) if len(self.handlers) > 1 else self.handlers[0]
        return await handler(request)


async def fine(_request: web.Request) -> web.Response:
    return web.Response(
        body=WHOLE, content_type="application/json", headers={"x-request-id": "req-1"}
    )


def a_request(**more: Any) -> ChatRequest:
    return ChatRequest([{"role": "user", "content": "ü"}], str(uuid4()), **more)


def talk(
    server: Server,
    ask: Callable[[SdkProvider], Coroutine[Any, Any, Any]],
    *,
    azure: bool = False,
    **more: Any,
) -> Any:
    """Ask a provider at a server; gives what `ask` gives."""

    async def run() -> Any:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", server.handle)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        common: Common = {
            "api_key": "k",
            "timeout_s": 5,
            "concurrency": 4,
            "clock": SystemClock(),
            **more,
        }
        provider = (
            azure_provider("a", endpoint=url, api_version="2024-10-21", deployment="d", **common)
            if azure
            else openai_provider("o", base_url=f"{url}/v1", model="m", **common)
        )
        try:
            return await ask(provider)
        finally:
            await provider.close()
            await runner.cleanup()

    return asyncio.run(run())


async def twice(provider: SdkProvider) -> list[Any]:
    return [await provider.complete(a_request()) for _ in range(2)]


@pytest.mark.parametrize("azure", [False, True])
def test_the_second_call_says_on_the_wire_what_the_first_said(azure: bool) -> None:
    server = Server([fine])
    first, second = talk(server, twice, azure=azure)
    (path, headers, body), (path_2, headers_2, body_2) = server.seen
    assert (path_2, body_2) == (path, body)
    said, said_2 = (
        {name.lower(): one for name, one in each.items()} for each in (headers, headers_2)
    )
    assert said_2.keys() == said.keys()
    assert {name for name in said if said[name] != said_2[name]} <= OF_A_CALL
    assert second.request_id == first.request_id == "req-1"
    assert second.content == first.content


def test_a_header_that_only_one_call_has_is_not_kept_for_the_next() -> None:
    server = Server([fine])

    async def ask(provider: SdkProvider) -> None:
        await provider.complete(a_request(trace_headers={"traceparent": "00-1"}))
        await provider.complete(a_request(trace_headers={"traceparent": "00-2"}))
        await provider.complete(a_request())
        await provider.complete(a_request())

    talk(server, ask)
    assert [headers.get("traceparent") for _, headers, _ in server.seen] == [
        "00-1",
        "00-2",
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("status", "kind", "cause"),
    [
        (401, FailureKind.AUTH, openai.AuthenticationError),
        (429, FailureKind.RATE_LIMIT, openai.RateLimitError),
        (503, FailureKind.SERVER_ERROR, openai.InternalServerError),
    ],
)
def test_a_refusal_is_the_sdks_own_error(
    status: int, kind: FailureKind, cause: type[Exception]
) -> None:
    async def refuse(_request: web.Request) -> web.Response:
        body = gzip.compress(json.dumps({"error": {"message": "no", "code": "why"}}).encode())
        return web.Response(
            status=status,
            body=body,
            content_type="application/json",
            headers={"content-encoding": "gzip", "retry-after": "7"},
        )

    async def ask(provider: SdkProvider) -> ExecutionError:
        await provider.complete(a_request())
        with pytest.raises(ExecutionError) as raised:
            await provider.complete(a_request())
        return raised.value

    error = talk(Server([fine, refuse]), ask)
    assert error.failure.kind is kind
    assert error.failure.http_status == status
    assert isinstance(error.__cause__, cause) or error.__cause__ is None
    if kind is FailureKind.RATE_LIMIT:
        assert error.failure.retry_after_ms == 7_000


def test_a_server_that_points_elsewhere_is_followed() -> None:
    async def elsewhere(request: web.Request) -> web.Response:
        return web.Response(status=307, headers={"location": f"/else{request.path}"})

    server = Server([fine, elsewhere, elsewhere, fine])
    talk(server, twice)
    assert [path for path, _, _ in server.seen] == [
        "/v1/chat/completions",
        "/v1/chat/completions",  # the short way, which follows nothing
        "/v1/chat/completions",  # the SDK, which does
        "/else/v1/chat/completions",
    ]
    assert server.seen[3][2] == server.seen[0][2]


def test_an_answer_is_unpacked() -> None:
    async def packed(_request: web.Request) -> web.Response:
        body = gzip.compress(WHOLE)
        return web.Response(
            body=body, content_type="application/json", headers={"content-encoding": "gzip"}
        )

    first, second = talk(Server([packed]), twice)
    assert second.content == first.content != ""


def test_an_answer_that_breaks_off_is_a_lost_connection() -> None:
    async def breaks(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"content-length": "1000"})
        await answer.prepare(request)
        await answer.write(b'{"choi')
        assert request.transport is not None
        request.transport.abort()
        return answer

    async def ask(provider: SdkProvider) -> ExecutionError:
        await provider.complete(a_request())
        with pytest.raises(ExecutionError) as raised:
            await provider.complete(a_request())
        await provider.complete(a_request())
        return raised.value

    error = talk(Server([fine, breaks, fine]), ask)
    assert error.failure.kind is FailureKind.CONNECTION


def test_a_call_that_takes_too_long_is_ended_and_the_next_one_answered() -> None:
    async def hang(_request: web.Request) -> web.Response:
        await ended.wait()
        raise AssertionError

    async def ask(provider: SdkProvider) -> ExecutionError:
        await provider.complete(a_request())
        with pytest.raises(ExecutionError) as raised:
            await provider.complete(a_request(within_s=0.2))
        await provider.complete(a_request())
        ended.set()  # the server waits for its handlers
        return raised.value

    ended = asyncio.Event()
    error = talk(Server([fine, hang, fine]), ask, timeout_s=5)
    assert error.failure.kind is FailureKind.TIMEOUT


def test_a_stream_is_read_as_it_comes() -> None:
    async def stream(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await answer.prepare(request)
        for word in ("one ", "two"):
            piece = {"choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]}
            await answer.write(f"data: {json.dumps(piece)}\n\n".encode())
        last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        await answer.write(f"data: {json.dumps(last)}\n\ndata: [DONE]\n\n".encode())
        return answer

    first, second = talk(Server([stream]), twice, transport=Transport(stream=True))
    assert first.content == second.content == "one two"

"""Requests as bytes: the same for the same request, refused before they are sent, and Azure's path."""

import asyncio
import math
from typing import Any

import pytest

from agents.clock import SystemClock
from agents.providers.adapters import SdkProvider
from agents.providers.building import azure_provider, openai_provider
from agents.providers.errors import ExecutionError
from agents.providers.requests import ChatRequest
from schemas.vocabulary import FailureKind
from tests.contract.test_answers import chat

DEEP: Any = []
for _ in range(100_000):
    DEEP = [DEEP]


class Ears:
    """Answers a chat, and keeps each request's line and body as they came."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.bodies: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.lines.append(head.split("\r\n")[0])
        length = int(head.lower().split("content-length: ")[1].split("\r\n")[0])
        self.bodies.append(await reader.readexactly(length))
        writer.write(chat())
        await writer.drain()
        writer.close()

    def ask(self, *requests: ChatRequest, azure: bool = False) -> None:
        async def run() -> None:
            server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            common: Any = {"api_key": "k", "timeout_s": 5, "concurrency": 1, "clock": SystemClock()}
            provider: SdkProvider = (
                azure_provider(
                    "azure", endpoint=url, api_version="2024-10-21", deployment="d", **common
                )
                if azure
                else openai_provider("openai", base_url=f"{url}/v1", model="m", **common)
            )
            try:
                for request in requests:
                    await provider.complete(request)
            finally:
                await provider.close()
                server.close()

        asyncio.run(run())


def test_the_same_request_is_the_same_bytes() -> None:
    ears = Ears()
    request = ChatRequest(
        [{"role": "user", "content": "grüß \U0001f600"}], "a", temperature=0.5,
        max_output_tokens=9, response_schema={"type": "object"}, parameters={"seed": 1, "stop": "x"},
    )  # fmt: skip
    ears.ask(request, request)
    assert ears.bodies[0] == ears.bodies[1]
    assert ears.bodies[0].startswith('{"model":"m","messages":[{"role":"user","content":"grüß 😀"}]'.encode())  # fmt: skip


@pytest.mark.parametrize("odd", ["half \ud83d", math.nan, math.inf, object(), DEEP])
def test_what_cannot_be_written_is_never_sent(odd: Any) -> None:
    ears = Ears()
    with pytest.raises(ExecutionError) as caught:
        ears.ask(ChatRequest([{"role": "user", "content": odd}], "a"))
    failure = caught.value.failure
    assert (failure.kind, failure.code) == (FailureKind.BAD_REQUEST, "unwritable_request")
    assert ears.bodies == []


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("gpt-4o", "gpt-4o"),
        ("a/b?c#d e", "a%2Fb%3Fc%23d%20e"),
        ("ft:gpt@1", "ft:gpt@1"),
        ("..", ""),
    ],
)
def test_a_deployment_is_one_segment_of_azures_path(model: str, path: str) -> None:
    ears = Ears()
    request = ChatRequest([], "a", model=model)
    if not path:
        with pytest.raises(ExecutionError, match="unwritable_request"):
            ears.ask(request, azure=True)
        return
    ears.ask(request, azure=True)
    wanted = f"POST /openai/deployments/{path}/chat/completions?api-version=2024-10-21 HTTP/1.1"
    assert ears.lines == [wanted]

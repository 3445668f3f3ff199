"""What one call costs here: the adapter alone, beside the SDK's own typed call.

A stub in a process of its own answers at once, over loopback; whole answers, nothing else runs.
Rounds alternate, so that a busy machine slows both. Usage: python bench/adapter.py [seconds]
"""

import asyncio
import contextlib
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from openai import AsyncOpenAI, DefaultAioHttpClient

from agents.clock import SystemClock
from agents.providers.building import openai_provider
from agents.providers.requests import ChatRequest

ROUNDS, IN_FLIGHT = 3, 16
MESSAGES = [
    {"role": "system", "content": "You write short messages for one recipient. " * 4},
    {"role": "user", "content": '{"topic":"launch","tone":"warm","facts":["a","b","c"]} ' * 4},
]
ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-3.5-turbo",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "plan launch " * 20, "refusal": None},
                "finish_reason": "stop",
                "logprobs": None,
            }
        ],
        "usage": {"prompt_tokens": 100, "completion_tokens": 60, "total_tokens": 160},
    }
).encode()
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(
    ANSWER
)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = head.split(b"content-length: ")[1].split(b"\r\n")[0]
            await reader.readexactly(int(length))
            writer.write(HEAD + ANSWER)
            await writer.drain()


def _serve(port: Connection) -> None:
    async def serve() -> None:
        server = await asyncio.start_server(_answer, "127.0.0.1", 0)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())


async def _rate(call: Callable[[], Awaitable[object]], seconds: float) -> tuple[float, float]:
    """Give calls a second, and CPU milliseconds a call of this process."""
    done, ends = 0, time.monotonic() + seconds
    began, used = time.monotonic(), time.process_time()

    async def go() -> None:
        nonlocal done
        while time.monotonic() < ends:
            await call()
            done += 1

    await asyncio.gather(*(go() for _ in range(IN_FLIGHT)))
    return done / (time.monotonic() - began), (time.process_time() - used) * 1000 / done


async def _measure(port: int, seconds: float) -> dict[str, list[tuple[float, float]]]:
    url = f"http://127.0.0.1:{port}/v1"
    provider = openai_provider(
        "openai", api_key="k", base_url=url, model="gpt-3.5-turbo", timeout_s=30,
        concurrency=IN_FLIGHT, clock=SystemClock(),
    )  # fmt: skip
    bare = AsyncOpenAI(api_key="k", base_url=url, max_retries=0, http_client=DefaultAioHttpClient())

    async def typed() -> object:
        return await bare.chat.completions.create(model="gpt-3.5-turbo", messages=MESSAGES)  # type: ignore[arg-type]

    async def adapter() -> object:
        return await provider.complete(ChatRequest(MESSAGES, "attempt-1"))

    calls: dict[str, Callable[[], Awaitable[object]]] = {"adapter": adapter, "SDK, typed": typed}
    rounds: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for call in calls.values():
        await _rate(call, seconds / 4)
    for _ in range(ROUNDS):
        for name, call in calls.items():
            rounds[name].append(await _rate(call, seconds))
    await provider.close()
    await bare.close()
    return rounds


def main() -> None:
    """Print one line for each way."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 4.0
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    stub = context.Process(target=_serve, args=(there,), daemon=True)
    stub.start()
    try:
        rounds = asyncio.run(_measure(here.recv(), seconds))
    finally:
        stub.terminate()
    print(f"{ROUNDS} rounds of {seconds:g} s, {IN_FLIGHT} in flight, answers at once")
    for name, seen in rounds.items():
        rates, costs = [one[0] for one in seen], [one[1] for one in seen]
        print(
            f"  {name:<10} {statistics.median(rates):6.0f} calls/s "
            f"({min(rates):.0f} to {max(rates):.0f}), "
            f"{statistics.median(costs):.2f} ms CPU a call"
        )


if __name__ == "__main__":
    main()

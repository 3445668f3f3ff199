"""The console's pages with 3,000,000 calls on record: milliseconds for each, 20 times.

Usage: python bench/console.py [calls]
"""

import asyncio
import sys
import time
from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from agents.clock import SystemClock
from agents.log import silent
from bench.reports import FILL, OUTCOMES
from hybrid.console.serving import Place, made
from hybrid.stack.process import free_port
from schemas.settings import Settings
from streams.store.clickhouse import ClickHouse
from tests.chaos.running import running_stack

PAGES = (
    "/", "/letters", "/letters/rows", "/plans", "/intents?id=order-7", "/costs",
    "/costs?by=tenant,day&since=7d", "/costs?by=tenant,day&since=30d", "/providers", "/alerts",
    "/tail", "/settings", "/doctor",
)  # fmt: skip
TIMES = 20


def main() -> None:
    """Print one table."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 3_000_000
    with running_stack(workers=1, environment={}) as running:
        store = ClickHouse(running.settings, timeout_s=300)
        for begin in range(0, count, 500_000):
            store.command(FILL.format(count=min(500_000, count - begin)))
        store.command(OUTCOMES)
        store.close()
        print(f"{count} calls on record; milliseconds: first, median, p95 of {TIMES}")
        asyncio.run(_measure(running.settings, running.stack.addresses()["metrics"]))


async def _measure(settings: Settings, metrics: list[str]) -> None:
    port = free_port()
    host = f"127.0.0.1:{port}"
    place = Place(
        "127.0.0.1", port, is_local=True, hosts=frozenset({host}), address=f"http://{host}",
        is_tls=False,
    )  # fmt: skip
    app = made(
        settings, place, metrics=metrics, owner="bench", on_link=lambda _link: None,
        clock=SystemClock(), log=silent,
    )  # fmt: skip
    async with TestClient(TestServer(app, port=port)) as client:
        for page in PAGES:
            took = [await _one(client, page) for _ in range(TIMES)]
            first, ordered = took[0], sorted(took)
            print(f"  {page:<34} {first:6.0f} {ordered[TIMES // 2]:6.0f} "
                  f"{ordered[int(TIMES * 0.95) - 1]:6.0f}", flush=True)  # fmt: skip


async def _one(client: TestClient[web.Request, web.Application], page: str) -> float:
    begin = time.monotonic()
    async with client.get(page) as answer:
        await answer.read()
        assert answer.status in {200, 409}, page  # noqa: S101
    return 1000 * (time.monotonic() - begin)


if __name__ == "__main__":
    main()

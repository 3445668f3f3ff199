"""The console's pages with 3,000,000 calls on record, in milliseconds, and what eight tabs ask.

Each page is opened 20 times by one reader, as it comes, and 20 times with nothing known from
before. The console is as it serves: what the first page shows has been read once.

Usage: python bench/console.py [calls]
"""

import asyncio
import os
import sys
import time
from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from agents.clock import SystemClock
from agents.log import silent
from bench.reports import FILL, OUTCOMES
from hybrid.console.fresh import Fresh
from hybrid.console.ground import GROUND
from hybrid.console.serving import Place, made
from hybrid.console.sources import Sources
from hybrid.stack.process import free_port
from schemas.settings import Settings
from streams.store.clickhouse import ClickHouse
from tests.chaos.running import running_stack

PAGES = (
    "/", "/letters", "/letters/rows", "/plans", "/intents?id=order-7", "/costs",
    "/costs?by=tenant,day&since=7d", "/costs?by=tenant,day&since=30d", "/costs?by=user&since=30d",
    "/costs.csv?by=tenant,day&since=30d", "/costs/focus.csv?since=7d", "/latency",
    "/latency?since=7d", "/latency?by=tenant&since=30d", "/providers", "/alerts", "/tail",
    "/settings", "/doctor",
)  # fmt: skip
TIMES, TABS = 20, 8
Client = TestClient[web.Request, web.Application]


def main() -> None:
    """Print one table."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 3_000_000
    with running_stack(workers=1, environment={}) as running:
        store = ClickHouse(running.settings, timeout_s=300)
        for begin in range(0, count, 500_000):
            store.command(FILL.format(count=min(500_000, count - begin)))
        store.command(OUTCOMES)
        store.close()
        addresses = running.stack.addresses()
        print(f"{count} calls on record; milliseconds of {TIMES}, {os.getloadavg()[0]:.1f} busy")
        engine = addresses["pids"]["clickhouse"]
        asyncio.run(measure(running.settings, addresses["metrics"], engine))


async def measure(settings: Settings, metrics: list[str], engine: int) -> None:
    """Open each page, print what it took; `engine` is the process of ClickHouse."""
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
    sources = app[GROUND].sources
    async with TestClient(TestServer(app, port=port)) as client:
        await sources.warm()
        await asyncio.sleep(2)
        print(f"  {'':<36}{'as it comes':>21}{'anew each time':>22}{'CPU: own':>10}{'engine':>8}")
        print(f"  {'':<36}{'first':>7}{'median':>7}{'p95':>7}{'median':>15}{'p95':>7}")
        for page in PAGES:
            took = [await _one(client, page) for _ in range(TIMES)]
            anew, own, its = [], time.process_time(), _cpu(engine)
            for _ in range(TIMES):
                await _forget(sources)
                anew.append(await _one(client, page))
            own = 1000 * (time.process_time() - own) / TIMES
            its = 1000 * (_cpu(engine) - its) / TIMES
            print(f"  {page:<36}{took[0]:7.0f}{_at(took, 0.5):7.0f}{_at(took, 0.95):7.0f}"
                  f"{_at(anew, 0.5):15.0f}{_at(anew, 0.95):7.0f}{own:10.0f}{its:8.0f}", flush=True)  # fmt: skip
        await _tabs(client, sources)


async def _tabs(client: Client, sources: Sources) -> None:
    """Open one page in many tabs at once, and count what ClickHouse is asked."""
    asked = 0

    def hear(*_: object) -> None:
        nonlocal asked
        asked += 1

    sources.on_query = hear
    for tabs in (1, TABS):
        await _forget(sources)
        asked = 0
        took = await asyncio.gather(*(_one(client, "/costs?since=7d") for _ in range(tabs)))
        print(f"  /costs?since=7d in {tabs} tabs at once: {max(took):.0f} ms, {asked} queries")


async def _forget(sources: Sources) -> None:
    """Have everything asked anew but the month's forecast, which is good for minutes."""
    sources.kept.forget()
    for one in vars(sources).values():
        if isinstance(one, Fresh) and one is not sources.month:
            if one._task is not None:  # noqa: SLF001 - what is cut off would be measured too
                await asyncio.wait({one._task})  # noqa: SLF001 - the same
            one.forget()


def _cpu(process: int) -> float:
    """Seconds of CPU of a process."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _at(took: list[float], share: float) -> float:
    return sorted(took)[max(0, int(len(took) * share) - (share > 0.5))]  # noqa: PLR2004 - of 20


async def _one(client: Client, page: str) -> float:
    begin = time.monotonic()
    async with client.get(page) as answer:
        text = await answer.text()
        assert answer.status in {200, 409}, f"{page}: {text}"  # noqa: S101
    return 1000 * (time.monotonic() - begin)


if __name__ == "__main__":
    main()

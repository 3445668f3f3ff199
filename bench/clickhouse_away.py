"""ClickHouse away under load: what results feel of it, and when its rows are complete again.

Usage: python bench/clickhouse_away.py [seconds away] [intents a second]
"""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.latency import PRODUCTION, measure
from schemas.settings import Settings
from streams.store.clickhouse import ClickHouse
from tests.chaos.oracle import read_calls
from tests.chaos.running import running_stack


def main() -> None:
    """Print one table."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 300.0
    rate = float(sys.argv[2]) if len(sys.argv) > 2 else 40.0  # noqa: PLR2004 - argv
    with running_stack(workers=1, environment=PRODUCTION) as running:
        provider = {"latency_ms": 200}
        running.set_faults({"openai": provider, "azure": provider})
        pid = running.stack.addresses()["pids"]["clickhouse"]
        took = {}
        for name, away in (("before", False), ("away", True), ("after", False)):
            os.kill(pid, signal.SIGSTOP if away else signal.SIGCONT)
            length = seconds if away else 60.0
            took[name] = asyncio.run(measure(running, rate=rate, seconds=length, prefix=name))
            if away:
                os.kill(pid, signal.SIGCONT)
                back = time.monotonic()
                complete = until_complete(running.settings, running.stack.simulator_log)
    print(f"added latency at {rate:g} intents/s, ClickHouse away for {seconds:g} s and more")
    for name, added in took.items():
        p50, p99 = (added[int(len(added) * share)] for share in (0.5, 0.99))
        print(f"  {name:<7} p50 {p50:.0f} ms, p99 {p99:.0f} ms ({len(added)} intents)")
    print(f"rows complete {complete - back:.0f} s after it was back")


def until_complete(settings: Settings, log: Path) -> float:
    """Wait until every call is in ClickHouse; gives when."""
    store = ClickHouse(settings)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        calls = len(read_calls(log).entries)
        if int(store.rows("SELECT count() FROM provider_attempts FINAL")[1][0][0]) >= calls:
            break
        time.sleep(0.5)
    store.close()
    return time.monotonic()


if __name__ == "__main__":
    main()

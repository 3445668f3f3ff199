"""Memory and CPU of a worker over a long run: resident MB by minute, the slope after the warm-up.

Usage: python bench/soak.py [minutes] [intents a second]
"""

import asyncio
import os
import sys
import time
from pathlib import Path
from statistics import linear_regression

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.chaos.running import RunningStack, running_stack
from tests.chaos.traffic import Published, TrafficPlan, publish

SAMPLE_S = 5.0
#: Caches fill, code is imported: the first part of the run does not count.
WARM_UP_SHARE = 0.4


def resident_mb(pid: int) -> float:
    """Give a process's resident memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(one for one in status.splitlines() if one.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def cpu_s(pid: int) -> float:
    """Give the CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def sample(
    running: RunningStack, *, minutes: float, rate: float
) -> list[tuple[float, float]]:
    """Publish for a while, and look at the worker now and then."""
    plan = TrafficPlan(intents=int(minutes * 60 * rate), rate=rate, repeated=0.02)
    publishing = asyncio.create_task(publish(plan, running.settings, Published(), seed=1))
    samples, begin = [], time.monotonic()
    while not publishing.done():
        samples.append((time.monotonic() - begin, resident_mb(running.pids()[0])))
        if len(samples) % int(60 / SAMPLE_S) == 1:
            print(f"  {samples[-1][0] / 60:4.0f} min  {samples[-1][1]:7.1f} MB", flush=True)
        await asyncio.sleep(SAMPLE_S)
    return samples


def main() -> None:
    """Print one table."""
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    rate = float(sys.argv[2]) if len(sys.argv) > 2 else 100.0  # noqa: PLR2004 - argv
    with running_stack(workers=1, environment={"HYBRID_LOG_LEVEL": "warning"}) as running:
        faults = {"latency_ms": 100, "rate_429": 0.02, "rate_5xx": 0.02, "retry_after": "0.1"}
        running.set_faults({"openai": faults, "azure": faults})
        print(f"one worker at {rate:g} intents/s, 2 % 429, 2 % 5xx, 2 % repeated")
        pid = running.pids()[0]
        before = cpu_s(pid)
        samples = asyncio.run(sample(running, minutes=minutes, rate=rate))
        used = cpu_s(pid) - before
    steady = samples[int(len(samples) * WARM_UP_SHARE) :]
    slope = linear_regression([at / 60 for at, _ in steady], [mb for _, mb in steady]).slope
    # 187 bytes a ledger entry are meant to stay, for the deduplication window.
    ledger = rate * 60 * 187 / 1_048_576
    print(f"slope after the warm-up: {slope:.2f} MB/min, of which the ledger {ledger:.2f} MB/min")
    print(f"CPU: {used / minutes / 60 / rate * 1000:.1f} s for 1,000 intents")


if __name__ == "__main__":
    main()

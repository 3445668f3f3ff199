"""What a rival for slow calls buys and costs: 5 % of calls take ten times as long.

Usage: python bench/hedging.py [intents]
"""

import asyncio
import json
import sys
import tempfile
from decimal import Decimal
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from hybrid.stack.process import free_port
from streams.publishing.intents import open_producer
from tests.chaos.oracle import read_calls, read_outcomes
from tests.chaos.running import RunningStack, running_stack
from tests.chaos.traffic import intent

RATE = 40.0
WARM_UP = 100
MEDIAN_MS, SLOW_SHARE = 200, 0.05
#: Two regions of one vendor at one price.
CONFIG = """
[[providers]]
name = "here"
kind = "openai-compatible"
base_url = "http://127.0.0.1:{port}/v1"
model = "gpt-3.5-turbo"

[[providers]]
name = "there"
kind = "openai-compatible"
base_url = "http://127.0.0.1:{port}/v1"
model = "gpt-3.5-turbo"
"""


async def drive(running: RunningStack, count: int) -> list[int]:
    """Publish at a steady rate; give the milliseconds to each result, in order."""
    published = set()
    async with open_producer(running.settings) as client:
        for number in range(count):
            identifier, value = intent(number, prefix="hedge")
            published.add(identifier)
            document = {**json.loads(value), "type": "message_generation", "priority": "high"}
            await client.send(
                running.settings.topics.intents, json.dumps(document).encode(), identifier.encode()
            )
            await asyncio.sleep(1 / RATE)
    for _ in range(60):
        outcomes = await read_outcomes(running.settings)
        if not outcomes.lost(published):
            break
        await asyncio.sleep(0.5)
    return sorted(
        found[0]["timings"]["total_ms"]
        for name, found in outcomes.results.items()
        if int(name.rsplit("-", 1)[1]) >= WARM_UP
    )


def measure(count: int, *, hedged: bool) -> tuple[list[int], Decimal, int]:
    """Run once; give the milliseconds, what was billed, and the calls."""
    with tempfile.TemporaryDirectory() as folder:
        port, file = free_port(), Path(folder) / "hybrid.toml"
        file.write_text(CONFIG.format(port=port))
        environment = {
            "HYBRID_CONFIG": str(file),
            "HYBRID_LOG_LEVEL": "warning",
            "HYBRID_HEDGE_USD_PER_HOUR": "100",
            "HYBRID_HEDGE_SHARE": "0.07",
            **({"HYBRID_HEDGE": "high"} if hedged else {}),
        }
        with running_stack(workers=1, environment=environment, simulator_port=port) as running:
            slow = {"latency_ms": MEDIAN_MS, "rate_slow": SLOW_SHARE, "slow_factor": 10}
            running.set_faults({"openai": slow, "azure": slow})
            took = asyncio.run(drive(running, count))
            calls = read_calls(running.stack.simulator_log)
    return took, calls.billed_usd, len(calls.entries)


def main() -> None:
    """Print one table."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_500
    print(f"{count} intents, median call {MEDIAN_MS} ms, {SLOW_SHARE:.0%} take ten times as long")
    p99, bills = [], []
    for hedged in (False, True):
        took, billed, calls = measure(count, hedged=hedged)
        p99.append(took[int(len(took) * 0.99)])
        bills.append(billed)
        print(
            f"  {'hedged' if hedged else 'plain ':<7} p50 {took[len(took) // 2]} ms, p95 "
            f"{took[int(len(took) * 0.95)]} ms, p99 {p99[-1]} ms, {calls} calls, {billed} USD"
        )
    print(f"p99 falls by {p99[0] / p99[1]:.1f} ×, spend grows by {bills[1] / bills[0] - 1:.1%}")


if __name__ == "__main__":
    main()

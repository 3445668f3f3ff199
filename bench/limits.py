"""A provider's limit over three workers, and one tenant's work behind another's.

Usage: python bench/limits.py [seconds]
"""

import asyncio
import json
import re
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from streams.kafka.clients import producer
from tests.chaos.oracle import read_calls
from tests.chaos.running import RunningStack, running_stack
from tests.chaos.traffic import intent

PER_MINUTE = 60
BACKLOG = 600
LOUD, QUIET = 20_000, 10
CALL_MS = 100


async def queue(running: RunningStack, count: int, *, prefix: str, **fields: object) -> None:
    """Publish intents as fast as the broker takes them."""
    client = producer(running.settings, linger_ms=5, max_batch_size=512_000)
    await client.start()
    for number in range(count):
        identifier, value = intent(number, prefix=prefix)
        document = {**json.loads(value), "type": "message_generation", **fields}
        await client.send(
            running.settings.topics.intents, json.dumps(document).encode(), identifier.encode()
        )
    await client.flush()
    await client.stop()


def waiting(running: RunningStack) -> int:
    """Count what the workers have read and not begun."""
    found = [re.search(r"(?m)^hybrid_waiting (\S+)", running.metrics(one)) for one in range(2)]
    return sum(int(float(one[1])) for one in found if one)


def limits(seconds: float) -> None:
    """Hold a limit of calls a minute with three workers and a backlog."""
    environment = {"HYBRID_OPENAI_LIMITS": f"{PER_MINUTE},0,0", "HYBRID_LOG_LEVEL": "warning"}
    with running_stack(workers=3, environment=environment) as running:
        running.set_faults({"openai": {"latency_ms": CALL_MS}, "azure": {"latency_ms": CALL_MS}})
        asyncio.run(queue(running, BACKLOG, prefix="limited", force_provider="openai"))
        time.sleep(seconds)
        began = sorted(call["at"] for call in read_calls(running.stack.simulator_log).entries)
    windows = [sum(start <= at < start + 60 for at in began) for start in began]
    whole = [count for start, count in zip(began, windows, strict=True) if start + 60 <= began[-1]]
    print(
        f"limit {PER_MINUTE} calls/min, 3 workers, {BACKLOG} intents waiting, {seconds:.0f} s: "
        f"at most {max(windows)} in any minute, at least {min(whole)}"
    )


def tenants() -> None:
    """Let ten intents of one tenant come when 20,000 of another wait."""
    environment = {"HYBRID_LOG_LEVEL": "warning", "HYBRID_CONCURRENCY": "64"}
    with running_stack(workers=2, environment=environment) as running:
        running.set_faults({"openai": {"latency_ms": CALL_MS}, "azure": {"latency_ms": CALL_MS}})
        begun = time.monotonic()
        asyncio.run(queue(running, LOUD, prefix="loud", tenant="loud"))
        while waiting(running) < LOUD - len(read_calls(running.stack.simulator_log).entries) - 200:
            if time.monotonic() - begun > 60:  # noqa: PLR2004 - a bound
                sys.exit("the backlog was not read within 60 s")
            time.sleep(0.2)
        read_s = time.monotonic() - begun
        before = len(read_calls(running.stack.simulator_log).entries)
        since = time.time()
        asyncio.run(queue(running, QUIET, prefix="quiet", tenant="quiet"))
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            calls = read_calls(running.stack.simulator_log).entries
            ended = [one["at"] for one in calls if one["intent"].startswith("quiet")]
            if len(ended) == QUIET:
                break
            time.sleep(0.1)
        took = max(ended) - since + CALL_MS / 1000
        print(
            f"{LOUD} intents of one tenant, published and read ahead within {read_s:.0f} s, "
            f"{before} of them called when {QUIET} of another came: "
            f"those were done after {took:.1f} s, their calls of {CALL_MS} ms included"
        )


def main() -> None:
    """Print both."""
    tenants()
    limits(float(sys.argv[1]) if len(sys.argv) > 1 else 150.0)


if __name__ == "__main__":
    main()

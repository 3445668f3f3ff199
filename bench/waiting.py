"""100,000 intents that wait: what a worker's memory does, and how soon urgent work starts.

Usage: python bench/waiting.py [deferred] [ordinary]
"""

import asyncio
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.soak import resident_mb
from schemas.events import DeferralState
from schemas.outcome import RecordSource
from streams.kafka.clients import producer
from streams.messages.records import DEFERRAL_HEADER
from tests.chaos.oracle import read_calls
from tests.chaos.running import RunningStack, running_stack
from tests.chaos.traffic import intent

CALL_MS = 2_000
DUE_IN_S = 500
URGENT = 20


async def defer(running: RunningStack, count: int) -> None:
    """Put intents on the longest deferred topic, as a lane does."""
    topics, lanes = running.settings.topics, running.settings.hybrid_partitions
    now_ms = time.time_ns() // 1_000_000
    client = producer(running.settings, linger_ms=20, max_batch_size=512_000)
    await client.start()
    sent = []
    for number in range(count):
        identifier, value = intent(number, prefix="deferred")
        state = DeferralState(
            due_at_ms=now_ms + DUE_IN_S * 1000,
            count=1,
            hop=1,
            reason="rate_limit",
            intent_id=identifier,
            source=RecordSource(
                topic=topics.intents, partition=0, offset=number, timestamp=datetime.now(UTC)
            ),
        )
        headers = [(DEFERRAL_HEADER, state.to_json())]
        sent.append(
            await client.send(
                topics.deferred[-1], value, identifier.encode(), number % lanes, headers=headers
            )
        )
        if len(sent) == 5_000:  # noqa: PLR2004 - bounds what waits
            await asyncio.gather(*sent)
            sent = []
    await asyncio.gather(*sent)
    await client.stop()


async def queue(running: RunningStack, count: int) -> None:
    """Publish ordinary intents as fast as the broker takes them."""
    client = producer(running.settings, linger_ms=20, max_batch_size=512_000)
    await client.start()
    for number in range(count):
        identifier, value = intent(number, prefix="ordinary")
        await client.send(running.settings.topics.intents, value, identifier.encode())
    await client.flush()
    await client.stop()


async def be_urgent(running: RunningStack) -> dict[str, float]:
    """Publish urgent intents one by one; give when each was acknowledged."""
    client = producer(running.settings)
    await client.start()
    sent = {}
    for number in range(URGENT):
        identifier, value = intent(number, prefix="urgent")
        value = json.dumps({**json.loads(value), "priority": "critical"}).encode()
        await client.send_and_wait(running.settings.topics.urgent, value, identifier.encode())
        sent[identifier] = time.time()
        await asyncio.sleep(0.2)
    await client.stop()
    return sent


def begun(running: RunningStack, sent: dict[str, float]) -> list[float]:
    """Give the seconds from each acknowledgement to the begin of its call, in order."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        calls = {
            one["intent"]: one["at"] for one in read_calls(running.stack.simulator_log).entries
        }
        if set(sent) <= set(calls):
            return sorted(calls[name] - at for name, at in sent.items())
        time.sleep(0.2)
    sys.exit("urgent intents were not called within 60 s")


def main() -> None:
    """Print one table."""
    deferred = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    ordinary = int(sys.argv[2]) if len(sys.argv) > 2 else 100_000  # noqa: PLR2004 - argv
    environment = {"HYBRID_DEFER_DELAYS": "10,60,600", "HYBRID_LOG_LEVEL": "warning"}
    with running_stack(workers=1, environment=environment) as running:
        slow = {"latency_ms": CALL_MS}
        running.set_faults({"openai": slow, "azure": slow})
        pid = running.pids()[0]
        before = resident_mb(pid)
        asyncio.run(defer(running, deferred))
        time.sleep(10)
        print(
            f"{deferred} deferred intents, due in {DUE_IN_S} s: "
            f"{before:.0f} MB before, {resident_mb(pid):.0f} MB with them"
        )
        asyncio.run(queue(running, ordinary))
        time.sleep(5)
        print(f"{ordinary} ordinary intents waiting besides: {resident_mb(pid):.0f} MB")
        waits = begun(running, asyncio.run(be_urgent(running)))
        left = ordinary - len(read_calls(running.stack.simulator_log).entries)
        print(
            f"urgent intents, every ordinary slot busy with calls of {CALL_MS / 1000:g} s and {left} waiting: "
            f"call begins after p50 {waits[len(waits) // 2] * 1000:.0f} ms, max {waits[-1] * 1000:.0f} ms"
        )


if __name__ == "__main__":
    main()

"""Latency that the orchestrator adds: from publish to a readable result, less the provider's time.

Usage: python bench/latency.py [intents a second] [seconds]
"""

import asyncio
import json
import sys
import time
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from streams.kafka.reading import read_topic
from streams.publishing.intents import open_producer
from tests.chaos.running import RunningStack, running_stack
from tests.chaos.traffic import intent

#: A broker that has just started compiles its code for some seconds, on the same two cores.
WARM_UP_S = 20
PRODUCTION = {
    "HYBRID_SESSION_TIMEOUT": "10",
    "HYBRID_CONCURRENCY": "256",
    "HYBRID_LOG_LEVEL": "warning",
}


async def measure(
    running: RunningStack, *, rate: float, seconds: float, prefix: str = "bench"
) -> list[float]:
    """Give the added milliseconds of each intent, in order of size."""
    sent: dict[str, float] = {}
    added: dict[str, float] = {}
    count, warm_up = int(rate * seconds), int(rate * WARM_UP_S)

    async def follow() -> None:
        topic = running.settings.topics.results
        async for record in read_topic(running.settings, topic, follow=True):
            seen = time.time()
            result = json.loads(record.value or b"{}")
            begun = sent.get(result["intent_id"])
            if begun is not None:
                added[result["intent_id"]] = (seen - begun) * 1000 - result["timings"][
                    "provider_ms"
                ]
            if len(added) >= count:
                return

    watching = asyncio.create_task(follow())
    async with open_producer(running.settings) as client:
        begin = time.monotonic()
        for number in range(-warm_up, count):
            identifier, value = intent(number if number >= 0 else 10**6 - number, prefix=prefix)
            if number >= 0:
                sent[identifier] = time.time()
            await client.send(running.settings.topics.intents, value=value, key=identifier.encode())
            await asyncio.sleep(max(0.0, begin + (number + warm_up + 1) / rate - time.monotonic()))
    with suppress(TimeoutError):
        await asyncio.wait_for(watching, 30)
    return sorted(added.values())


def main() -> None:
    """Print one table."""
    rate = float(sys.argv[1]) if len(sys.argv) > 1 else 50.0
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 20.0  # noqa: PLR2004 - argv
    with running_stack(workers=1, environment=PRODUCTION) as running:
        faults = {"latency_ms": 200}
        running.set_faults({"openai": faults, "azure": faults})
        added = asyncio.run(measure(running, rate=rate, seconds=seconds))
    marks = {
        name: added[int(len(added) * share)]
        for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))
    }
    print(
        f"added latency at {rate:g} intents/s, provider at 200 ms, journal on, 1 worker, {len(added)} intents"
    )
    print("  " + ", ".join(f"{name} {value:.0f} ms" for name, value in marks.items()))


if __name__ == "__main__":
    main()

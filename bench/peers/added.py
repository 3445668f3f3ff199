"""Latency that a pipeline adds: from the send of an intent to its readable result, less the call.

The provider answers after a fixed time, so what is left is the way through Kafka and the pipeline.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aiokafka import AIOKafkaProducer

from bench.peers.counting import Results, counted_results
from bench.peers.ground import intent
from bench.peers.lineup import Pipeline, Place
from bench.peers.places import (
    START_LIMIT_S,
    Broker,
    failed,
    place_for,
    require_running,
    running_worker,
)
from hybrid.stack.process import Child

__all__ = ["CALL_MS", "RATES", "Added", "measure_added", "share_of"]

#: Of the provider.
CALL_MS = 200
#: Intents a second.
RATES = (50, 200)
WARM_UP_S = 5
#: How long after the last send a result may come and still count.
GRACE_S = 5
LOOK_S = 0.05


@dataclass(frozen=True, slots=True)
class Added:
    """The added latency of one pipeline at one rate, in milliseconds."""

    name: str
    rate: int
    """Intents a second."""
    sent: int
    answered: int
    p50_ms: float | None
    """None when it falls behind: not every intent had its result 5 s after the last one's send."""
    p99_ms: float | None


def share_of(ordered: Sequence[float], share: float) -> float:
    """Give the value below which `share` of them are."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def measure_added(
    pipeline: Pipeline, broker: Broker, folder: Path, *, seconds: float
) -> list[Added]:
    """Measure at each of RATES, one after the other, until it falls behind; raises HybridError."""
    with (
        place_for(pipeline, broker, folder, latency_ms=CALL_MS) as (place, _stub),
        running_worker(pipeline, place) as worker,
    ):
        return asyncio.run(_measure(place, worker, seconds))


async def _measure(place: Place, worker: Child, seconds: float) -> list[Added]:
    producer = AIOKafkaProducer(bootstrap_servers=place.servers, acks="all")
    await producer.start()
    measured: list[Added] = []
    try:
        async with counted_results(place.servers, place.results) as results:
            await _first_result(producer, place, worker, results)
            warm = await _send(producer, place, "warm", rate=RATES[0], seconds=WARM_UP_S)
            await _answered(results, warm)  # what a cold start left waiting is not measured
            for rate in RATES:
                sent = await _send(producer, place, f"r{rate}x", rate=rate, seconds=seconds)
                await _answered(results, sent)
                require_running(worker)
                measured.append(_added(worker.name, rate, sent, results))
                if measured[-1].p50_ms is None:
                    measured += [
                        Added(worker.name, more, 0, 0, None, None) for more in RATES if more > rate
                    ]
                    break
    finally:
        await producer.stop()
    return measured


async def _first_result(
    producer: AIOKafkaProducer, place: Place, worker: Child, results: Results
) -> None:
    key, value = intent(0, "first")
    await producer.send_and_wait(place.intents, value, key=key, partition=0)
    deadline = time.monotonic() + START_LIMIT_S
    while not results:
        require_running(worker)
        if time.monotonic() > deadline:
            raise failed(worker, f"came to no result in {START_LIMIT_S} s")
        await asyncio.sleep(LOOK_S)


async def _send(
    producer: AIOKafkaProducer, place: Place, prefix: str, *, rate: int, seconds: float
) -> dict[bytes, float]:
    """Send at an even pace, by key as any producer does; gives when each was sent, a `time.time()`."""
    sent: dict[bytes, float] = {}
    begin = time.monotonic()
    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, begin + number / rate - time.monotonic()))
        key, value = intent(number, prefix)
        sent[key] = time.time()
        await producer.send(place.intents, value, key=key)
    return sent


async def _answered(results: Results, sent: dict[bytes, float]) -> None:
    deadline = time.monotonic() + GRACE_S
    while time.monotonic() < deadline and not sent.keys() <= results.seen_at.keys():  # noqa: ASYNC110 - a deadline
        await asyncio.sleep(LOOK_S)


def _added(name: str, rate: int, sent: dict[bytes, float], results: Results) -> Added:
    added = sorted(
        (results.seen_at[key] - at) * 1000 - CALL_MS
        for key, at in sent.items()
        if key in results.seen_at
    )
    if len(added) < len(sent):
        return Added(name, rate, len(sent), len(added), None, None)
    return Added(name, rate, len(sent), len(added), share_of(added, 0.5), share_of(added, 0.99))

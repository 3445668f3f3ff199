"""How long a pipeline takes to start, and what it costs while there is nothing to do."""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

from bench.peers.counting import Results, counted_results
from bench.peers.ground import PARTITIONS, send_intents
from bench.peers.lineup import Pipeline, Place
from bench.peers.machine import usage_of_group
from bench.peers.places import (
    START_LIMIT_S,
    Broker,
    failed,
    place_for,
    require_running,
    running_worker,
)
from hybrid.stack.ground import answers
from hybrid.stack.process import Child

__all__ = ["Start", "measure_start"]

#: After the last result, until what a start leaves behind is done.
SETTLE_S = 4
LOOK_S = 0.05


@dataclass(frozen=True, slots=True)
class Start:
    """One start of a pipeline on a topic where an intent waits in each partition."""

    name: str
    ready_s: float | None
    """From the start of the process until it says it is ready; None where it never says so."""
    first_result_s: float
    """Until a consumer of committed records has read the first result."""
    last_result_s: float
    """Until it has read the last one: every partition is being worked on."""
    idle_cores: float
    """CPU seconds a second while nothing waits."""


def measure_start(
    pipeline: Pipeline, broker: Broker, folder: Path, *, idle_seconds: float
) -> Start:
    """Start it and let it idle; raises HybridError when it does not come to its results."""
    with place_for(pipeline, broker, folder, latency_ms=0) as (place, _stub):
        asyncio.run(send_intents(broker.servers, place.intents, PARTITIONS))
        return asyncio.run(_measure(pipeline, place, idle_seconds))


async def _measure(pipeline: Pipeline, place: Place, idle_seconds: float) -> Start:
    async with counted_results(place.servers, place.results) as results:
        begun = time.time()
        with running_worker(pipeline, place) as worker:
            ready_at = await _until_done(pipeline, place, worker, results)
            times = sorted(results.seen_at.values())
            await asyncio.sleep(SETTLE_S)
            before, at = usage_of_group(worker.pid), time.monotonic()
            await asyncio.sleep(idle_seconds)
            after, took = usage_of_group(worker.pid), time.monotonic() - at
            require_running(worker)
        return Start(
            name=pipeline.name,
            ready_s=ready_at - begun if ready_at is not None else None,
            first_result_s=times[0] - begun,
            last_result_s=times[-1] - begun,
            idle_cores=(after.cpu_s - before.cpu_s) / took,
        )


async def _until_done(
    pipeline: Pipeline, place: Place, worker: Child, results: Results
) -> float | None:
    """Wait until it is ready, where it says so, and every intent has its result."""
    ready_at: float | None = None
    deadline = time.monotonic() + START_LIMIT_S
    while len(results) < PARTITIONS or (pipeline.ready_path and ready_at is None):
        if pipeline.ready_path and ready_at is None:
            ready = await asyncio.to_thread(answers, place.metrics_port, pipeline.ready_path)
            ready_at = time.time() if ready else None
        require_running(worker)
        if time.monotonic() > deadline:
            raise failed(worker, f"came to {len(results)} results in {START_LIMIT_S} s")
        await asyncio.sleep(LOOK_S)
    return ready_at

"""One run: a pipeline against a backlog; its rate and its CPU over a steady window, from outside.

Results are counted by a consumer of committed records, CPU is read from /proc: so all pipelines
are measured alike, whatever they say of themselves.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aiokafka.errors import KafkaError

from bench.peers.counting import counted_results
from bench.peers.ground import TENANTS, admin, send_intents
from bench.peers.lineup import Pipeline, Place
from bench.peers.machine import cpu_of, machine_now, speed_ms, usage_of_group
from bench.peers.places import (
    START_LIMIT_S,
    Broker,
    failed,
    place_for,
    require_running,
    running_worker,
)
from hybrid.stack.process import Child

__all__ = ["Run", "Sample", "run_backlog", "window_of"]

SAMPLE_S = 0.25
COMMIT_LIMIT_S = 5
#: The window in which a pipeline is at its steady pace: shares of the results it came to.
FROM, TO = 0.1, 0.9


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at everything: a time, results so far, and CPU seconds so far."""

    at: float
    results: int
    worker_s: float = 0.0
    broker_s: float = 0.0
    stub_s: float = 0.0
    bench_s: float = 0.0
    busy_s: float = 0.0
    stolen_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Run:
    """What one run came to; cores are CPU seconds in a second of the window."""

    name: str
    latency_ms: int
    intents: int
    results: int
    again: int
    """Results of an intent that had one already."""
    committed: int
    """Intents behind the committed offsets, soon after the last result."""
    rate: float
    """Results in a second of the window."""
    cpu_s_per_1000: float
    """CPU seconds of the pipeline's process for 1,000 results in the window."""
    peak_mb: float
    window_s: float
    worker_cores: float
    broker_cores: float
    stub_cores: float
    foreign_cores: float
    """Of what is neither pipeline, broker, stub nor bench."""
    stolen_cores: float
    first_result_s: float
    """From the start of the process to the first result."""
    speed_ms: float
    """CPU milliseconds of a fixed piece of Python just before: the core's speed."""


def window_of(samples: Sequence[Sample]) -> tuple[Sample, Sample] | None:
    """Give the samples between which the pace was steady; None where there are too few."""
    total = samples[-1].results if samples else 0
    begin = next((one for one in samples if one.results and one.results >= FROM * total), None)
    if begin is None:
        return None
    end = [one for one in samples if one.results <= TO * total][-1:] or [begin]
    if end[0].at <= begin.at or end[0].results <= begin.results:
        return None
    return begin, end[0]


def run_backlog(
    pipeline: Pipeline,
    broker: Broker,
    folder: Path,
    *,
    intents: int,
    latency_ms: int,
    seconds: float,
    up_to_ms: int = 0,
    tenants: int = TENANTS,
) -> Run:
    """Run until every intent has its result, or `seconds` after the first one.

    With `up_to_ms` the provider takes log-normal times from `latency_ms` up to that.

    Raises HybridError when the pipeline ends, or comes to too few results for a figure.
    """
    with place_for(pipeline, broker, folder, latency_ms=latency_ms, up_to_ms=up_to_ms) as (
        place,
        stub,
    ):
        asyncio.run(send_intents(broker.servers, place.intents, intents, tenants=tenants))
        speed = speed_ms()
        begun = time.time()
        with running_worker(pipeline, place) as worker:
            done = asyncio.run(
                _watch(
                    pipeline,
                    place,
                    worker,
                    pids=(broker.pid, stub.pid),
                    intents=intents,
                    seconds=seconds,
                )
            )
    samples, committed, again, peak_mb, first_at = done
    window = window_of(samples)
    if window is None:
        took = samples[-1].at - begun
        how = f"came to {samples[-1].results} results in {took:.0f} s, too few for a figure"
        raise failed(worker, how)
    begin, end = window
    took, results = end.at - begin.at, end.results - begin.results
    worker_s = end.worker_s - begin.worker_s
    broker_s, stub_s = end.broker_s - begin.broker_s, end.stub_s - begin.stub_s
    known_s = worker_s + broker_s + stub_s + end.bench_s - begin.bench_s
    return Run(
        name=pipeline.name,
        latency_ms=latency_ms,
        intents=intents,
        results=samples[-1].results,
        again=again,
        committed=committed,
        rate=results / took,
        cpu_s_per_1000=worker_s / results * 1000,
        peak_mb=peak_mb,
        window_s=took,
        worker_cores=worker_s / took,
        broker_cores=broker_s / took,
        stub_cores=stub_s / took,
        foreign_cores=max(0.0, (end.busy_s - begin.busy_s - known_s) / took),
        stolen_cores=(end.stolen_s - begin.stolen_s) / took,
        first_result_s=first_at - begun,
        speed_ms=speed,
    )


async def _watch(
    pipeline: Pipeline,
    place: Place,
    worker: Child,
    *,
    pids: tuple[int, int],
    intents: int,
    seconds: float,
) -> tuple[list[Sample], int, int, float, float]:
    """Give the samples, the committed offsets, doubled results, peak memory, first result's time."""
    samples: list[Sample] = []
    begun = time.monotonic()
    first: float | None = None
    async with counted_results(place.servers, place.results) as results:
        while True:
            usage, machine = usage_of_group(worker.pid), machine_now()
            samples.append(
                Sample(
                    at=time.time(),
                    results=len(results),
                    worker_s=usage.cpu_s,
                    broker_s=cpu_of(pids[0]),
                    stub_s=cpu_of(pids[1]),
                    bench_s=time.process_time(),
                    busy_s=machine.busy_s,
                    stolen_s=machine.stolen_s,
                )
            )
            now = time.monotonic()
            if results and first is None:
                first = now
            if len(results) >= intents or (first is not None and now - first > seconds):
                break
            require_running(worker)
            if first is None and now - begun > START_LIMIT_S:
                break
            await asyncio.sleep(SAMPLE_S)
        limit_s = COMMIT_LIMIT_S if len(results) >= intents else 0
        committed = await _committed(pipeline, place, intents, within_s=limit_s)
        peak_mb = usage_of_group(worker.pid).peak_mb
        first_at = min(results.seen_at.values(), default=time.time())
        return samples, committed, results.again, peak_mb, first_at


async def _committed(pipeline: Pipeline, place: Place, intents: int, *, within_s: float) -> int:
    """Give how many intents are behind the committed offsets, all of them or after a time."""
    deadline = time.monotonic() + within_s
    async with admin(place.servers) as client:
        while True:
            try:
                offsets = await client.list_consumer_group_offsets(pipeline.group_of(place))
            except KafkaError:
                offsets = {}
            done = sum(
                int(one.offset)
                for partition, one in offsets.items()
                if partition.topic == place.intents and one.offset > 0
            )
            if done >= intents or time.monotonic() > deadline:
                return done
            await asyncio.sleep(SAMPLE_S)

"""A place for one run: a provider, topics that no run had before, and the pipeline's process."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.peers.ground import LOG, admin, running_stub
from bench.peers.lineup import Pipeline, Place
from hybrid.errors import HybridError
from hybrid.stack.process import Child, free_port

__all__ = [
    "START_LIMIT_S",
    "Broker",
    "failed",
    "place_for",
    "require_running",
    "running_worker",
]

#: Within which a pipeline has to come to its first result.
START_LIMIT_S = 60
STOP_LIMIT_S = 25


@dataclass(frozen=True, slots=True)
class Broker:
    """The bench's Kafka: its address and its process id."""

    servers: str
    pid: int


@contextmanager
def place_for(
    pipeline: Pipeline, broker: Broker, folder: Path, *, latency_ms: int, up_to_ms: int = 0
) -> Iterator[tuple[Place, Child]]:
    """Give a place with its topics, and the provider's process; raises UsageError, HybridError."""
    with running_stub(folder, latency_ms=latency_ms, up_to_ms=up_to_ms) as (stub, base_url):
        prefix = f"bench-{pipeline.name}-{time.time_ns() // 1_000_000}"
        place = Place(broker.servers, base_url, prefix, folder, free_port())
        pipeline.prepare(pipeline, place)
        try:
            yield place, stub
        finally:
            asyncio.run(_forget(place))


@contextmanager
def running_worker(pipeline: Pipeline, place: Place) -> Iterator[Child]:
    """Run the pipeline's process."""
    worker = Child(
        pipeline.name,
        pipeline.command,
        log_file=place.folder / f"{place.prefix}.log",
        environment=pipeline.environment(place),
    )
    try:
        yield worker
    finally:
        worker.stop(within_s=STOP_LIMIT_S)


def require_running(worker: Child) -> None:
    """Raise HybridError, with the end of its log, when the process has ended."""
    if worker.exit_status() is not None:
        raise failed(worker, f"ended with status {worker.exit_status()}")


def failed(worker: Child, how: str) -> HybridError:
    """Give the error of a process that came to nothing, with what it said last."""
    return HybridError(f"{worker.name} {how}{LOG}{worker.tail(8) or 'nothing'}")


async def _forget(place: Place) -> None:
    """Delete the run's topics, so that one run's records are no burden of the next."""
    async with admin(place.servers) as client:
        names = [one for one in await client.list_topics() if one.startswith(place.prefix)]
        await client.delete_topics(names)

"""What an intent costs by how much there is: waiting intents, tenants, entries of the ledger.

Usage: python bench/curves.py [rounds]; it needs `cc`. Each pair of runs differs in one of them; the
CPU of the worker for 1,000 intents, in the steady window, should be the same in both.
"""

import asyncio
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from aiokafka import AIOKafkaProducer

from bench.peers.ground import PARTITIONS, TENANTS, require_compiler
from bench.peers.lineup import Pipeline, Place, lineup
from bench.peers.places import Broker
from bench.peers.series import work_ground
from bench.peers.throughput import Run, run_backlog
from hybrid.errors import HybridError
from schemas.events import LedgerRecord
from schemas.vocabulary import WorkflowStatus

SECONDS = 8.0
USUAL = 10_000


@dataclass(frozen=True, slots=True)
class Case:
    """One run: how much there is of each."""

    name: str
    waiting: int = USUAL
    tenants: int = TENANTS
    entries: int = 0


CASES = (
    Case("1,000 waiting", waiting=1_000),
    Case("100,000 waiting", waiting=100_000),
    Case("1 tenant", tenants=1),
    Case("10,000 tenants", tenants=10_000),
    Case("1,000 ledger entries", entries=1_000),
    Case("1,000,000 ledger entries", entries=1_000_000),
)


async def fill_ledger(servers: str, topic: str, count: int) -> None:
    """Write decisions of other intents, as a worker does, evenly over the lanes."""
    now_ms = time.time_ns() // 1_000_000
    value = LedgerRecord(
        outcome_id="01a220e9-c18b-74a4-bae4-7d5f5d6a8d9f",
        status=WorkflowStatus.COMPLETED,
        topic="bench.intents",
        offset=1,
        decided_at_ms=now_ms,
    ).to_json()
    producer = AIOKafkaProducer(
        bootstrap_servers=servers, acks="all", linger_ms=20, max_batch_size=262_144
    )
    await producer.start()
    try:
        for number in range(count):
            key = f"earlier-{number:029d}".encode()
            await producer.send(topic, value, key=key, partition=number % PARTITIONS)
    finally:
        await producer.stop()


def with_ledger(pipeline: Pipeline, count: int) -> Pipeline:
    """Give the product with so many decisions in its ledger before it starts."""
    prepare: Callable[[Pipeline, Place], None] = pipeline.prepare

    def prepared(own: Pipeline, place: Place) -> None:
        prepare(own, place)
        asyncio.run(fill_ledger(place.servers, f"{place.prefix}.ledger", count))

    return replace(pipeline, prepare=prepared)


def run(case: Case, broker: Broker, folder: Path, product: Pipeline) -> Run:
    """Run one case; raises HybridError."""
    return run_backlog(
        with_ledger(product, case.entries) if case.entries else product,
        broker,
        folder,
        intents=case.waiting,
        latency_ms=0,
        seconds=SECONDS,
        tenants=case.tenants,
    )


def main(rounds: int = 3) -> int:
    """Run all cases in turns, and print a table."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    costs: dict[str, list[float]] = {case.name: [] for case in CASES}
    memory: dict[str, float] = {}
    try:
        require_compiler()
        product = lineup(["product"], python=Path(sys.executable), second=None, extra={})[0]
        with work_ground() as (broker, folder):
            run(Case("warm-up"), broker, folder, product)
            for number in range(1, rounds + 1):
                for case in CASES:
                    done = run(case, broker, folder, product)
                    costs[case.name].append(done.cpu_s_per_1000)
                    memory[case.name] = max(memory.get(case.name, 0), done.peak_mb)
                    said = f"{done.cpu_s_per_1000:.2f} CPU s per 1,000"
                    print(f"round {number}, {case.name}: {said}", flush=True)
    except HybridError as error:
        print(f"bench: {error}", file=sys.stderr)
        return error.exit_status
    print(f"{'':26} CPU s per 1,000  (spread)     of the other  peak MB")
    for few, many in zip(CASES[::2], CASES[1::2], strict=True):
        for case, other in ((few, many), (many, few)):
            mine = costs[case.name]
            ratio = median(mine) / median(costs[other.name])
            spread = f"({min(mine):.2f}-{max(mine):.2f})"
            print(
                f"{case.name:26} {median(mine):15.2f}  {spread:12} {ratio:12.2f} "
                f"{memory[case.name]:8.0f}"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:2])))

"""The whole series: rounds in which every pipeline has its turn at every measurement."""

import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench.peers.added import Added, measure_added
from bench.peers.ground import running_kafka
from bench.peers.lineup import Pipeline
from bench.peers.machine import await_quiet
from bench.peers.places import Broker
from bench.peers.starting import Start, measure_start
from bench.peers.throughput import Run, run_backlog
from hybrid.errors import HybridError

__all__ = ["MEASUREMENTS", "Plan", "Series", "measure", "work_ground"]

MEASUREMENTS = ("throughput", "latency", "start")
FOREIGN = re.compile(r"^(?:HYBRID|KAFKA|CLICKHOUSE|OPENAI|AZURE|AWS|BENCH)_")
#: A broker that has just started compiles its code while it is measured, the code of transactions
#: too: each pipeline has a first run that is not kept.
WARM_UP_INTENTS, WARM_UP_S = 4_000, 5


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured, how often and for how long."""

    measurements: Sequence[str]
    rounds: int
    intents: int
    seconds: float
    """Of a run of throughput, after its first result."""
    paced_seconds: float
    """At each rate of the added latency, and of idling."""
    latencies_ms: Sequence[int]
    """Of the provider, in the runs of throughput."""
    quiet_seconds: float = 0.0
    """How long each measurement waits, at most, for a machine on which nobody else works."""


@dataclass(slots=True)
class Series:
    """What came of it."""

    throughput: list[Run] = field(default_factory=list)
    latency: list[Added] = field(default_factory=list)
    start: list[Start] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    """A sentence for each run that came to no figure."""


@contextmanager
def work_ground() -> Iterator[tuple[Broker, Path]]:
    """Give a Kafka and a folder where no hybrid.toml lies; settings meant for others are gone.

    Raises UsageError, HybridError.
    """
    for name in [one for one in os.environ if FOREIGN.match(one)]:
        del os.environ[name]
    with tempfile.TemporaryDirectory(prefix="hybrid-bench-") as name:
        folder = Path(name)
        os.chdir(folder)
        try:
            with running_kafka(folder / "kafka") as kafka:
                assert kafka.child is not None  # noqa: S101 - it runs within its context
                yield Broker(f"127.0.0.1:{kafka.port}", kafka.child.pid), folder
        finally:
            os.chdir("/")


def measure(pipelines: Sequence[Pipeline], plan: Plan) -> Series:
    """Run the plan; one run that fails is noted, and the others go on.

    Raises UsageError, HybridError when nothing can run.
    """
    series = Series()
    with work_ground() as (broker, folder):
        for pipeline in pipelines:
            _attempt(series, "warm-up", pipeline, partial(_warm_up, pipeline, broker, folder))
        for number in range(1, plan.rounds + 1):
            for what in plan.measurements:
                for pipeline in pipelines:
                    await_quiet(plan.quiet_seconds)
                    turn = partial(_turn, series, what, pipeline, plan, broker, folder)
                    _attempt(series, f"round {number}, {what}", pipeline, turn)
    return series


def _warm_up(pipeline: Pipeline, broker: Broker, folder: Path) -> str:
    run = run_backlog(
        pipeline, broker, folder, intents=WARM_UP_INTENTS, latency_ms=0, seconds=WARM_UP_S
    )
    return f"{run.rate:.0f} intents/s"


def _turn(
    series: Series, what: str, pipeline: Pipeline, plan: Plan, broker: Broker, folder: Path
) -> str:
    """Measure one thing of one pipeline and keep it; gives it in words."""
    if what == "latency":
        added = measure_added(pipeline, broker, folder, seconds=plan.paced_seconds)
        series.latency += added
        return ", ".join(
            f"{one.p50_ms:.0f} and {one.p99_ms:.0f} ms at {one.rate}/s"
            if one.p50_ms is not None
            else f"falls behind at {one.rate}/s"
            for one in added
        )
    if what == "start":
        start = measure_start(pipeline, broker, folder, idle_seconds=plan.paced_seconds)
        series.start.append(start)
        return f"first result after {start.first_result_s:.1f} s, idle {start.idle_cores:.3f} cores"
    words = []
    for latency_ms in plan.latencies_ms:
        run = run_backlog(
            pipeline,
            broker,
            folder,
            intents=plan.intents,
            latency_ms=latency_ms,
            seconds=plan.seconds,
        )
        series.throughput.append(run)
        words.append(
            f"{run.rate:.0f} intents/s and {run.cpu_s_per_1000:.2f} CPU s per 1,000 "
            f"at {latency_ms} ms, foreign {run.foreign_cores:.2f} cores"
        )
    return "; ".join(words)


def _attempt(series: Series, when: str, pipeline: Pipeline, turn: Callable[[], str]) -> None:
    try:
        words = turn()
    except HybridError as error:
        if error.exit_status != 1:
            raise
        words = f"failed: {error}"
        series.failures.append(f"{when}: {error}")
    print(f"{when}, {pipeline.name}: {words}", file=sys.stderr, flush=True)

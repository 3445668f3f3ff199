"""Who is compared: how each pipeline is started, and what it promises."""

import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench.peers.environments import environment_python, version_in
from bench.peers.ground import LOG, create_topics
from hybrid.errors import HybridError, UsageError

__all__ = ["CONCURRENCY", "NAMES", "Pipeline", "Place", "lineup", "own_python"]

SCRIPTS = Path(__file__).with_name("pipelines")
CONCURRENCY = 256


@dataclass(frozen=True, slots=True)
class Place:
    """Where one run works: its Kafka, its provider, names of its own, a folder, a free port."""

    servers: str
    base_url: str
    prefix: str
    folder: Path
    metrics_port: int

    @property
    def intents(self) -> str:
        """The topic of the intents."""
        return f"{self.prefix}.intents"

    @property
    def results(self) -> str:
        """The topic of the results."""
        return f"{self.prefix}.results"


@dataclass(frozen=True, slots=True)
class Pipeline:
    """One way to do the job, in one process."""

    name: str
    title: str
    python: Path
    command: Sequence[str]
    environment_of: Callable[[Place], dict[str, str]]
    prepare: Callable[["Pipeline", Place], None]
    """Makes its topics."""
    group_of: Callable[[Place], str]
    """Its consumer group, whose committed offsets say how far it is."""
    kept: str
    """What a kill -9 does to its work, by the way it commits."""
    versions: dict[str, str] = field(default_factory=dict)
    ready_path: str = ""
    """Where it says over HTTP, at the metrics port, that it is ready; empty where it does not."""

    def environment(self, place: Place) -> dict[str, str]:
        """Give what it is started with; nothing of the bench's own settings reaches it."""
        return self.environment_of(place)


def _peer_environment(client: str) -> Callable[[Place], dict[str, str]]:
    def environment(place: Place) -> dict[str, str]:
        return {
            "BENCH_KAFKA": place.servers,
            "BENCH_INTENTS": place.intents,
            "BENCH_RESULTS": place.results,
            "BENCH_COSTS": f"{place.prefix}.costs",
            "BENCH_GROUP": place.prefix,
            "BENCH_BASE_URL": place.base_url,
            "BENCH_CLIENT": client,
            "BENCH_CONCURRENCY": str(CONCURRENCY),
        }

    return environment


def _peer_topics(_pipeline: Pipeline, place: Place) -> None:
    import asyncio  # noqa: PLC0415 - only here

    names = [place.intents, place.results, f"{place.prefix}.costs"]
    asyncio.run(create_topics(place.servers, names))


def _peer(
    name: str,
    *,
    title: str,
    environment: str,
    script: str,
    kept: str,
    client: str,
    arguments: Sequence[str] = (),
    shown: Sequence[str],
) -> Pipeline:
    python = environment_python(environment)
    return Pipeline(
        name=name,
        title=title,
        python=python,
        command=[str(python), str(SCRIPTS / script), *arguments],
        environment_of=_peer_environment(client),
        prepare=_peer_topics,
        group_of=lambda place: place.prefix,
        kept=kept,
        versions={one: version_in(python, one) for one in shown},
    )


def own_python(checkout: Path) -> Path:
    """Give the Python of a checkout of the product; raises UsageError where there is none."""
    python = checkout.absolute() / ".venv/bin/python"
    if not python.exists():
        message = f"{checkout}: no .venv/bin/python there; run `make .venv/.installed` in it"
        raise UsageError(message)
    return python


def _product(name: str, title: str, python: Path, extra: dict[str, str]) -> Pipeline:
    def environment(place: Place) -> dict[str, str]:
        return {
            "KAFKA_BOOTSTRAP_SERVERS": place.servers,
            "HYBRID_TOPIC_PREFIX": place.prefix,
            "OPENAI_API_KEY": "sk-none",
            "OPENAI_BASE_URL": place.base_url,
            "HYBRID_CONCURRENCY": str(CONCURRENCY),
            "HYBRID_LOG_LEVEL": "warning",
            "HYBRID_LOG_FORMAT": "json",
            "HYBRID_METRICS_PORT": str(place.metrics_port),
            **extra,
        }

    return Pipeline(
        name=name,
        title=title,
        python=python,
        command=[str(python), "-m", "hybrid", "worker"],
        environment_of=environment,
        prepare=_product_topics,
        group_of=lambda place: f"{place.prefix}.orchestrator",
        kept="loses nothing, repeats calls in flight, one result each",
        versions={
            one: version_in(python, one)
            for one in ("hybrid-orchestrator", "faust-streaming", "aiokafka", "aiohttp", "openai")
        },
        ready_path="/readyz",
    )


def _product_topics(pipeline: Pipeline, place: Place) -> None:
    done = subprocess.run(
        [str(pipeline.python), "-m", "hybrid", "topics", "ensure"],
        env={**os.environ, **pipeline.environment(place)},
        cwd=place.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        message = f"{pipeline.name} has no topics{LOG}{(done.stderr or done.stdout).strip()[-500:]}"
        raise HybridError(message)


PEERS: dict[str, Callable[[str], Pipeline]] = {
    "floor": partial(
        _peer,
        title="floor: bare aiokafka + aiohttp",
        environment="bare",
        script="run_bare.py",
        kept="repeats what was done since its last commit",
        client="aiohttp",
        shown=("aiokafka", "aiohttp", "uvloop", "orjson"),
    ),
    "openai": partial(
        _peer,
        title="bare aiokafka + openai SDK",
        environment="bare",
        script="run_bare.py",
        kept="repeats what was done since its last commit",
        client="openai",
        shown=("aiokafka", "openai", "uvloop"),
    ),
    "faststream": partial(
        _peer,
        title="FastStream + LiteLLM",
        environment="faststream",
        script="run_faststream.py",
        kept="loses what was in flight",
        client="litellm",
        shown=("faststream", "litellm", "aiokafka", "openai"),
    ),
    "quix": partial(
        _peer,
        title="Quix Streams + openai SDK",
        environment="quix",
        script="run_quix.py",
        kept="repeats what was done since its last commit",
        client="openai",
        shown=("quixstreams", "confluent-kafka", "openai"),
    ),
    "faust": partial(
        _peer,
        title="Faust agent + openai SDK",
        environment="faust",
        script="run_faust.py",
        kept="loses what was in flight",
        client="openai",
        arguments=("worker", "-l", "warn", "--without-web"),
        shown=("faust-streaming", "aiokafka", "openai"),
    ),
}
#: In the order of a round; the second product only where another checkout is named.
NAMES = ("floor", "product", "product2", "openai", "faststream", "quix", "faust")


def lineup(
    names: Sequence[str], *, python: Path, second: Path | None, extra: dict[str, str]
) -> list[Pipeline]:
    """Make ready who was asked for; `python` is the product's, `second` another checkout's.

    Raises UsageError, HybridError.
    """
    if unknown := [name for name in names if name not in NAMES]:
        message = f"--only {unknown[0]}: known are {', '.join(NAMES)}"
        raise UsageError(message)
    chosen = []
    for name in names:
        if name == "product":
            chosen.append(_product(name, "Hybrid Orchestrator", python, extra))
        elif name != "product2":
            chosen.append(PEERS[name](name))
        elif second is not None:
            chosen.append(_product(name, "Hybrid Orchestrator, second checkout", second, extra))
        else:
            message = "product2 needs --product2 CHECKOUT"
            raise UsageError(message)
    return chosen

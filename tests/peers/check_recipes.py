"""The recipes for other languages (docs/recipes.md), run as they stand against a stack of our own.

They need a JDK, Go, and Node with npm; Go's and Node's packages come from their registries. So they
are not among the tests that `make test` finds (`make recipes` runs them).
"""

import asyncio
import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka.partitioner import DefaultPartitioner

from hybrid.stack.jars import ensure_jars
from streams.kafka.reading import read_topic
from tests.chaos.running import RunningStack, running_stack

pytestmark = pytest.mark.timeout(600)
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))
    with running_stack(workers=1, environment={}) as found:
        found.set_faults({"openai": {"latency_ms": 200}, "azure": {"latency_ms": 200}})
        yield found


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )


def prints_an_outcome(running: RunningStack, command: list[str], folder: Path) -> None:
    intent_id = f"recipe-{uuid.uuid4().hex}"
    servers = running.settings.kafka_bootstrap_servers or ""
    done = run([*command, servers, intent_id], folder)
    assert done.returncode == 0, done.stderr
    topic, _, value = done.stdout.strip().splitlines()[-1].partition(" ")
    assert topic == running.settings.topics.results
    assert json.loads(value)["intent_id"] == intent_id
    assert asyncio.run(partition_of(running, intent_id)) == as_python_does(running, intent_id)


async def partition_of(running: RunningStack, intent_id: str) -> int:
    """Where the recipe has put its intent."""
    topic = running.settings.topics.intents
    async for record in read_topic(running.settings, topic):
        if record.key == intent_id.encode():
            return int(record.partition)
    raise AssertionError(intent_id)


def as_python_does(running: RunningStack, intent_id: str) -> int:
    """The same id from a producer in another language must meet the same lane."""
    numbers = list(range(running.settings.hybrid_partitions))
    return int(DefaultPartitioner()(intent_id.encode(), numbers, numbers))


def test_java(running: RunningStack) -> None:
    jars = [str(path) for path in ensure_jars(lambda _done, _all: None)]
    path = os.pathsep.join(one for one in jars if "kafka-clients" in one or "slf4j-api" in one)
    prints_an_outcome(running, ["java", "-cp", path, "Recipe.java"], EXAMPLES / "java")


def test_go(running: RunningStack, tmp_path: Path) -> None:
    folder = tmp_path / "go"
    shutil.copytree(EXAMPLES / "go", folder)
    prints_an_outcome(running, ["go", "run", "-mod=readonly", "."], folder)


def test_typescript(running: RunningStack, tmp_path: Path) -> None:
    folder = tmp_path / "typescript"
    shutil.copytree(EXAMPLES / "typescript", folder)
    for command in (["npm", "install", "--no-package-lock", "--no-audit"], ["npx", "tsc"]):
        done = run(command, folder)
        assert done.returncode == 0, done.stdout + done.stderr
    prints_an_outcome(running, ["node", "recipe.js"], folder)

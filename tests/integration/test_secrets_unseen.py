"""Keys of a running stack are nowhere: not in logs, topics, tables, metrics, nor what doctor says."""

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hybrid.stack.process import free_port
from streams.kafka.reading import read_topic
from streams.store.clickhouse import ClickHouse
from tests.chaos.running import RunningStack, running_stack
from tests.integration.driving import Case, eventually
from tests.integration.test_commands import hybrid

pytestmark = pytest.mark.integration

#: Marks every secret of the stack.
MARK = "sk-unseen-"
CONFIG = """
[[providers]]
name = "vendor"
kind = "openai"
base_url = "http://127.0.0.1:{port}/v1"
model = "gpt-3.5-turbo"
key_variables = ["KEY_A", "KEY_B"]
key_file = "{folder}/key"
headers = {{X-Team-Token = "sk-unseen-header"}}
"""


@pytest.fixture(scope="module")
def keyed(
    stack: RunningStack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[RunningStack, Path]]:
    port, folder = free_port(), tmp_path_factory.mktemp("keyed")
    (folder / "hybrid.toml").write_text(CONFIG.format(port=port, folder=folder))
    (folder / "key").write_text(f"{MARK}file\n")
    (folder / "b").write_text(f"{MARK}b\n")
    (folder / "alerts").write_text(f"{MARK}alerts\n")
    environment = {
        "HYBRID_CONFIG": str(folder / "hybrid.toml"),
        "KEY_A": f"{MARK}a",
        "KEY_B_FILE": str(folder / "b"),
        "HYBRID_ALERT_WEBHOOK": f"http://127.0.0.1:{port}/{MARK}hook",
        "HYBRID_ALERT_SECRET_FILE": str(folder / "alerts"),
        "HYBRID_BREAKER_OPEN": "1",
        "HYBRID_LOG_LEVEL": "debug",
    }
    with running_stack(
        workers=1, environment=environment, partitions=4, simulator_port=port, host=stack
    ) as running:
        running.set_faults({"openai": {"latency_ms": 1}})
        yield running, folder


@pytest.fixture
def host(stack: RunningStack) -> RunningStack:
    """Whose servers it uses."""
    return stack


def keys_of(stack: RunningStack, state: str) -> int:
    found = f'hybrid_provider_keys{{provider="vendor",state="{state}"}} '
    line = next((one for one in stack.metrics(0).splitlines() if one.startswith(found)), "")
    return int(float(line.removeprefix(found))) if line else -1


async def everything_on_topics(stack: RunningStack) -> str:
    topics = [spec.name for spec in stack.settings.topics.specs()]
    return "\n".join(
        [
            f"{topic} {one.key!r} {one.value!r} {one.headers!r}"
            for topic in topics
            async for one in read_topic(stack.settings, topic)
        ]
    )


def everything_in_tables(stack: RunningStack) -> str:
    store = ClickHouse(stack.settings)
    try:
        tables = ("provider_attempts", "workflow_outcomes", "workflow_events")
        return repr([store.rows(f"SELECT * FROM {table}") for table in tables])
    finally:
        store.close()


def logs(*stacks: RunningStack) -> str:
    """What all processes wrote; the key's own file is elsewhere."""
    folders = [one.stack.folder for one in stacks]
    files = [one for folder in folders for one in folder.rglob("*.log") if one.is_file()]
    assert {"recorder.log", "worker-0.log"} <= {one.name for one in files}
    return "\n".join(one.read_text(errors="replace") for one in files)


def test_refused_rotated_and_throttled_keys_are_seen_and_never_shown(
    keyed: tuple[RunningStack, Path], host: RunningStack
) -> None:
    stack, folder = keyed
    case = Case(stack)
    case.publish(case.intent())
    assert case.result()["provider"] == "vendor"
    assert keys_of(stack, "usable") == 3
    stack.set_faults({"openai": {"latency_ms": 1, "plan": ["401", "429"]}})
    case.publish(case.intent())
    case.wait(2)
    (folder / "key.new").write_text(f"{MARK}renewed\n")
    (folder / "key.new").replace(folder / "key")
    stack.set_faults({"openai": {"latency_ms": 1, "plan": ["401"] * 9}})
    refused = Case(stack)
    refused.publish(refused.intent(deadline_ms=2_000))
    eventually(refused.outcomes, lambda found: bool(found.dead_letters))
    eventually(lambda: keys_of(stack, "resting"), lambda count: count > 0)
    last = Case(stack)
    last.publish(last.intent())
    last.wait(1)
    names = {**os.environ, **stack.stack.environment()}
    doctor = hybrid("doctor", environment=names)
    shown = {
        "logs": logs(stack, host),
        "topics": asyncio.run(everything_on_topics(stack)),
        "tables": everything_in_tables(stack),
        "metrics": stack.metrics(0),
        "doctor": doctor.stdout + doctor.stderr,
        "supervisor": json.dumps(stack.events),
    }
    assert "vendor" in shown["doctor"]
    assert "key_refused" in shown["logs"]
    assert '"key": "KEY_A"' in shown["logs"] or '"key":"KEY_A"' in shown["logs"]
    assert [place for place, text in shown.items() if MARK in text] == []

"""`hybrid up --brokers 3`: every record three times, one broker less changes nothing."""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from hybrid.stack.brokers import Brokers, broker_names
from hybrid.stack.environment import StackOptions
from hybrid.stack.parts import Part, stop_in_order
from hybrid.stack.process import free_port
from schemas.settings import Settings
from streams.kafka.clients import admin_client
from tests.chaos.oracle import read_outcomes
from tests.chaos.running import ENVIRONMENT, ForkedStack, RunningStack
from tests.integration.driving import Case

pytestmark = pytest.mark.integration

NAMES = broker_names(3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def three(folder: Path) -> Iterator[RunningStack]:
    """Nobody supervises it: what is killed stays dead."""
    options = StackOptions(
        brokers=3,
        data_dir=folder,
        real_providers=False,
        environment={**ENVIRONMENT, "HYBRID_PARTITIONS": "3"},
    )
    stack = ForkedStack(options, report=lambda _text: None)
    try:
        stack.start()
        running = RunningStack(stack, stack.settings(), [])
        try:
            yield running
        finally:
            running.close()
    finally:
        stack.stop()


async def kept_by(admin: AIOKafkaAdminClient, topics: list[str]) -> dict[str, tuple[int, str]]:
    """The fewest replicas of any partition, and min.insync.replicas, of each topic."""
    configs = await admin.describe_configs(
        [ConfigResource(ConfigResourceType.TOPIC, name) for name in topics]
    )
    in_sync = {
        found[3]: next(entry[1] for entry in found[4] if entry[0] == "min.insync.replicas")
        for response in configs
        for found in response.resources
    }
    return {
        topic["topic"]: (
            min(len(one["replicas"]) for one in topic["partitions"]),
            in_sync[topic["topic"]],
        )
        for topic in await admin.describe_topics(topics)
    }


async def every_topic(settings: Settings) -> dict[str, tuple[int, str]]:
    async with admin_client(settings) as admin:
        return await kept_by(admin, list(await admin.list_topics()))


async def leader_of(settings: Settings, topic: str, partition: int) -> int:
    """The number of the broker that leads a partition."""
    async with admin_client(settings) as admin:
        (found,) = await admin.describe_topics([topic])
    leaders = {one["partition"]: one["leader"] for one in found["partitions"]}
    return int(leaders[partition])


@pytest.mark.timeout(300)  # eight JVMs, where a test has one
def test_three_brokers_keep_everything_thrice_lose_one_and_come_back(
    three: RunningStack, folder: Path
) -> None:
    case, settings = Case(three), three.settings
    assert settings.kafka_bootstrap_servers == three.stack.kafka
    assert settings.kafka_bootstrap_servers.count(",") == 2
    case.publish(case.intent())
    case.wait(1)
    kept = asyncio.run(every_topic(settings))
    assert {"__transaction_state", "__consumer_offsets"} <= set(kept)
    assert set(kept) >= {spec.name for spec in settings.topics.specs()}
    assert set(kept.values()) == {(3, "2")}

    leader = asyncio.run(leader_of(settings, settings.topics.intents, 0))
    os.kill(three.stack.addresses()["pids"][NAMES[leader - 1]], signal.SIGKILL)
    case.publish(*(case.intent() for _ in range(12)))
    found = case.wait(13)
    assert not found.dead_letters
    assert not found.doubled()

    three.close()
    three.stack.stop()
    clean = {(folder / name / "data" / ".kafka_cleanshutdown").exists() for name in NAMES}
    dead = folder / NAMES[leader - 1] / "data" / ".kafka_cleanshutdown"
    assert clean == {True, False}
    assert not dead.exists()
    _is_whole_after_a_restart(case, folder)


def _is_whole_after_a_restart(case: Case, folder: Path) -> None:
    """The same data at other ports: all three come back, and know what two of them wrote."""
    parts: dict[str, Part] = {}
    brokers = Brokers(folder, {name: free_port() for name in NAMES})
    settings = case.stack.settings.model_copy(update={"kafka_bootstrap_servers": brokers.servers})
    try:
        brokers.launch(lambda _done, _all: None, parts.__setitem__)
        brokers.wait_ready(settings)
        results = asyncio.run(read_outcomes(settings)).results
        assert len([name for name in results if name.startswith(case.name)]) == 13
    finally:
        stop_in_order(parts)

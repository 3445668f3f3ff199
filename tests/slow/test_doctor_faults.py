"""One fault planted in a healthy deployment: the doctor names that check, and what hangs on it.

A broker, a ClickHouse engine and simulated providers of no stack; a prefix and a database each.
"""

import asyncio
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from pydantic import SecretStr

from hybrid.config import load_settings
from hybrid.doctor import Check, examine, score_of
from hybrid.stack.process import free_port
from schemas.settings import Settings
from streams.kafka.awaiting import until_seen
from streams.kafka.clients import admin_client, consumer, producer
from streams.kafka.topics import ensure_topics
from streams.store.clickhouse import ClickHouse
from tests.chaos.cluster import until_configured
from tests.integration.databases import migrated
from tests.integration.secure_kafka import SecureKafka

pytestmark = pytest.mark.integration

#: What is unknown where one of these is broken.
NEEDS = {
    "kafka": {
        "topics", "replication", "rights", "producer", "deferred", "transactions", "instance",
        "recorder",
    },
    "topics": {"replication", "rights"},
    "clickhouse": {"server", "orphans", "dead-letters"},
}  # fmt: skip


def examined(settings: Settings) -> dict[str, Check]:
    return {one.name: one for one in asyncio.run(examine(settings))}


@pytest.fixture
def healthy(secure: SecureKafka, clickhouse: str, simulator: str) -> Settings:
    """A deployment in which all is well."""
    name = f"doc{uuid.uuid4().hex[:8]}"
    settings = load_settings(
        environment={
            "KAFKA_BOOTSTRAP_SERVERS": secure.at("PLAINTEXT"),
            "CLICKHOUSE_URL": f"http://default:@{clickhouse}/{name}",
            "HYBRID_TOPIC_PREFIX": name,
            "HYBRID_PARTITIONS": "1",
            "HYBRID_SIMULATOR": simulator,
            "HYBRID_METRICS_PORT": str(free_port()),
            "OPENAI_API_KEY": "key-of-a-test-1234",
        }
    )
    asyncio.run(ensure_topics(settings))
    migrated(settings).close()
    return settings


def changed(settings: Settings, **values: Any) -> Settings:
    return settings.model_copy(update=values)


def statement(settings: Settings, *texts: str) -> Settings:
    with closing(ClickHouse(settings)) as store:
        for text in texts:
            store.command(text)
    return settings


def alter(settings: Settings, topic: str, **config: str) -> Settings:
    async def send() -> None:
        async with admin_client(settings) as admin:
            named = {name.replace("_", "."): value for name, value in config.items()}
            resource = ConfigResource(ConfigResourceType.TOPIC, topic, configs=named)
            await admin.alter_configs([resource])
            await until_configured(admin, topic, named)

    asyncio.run(send())
    return settings


def a_topic(settings: Settings, name: str, partitions: int = 1) -> Settings:
    async def make() -> None:
        async with admin_client(settings) as admin:
            await admin.create_topics([NewTopic(name, partitions, 1)])
            await until_seen(admin, {name: partitions})

    asyncio.run(make())
    return settings


def without_topic(settings: Settings) -> Settings:
    async def drop() -> None:
        async with admin_client(settings) as admin:
            await admin.delete_topics([settings.topics.operations])
            async with asyncio.timeout(30):
                while settings.topics.operations in await admin.list_topics():
                    await asyncio.sleep(0.05)

    asyncio.run(drop())
    return settings


def orphaned_delay(settings: Settings) -> Settings:
    topic = f"{settings.hybrid_topic_prefix}.deferred.7s"
    a_topic(settings, topic)

    async def write() -> None:
        async with producer(settings) as client:
            await client.send_and_wait(topic, b"{}", b"k")

    asyncio.run(write())
    return settings


def unrecorded(settings: Settings) -> Settings:
    """Records, and none of them committed by a recorder."""

    async def write() -> None:
        async with producer(settings) as client:
            await client.send_and_wait(settings.topics.events, b"{}", b"k")

    asyncio.run(write())
    return settings


def far_behind(settings: Settings) -> Settings:
    """A recorder that has 20,001 records to go."""

    async def write() -> None:
        topic = settings.topics.events
        async with producer(settings) as client:
            sent = [await client.send(topic, b"{}", b"k") for _ in range(20_002)]
            await asyncio.gather(*sent)
        reader = consumer(settings, group_id=settings.recorder_group)
        await reader.start()
        tp = TopicPartition(topic, 0)
        reader.assign([tp])
        await reader.commit({tp: 1})
        await reader.stop()

    asyncio.run(write())
    return settings


def an_attempt(settings: Settings) -> Settings:
    """A call whose worker died."""
    columns = "attempt_id, execution_id, intent_id, status, provider, started_at, deadline_at"
    return statement(
        settings,
        f"INSERT INTO provider_attempts ({columns}) VALUES (generateUUIDv4(), generateUUIDv4(), "
        "'i', 'started', 'openai', now64(3) - 600, now64(3) - 500)",
    )


def dead_letters(settings: Settings) -> Settings:
    columns = "intent_id, outcome_id, status, completed_at"
    return statement(
        settings,
        f"INSERT INTO workflow_outcomes ({columns}) SELECT toString(number), generateUUIDv4(), "
        "if(number < 10, 'failed', 'completed'), now64(3) FROM numbers(40)",
    )


@contextmanager
def occupied(port: int) -> Iterator[None]:
    """Somebody else's server on a port."""

    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", port), Other)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def away() -> str:
    """An address at which nobody answers."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{taken.getsockname()[1]}"


Fault = tuple[Callable[[Settings], Settings], str, str, str]
#: What is planted, which check names it, how, and a word of what to do.
FAULTS: dict[str, Fault] = {
    "no broker": (
        lambda one: changed(one, kafka_bootstrap_servers=away()),
        "kafka", "broken", "KAFKA_BOOTSTRAP_SERVERS",
    ),
    "a topic is missing": (without_topic, "topics", "broken", "hybrid topics ensure"),
    "too few partitions": (
        lambda one: changed(one, hybrid_partitions=2), "topics", "broken", "hybrid topics ensure",
    ),
    "a ledger that forgets": (
        lambda one: alter(one, one.topics.ledger, retention_ms="1000", cleanup_policy="compact"),
        "topics", "broken", "hybrid topics ensure",
    ),
    "a retention of somebody's": (
        lambda one: alter(one, one.topics.events, retention_ms="1000"),
        "topics", "warning", "hybrid topics ensure",
    ),
    "a delay that is gone": (orphaned_delay, "deferred", "broken", "until it is done"),
    "no recorder": (unrecorded, "recorder", "warning", "hybrid recorder"),
    "a recorder far behind": (far_behind, "recorder", "warning", "start a recorder"),
    "no ClickHouse": (
        lambda one: changed(one, clickhouse_url=SecretStr(f"http://{away()}/x")),
        "clickhouse", "broken", "CLICKHOUSE_URL",
    ),
    "a view that was dropped": (
        lambda one: statement(one, "DROP VIEW costs_daily"),
        "clickhouse", "broken", "hybrid migrate",
    ),
    "a worker that died": (an_attempt, "orphans", "warning", "memory, kills"),
    "dead letters": (dead_letters, "dead-letters", "warning", "hybrid dlq causes"),
    "a model without a price": (
        lambda one: changed(one, hybrid_openai_model="mystery-9"), "prices", "warning",
        "[[prices]]",
    ),
    "a key in an address": (
        lambda one: changed(one, openai_base_url="http://h.example/key-of-a-test-1234/v1"),
        "secrets", "broken", "renew OPENAI_API_KEY",
    ),
    "a port that is taken": (lambda one: one, "port", "warning", "HYBRID_METRICS_PORT"),
}  # fmt: skip


def test_a_healthy_deployment_is_all_well(healthy: Settings) -> None:
    found = examined(healthy)
    assert {one.name: one.detail for one in found.values() if one.state != "ok"} == {}
    assert score_of(list(found.values())) == 100
    assert len(found) >= 18


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_named_and_nothing_else(healthy: Settings, fault: str) -> None:
    plant, name, state, advice = FAULTS[fault]
    sick = plant(healthy)
    if name == "port":
        with occupied(sick.hybrid_metrics_port):
            found = examined(sick)
    else:
        found = examined(sick)
    wrong = {one.name: one.state for one in found.values() if one.state != "ok"}
    unknown = dict.fromkeys(NEEDS.get(name, set()) if state == "broken" else (), "unknown")
    assert wrong == {name: state, **unknown}, {key: found[key].detail for key in wrong}
    assert advice in found[name].advice + found[name].detail
    assert score_of(list(found.values())) < 100


def test_a_view_that_was_dropped_is_made_anew(healthy: Settings) -> None:
    statement(healthy, "DROP VIEW costs_daily")
    migrated(healthy).close()
    assert examined(healthy)["clickhouse"].state == "ok"

"""The table of rights in docs/security.md, granted by Kafka's own authorizer: all, and all but one."""

import asyncio
import json
import uuid
from contextlib import aclosing, closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest

from hybrid.client import (
    DeadLetterError,
    ExecutionTimeoutError,
    HybridClient,
    UnavailableError,
)
from hybrid.config import load_settings
from streams.kafka.clients import admin_client
from streams.kafka.reading import read_topic
from streams.store.clickhouse import ClickHouse
from tests.integration.driving import eventually
from tests.integration.forked import Forked
from tests.integration.secure_kafka import PASSWORD, RESTRICTED, USER, SecureKafka
from tests.rights_page import Right, rows, table

pytestmark = pytest.mark.integration

PREFIX = f"acl{uuid.uuid4().hex[:6]}"
# Codes of Kafka's protocol.
KINDS = {"topic": 2, "group": 3, "transactional id": 5}
OPERATIONS = {"READ": 3, "WRITE": 4, "CREATE": 5, "ALTER": 7, "DESCRIBE": 8, "DESCRIBE_CONFIGS": 10}
ANY, LITERAL, PREFIXED, ALLOW = 1, 3, 4, 3


TABLE = table(PREFIX)


def _place(right: Right) -> tuple[int, str, int]:
    return KINDS[right.kind], right.name.rstrip("*"), OPERATIONS[right.operation]


class Acls:
    """What the restricted user is granted."""

    def __init__(self, settings: Any) -> None:
        self._settings = settings

    def set(self, rights: list[Right]) -> None:
        asyncio.run(self._set(rights))

    def take(self, right: Right) -> None:
        asyncio.run(self._take(right))

    async def _set(self, rights: list[Right]) -> None:
        async with admin_client(self._settings) as admin:
            user = f"User:{RESTRICTED}"
            everything = DeleteAclsRequest(ANY, None, ANY, user, None, ANY, ANY)  # type: ignore[arg-type]
            await admin._send_request(everything)
            for right in rights:
                await self._send(admin, CreateAclsRequest, right)
            async with asyncio.timeout(30):
                while await self._held(admin) != frozenset(map(_place, rights)):
                    await asyncio.sleep(0.05)

    async def _held(self, admin: AIOKafkaAdminClient) -> frozenset[tuple[int, str, int]]:
        """What the broker goes by: it hears of a change after it was made."""
        user = f"User:{RESTRICTED}"
        everything: Any = (ANY, None, ANY, user, None, ANY, ANY)
        question = DescribeAclsRequest(*everything)
        answer = (await admin._send_request(question)).to_object()
        return frozenset(
            (one["resource_type"], one["resource_name"], acl["operation"])
            for one in answer["resources"]
            for acl in one["acls"]
        )

    async def _take(self, right: Right) -> None:
        async with admin_client(self._settings) as admin:
            await self._send(admin, DeleteAclsRequest, right)
            async with asyncio.timeout(30):
                while _place(right) in await self._held(admin):
                    await asyncio.sleep(0.05)

    async def _send(self, admin: AIOKafkaAdminClient, request: Any, right: Right) -> None:
        answer = await admin._send_request(
            request(
                KINDS[right.kind],
                right.name.rstrip("*"),
                PREFIXED if right.name.endswith("*") else LITERAL,
                f"User:{RESTRICTED}",
                "*",
                OPERATIONS[right.operation],
                ALLOW,
            )
        )
        made = answer.to_object().get("creation_responses", ())
        assert not any(one["error_code"] for one in made), made


@dataclass
class Cluster:
    """A cluster with topics, a restricted user, and who plays the providers."""

    acls: Acls
    mighty: dict[str, str]
    weak: dict[str, str]
    folder: Path

    def run(self, command: str, *, given: str = "", **more: str) -> Forked:
        arguments = command.split()
        return Forked(
            *arguments, environment={**self.weak, **more}, folder=self.folder, given=given
        )

    def count(self, topic: str) -> int:
        """How many records a topic has; the restricted user has no say in that."""

        async def read() -> int:
            settings = load_settings(environment=self.mighty)
            return len([one async for one in read_topic(settings, f"{PREFIX}.{topic}")])

        return asyncio.run(read())

    def rows(self, table: str) -> int:
        with closing(ClickHouse(load_settings(environment=self.mighty))) as store:
            return int(store.rows(f"SELECT count() FROM {table}")[1][0][0])

    def publish(self, *intents: dict[str, Any]) -> None:
        lines = "".join(json.dumps(one) + "\n" for one in intents)
        sent = Forked("publish", "-", environment=self.mighty, folder=self.folder, given=lines)
        assert sent.wait() == 0, sent.said()


@pytest.fixture(scope="module")
def cluster(
    secure: SecureKafka, clickhouse: str, simulator: str, tmp_path_factory: pytest.TempPathFactory
) -> Cluster:
    folder = tmp_path_factory.mktemp("rights")
    common = {
        "HYBRID_TOPIC_PREFIX": PREFIX,
        "HYBRID_PARTITIONS": "1",
        "HYBRID_METRICS_PORT": "0",
        "HYBRID_SIMULATOR": simulator,
        "HYBRID_ALERT_WEBHOOK": "http://127.0.0.1:9/nobody",
        "HYBRID_LOG_FORMAT": "json",
        "HYBRID_DRAIN_BUDGET": "1",
        "CLICKHOUSE_URL": f"http://default:@{clickhouse}/{PREFIX}",
    }
    mighty = {**common, "KAFKA_BOOTSTRAP_SERVERS": secure.at("PLAINTEXT")}
    weak = {
        **common,
        "KAFKA_BOOTSTRAP_SERVERS": secure.at("SASL_PLAINTEXT"),
        "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "KAFKA_SASL_MECHANISM": "PLAIN",
        "KAFKA_SASL_USERNAME": RESTRICTED,
        "KAFKA_SASL_PASSWORD": PASSWORD,
    }
    for command in ("topics ensure", "migrate"):
        made = Forked(*command.split(), environment=mighty, folder=folder)
        assert made.wait() == 0, made.said()
    return Cluster(Acls(load_settings(environment=mighty)), mighty, weak, folder)


INTENT = {"type": "message_generation", "user_id": "u", "data": {"x": 1}}
LATE = {**INTENT, "deadline_ms": 1}
WORK = [
    {**INTENT, "intent_id": "paced", "send_to_onlyfans": True, "recipient_id": "r"},
    {**LATE, "intent_id": "late"},
]


@pytest.fixture(scope="module")
def worked(cluster: Cluster) -> Cluster:
    """With exactly the page's rights a worker works: a result, its delivery, a dead letter."""
    cluster.acls.set(TABLE["worker"])
    worker = cluster.run("worker")
    cluster.publish(*WORK)
    for topic in ("results", "dead-letters", "deliveries"):
        eventually(lambda topic=topic: cluster.count(topic), bool)
    assert worker.stop() == 0, worker.said()
    return cluster


#: What a command is called with, where its name alone does not do.
CALLS = {
    "publish": "publish -",
    "dlq show": "dlq show late",
    "dlq replay": "dlq replay --again --yes",
    "pause": "pause --tenant nobody",
    "resume": "resume --tenant nobody",
    "cancel": "cancel late --why over",
    "dlq dismiss": "dlq dismiss --reason deadline --why over --yes",
}


def refused(done: Forked, right: Right) -> None:
    assert done.wait() in {1, 2}, done.said()
    # Doctor says it in its table, all others in a sentence.
    assert right.named_in(done.stdout + done.stderr), f"{right}: {done.said()}"
    assert len(done.stderr.strip().splitlines()) <= 1, done.said()


@pytest.mark.parametrize(
    "command",
    [
        "publish",
        "results",
        "dlq list",
        "dlq show",
        "dlq plan",
        "dlq replay",
        "dlq runs",
        "dlq dismiss",
        "batches list",
        "pause",
        "resume",
        "cancel",
        "costs rebuild",
        "doctor",
    ],
)
def test_a_command_needs_what_the_page_says(worked: Cluster, command: str) -> None:
    call, needed = CALLS.get(command, command), TABLE[command]
    given = json.dumps(INTENT) + "\n"
    worked.acls.set(needed)
    done = worked.run(call, given=given)
    assert done.wait() == 0, done.said()
    for right in needed:
        worked.acls.set([one for one in needed if one != right])
        if right.name.endswith("urgent"):
            given = json.dumps({**INTENT, "priority": "high"}) + "\n"
        refused(worked.run(call, given=given), right)


def test_topics_are_made_with_what_the_page_says(worked: Cluster) -> None:
    needed = [replace(one, name=f"{PREFIX}.fresh.*") for one in TABLE["topics ensure"]]
    for number, right in enumerate([None, *needed]):
        # Each time topics that are not there yet.
        prefix = f"{PREFIX}.fresh.{number}"
        worked.acls.set([one for one in needed if one != right])
        done = worked.run("topics ensure", HYBRID_TOPIC_PREFIX=prefix)
        if right is None:
            assert done.wait() == 0, done.said()
        else:
            assert done.wait() in {1, 2}, done.said()
            assert right.named_in(done.stderr), done.said()


def test_partitions_are_added_with_what_the_page_says(worked: Cluster) -> None:
    prefix = f"{PREFIX}.grown"
    more = {"HYBRID_TOPIC_PREFIX": prefix, "HYBRID_PARTITIONS": "1"}
    made = Forked("topics", "ensure", environment={**worked.mighty, **more}, folder=worked.folder)
    assert made.wait() == 0, made.said()
    more["HYBRID_PARTITIONS"] = "2"
    needed = table(prefix)["topics ensure --grow"]
    for right in needed:
        worked.acls.set([one for one in needed if one != right])
        done = worked.run("topics ensure --grow", **more)
        assert done.wait() in {1, 2}, done.said()
        assert right.named_in(done.stderr), f"{right}: {done.said()}"
    worked.acls.set(needed)
    done = worked.run("topics ensure --grow", **more)
    assert done.wait() == 0, done.said()


def lacks_a_row(worked: Cluster, process: str) -> None:
    """Take one row of the page after the other away: all that stands in it is named at once."""
    for row in rows(PREFIX)[process]:
        worked.acls.set([one for one in TABLE[process] if one not in row])
        done = worked.run(process)
        assert done.wait() == 2, f"{row}: {done.said()}"
        assert len(done.stderr.splitlines()) == 1, done.said()
        unnamed = [str(right) for right in row if not right.named_in(done.stderr)]
        assert unnamed == [], done.said()


def test_a_worker_names_the_rights_that_it_lacks(worked: Cluster) -> None:
    lacks_a_row(worked, "worker")


def test_a_recorder_records_and_names_the_rights_that_it_lacks(worked: Cluster) -> None:
    worked.acls.set(TABLE["recorder"])
    recorder = worked.run("recorder")
    eventually(lambda: "recorder_started" in recorder.stderr, bool)
    eventually(lambda: worked.rows("workflow_outcomes"), lambda rows: rows >= 2)
    assert recorder.stop() == 0, recorder.said()
    lacks_a_row(worked, "recorder")


@pytest.mark.parametrize(("topic", "intent"), [("dead-letters", LATE), ("attempts", INTENT)])
def test_a_right_that_is_taken_away_ends_the_worker_by_name(
    worked: Cluster, topic: str, intent: dict[str, Any]
) -> None:
    worked.acls.set(TABLE["worker"])
    worker = worked.run("worker")
    eventually(lambda: "lane_opened" in worker.stderr, bool)
    right = Right("topic", f"{PREFIX}.{topic}", "WRITE")
    worked.acls.take(right)
    worked.publish({**intent, "intent_id": uuid.uuid4().hex})
    assert worker.wait() == 1, worker.said()
    last = worker.stderr.strip().splitlines()[-1]
    assert last.startswith("hybrid: ")
    assert right.named_in(last), worker.said()
    # What it could not finish is done by the next one.
    worked.acls.set(TABLE["worker"])
    before, ended = worked.count(topic), worked.run("worker")
    eventually(lambda: worked.count(topic), lambda count: count > before)
    assert ended.stop() == 0, ended.said()


async def client_call(method: str, client: HybridClient, priority: str) -> None:
    """Call a method of the client; returns where it did what it is for, without a worker."""
    intent = {**INTENT, "priority": priority}
    match method:
        case "publish":
            await client.publish(intent)
        case "execute":
            with pytest.raises(ExecutionTimeoutError) as caught:
                await client.execute(intent, timeout=3)
            assert caught.value.is_published
        case "wait":
            with pytest.raises(DeadLetterError):
                await client.wait("late", timeout=30)
        case _:
            since = datetime.now(UTC) - timedelta(hours=1)
            async with aclosing(client.outcomes(since=since)) as outcomes:
                await anext(outcomes)


@pytest.mark.parametrize("method", ["publish", "execute", "wait", "outcomes"])
def test_a_method_of_the_client_needs_what_the_page_says(
    worked: Cluster, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    for name, value in worked.weak.items():
        monkeypatch.setenv(name, value)
    needed = TABLE[f"HybridClient.{method}"]

    async def call(priority: str) -> None:
        async with HybridClient() as client:
            await client_call(method, client, priority)

    for right in needed:
        worked.acls.set([one for one in needed if one != right])
        with pytest.raises(UnavailableError) as caught:
            asyncio.run(call("high" if right.name.endswith("urgent") else "medium"))
        assert right.named_in(str(caught.value)), f"{right}: {caught.value}"
    worked.acls.set(needed)
    asyncio.run(call("medium"))


@pytest.mark.usefixtures("worked")
def test_a_client_logs_in_over_tls_by_keyword_arguments(secure: SecureKafka) -> None:
    settings: dict[str, Any] = {
        "kafka_bootstrap_servers": secure.at("SASL_SSL"),
        "kafka_security_protocol": "SASL_SSL",
        "kafka_sasl_mechanism": "PLAIN",
        "kafka_sasl_username": USER,
        "kafka_sasl_password": PASSWORD,
        "kafka_ssl_cafile": str(secure.ca_file),
        "hybrid_topic_prefix": PREFIX,
    }

    async def call(**changes: str) -> None:
        async with HybridClient(**{**settings, **changes}) as client:
            await client_call("wait", client, "medium")

    asyncio.run(call())
    with pytest.raises(UnavailableError, match=f"refused the login of {USER}") as caught:
        asyncio.run(call(kafka_sasl_password="wrong"))
    assert "wrong" not in str(caught.value)
    with pytest.raises(UnavailableError, match="is not trusted"):
        asyncio.run(call(kafka_ssl_cafile=str(secure.other_ca_file)))

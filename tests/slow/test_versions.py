"""Records say their version; who must know what a later version wrote does not go on without it."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from hybrid.config import load_settings
from schemas.settings import Settings
from schemas.versions import RECORD_VERSION, VERSION_HEADER
from streams.kafka.clients import producer
from streams.kafka.reading import read_topic
from tests.integration.driving import eventually
from tests.integration.secure_kafka import SecureKafka
from tests.integration.test_partitions import Own

pytestmark = pytest.mark.integration
LATER = (VERSION_HEADER, str(RECORD_VERSION + 1).encode())
ENTRY = b'{"outcome_id":"o","status":"completed","topic":"t","offset":0,"decided_at_ms":1}'


@pytest.fixture
def own(secure: SecureKafka, clickhouse: str, simulator: str, tmp_path: Path) -> Own:
    """Topics and a database of the test's own, at which no worker and no recorder runs yet."""
    found = Own(secure.at("PLAINTEXT"), simulator, tmp_path)
    name = found.environment["HYBRID_TOPIC_PREFIX"]
    found.environment["CLICKHOUSE_URL"] = f"http://default:@{clickhouse}/{name}"
    made = found.start("topics ensure")
    assert made.wait() == 0, made.said()
    return found


def settings_of(own: Own) -> Settings:
    return load_settings(environment=own.environment)


def write(own: Own, topic: str, value: bytes, *headers: tuple[str, bytes]) -> None:
    async def send() -> None:
        async with producer(settings_of(own)) as client:
            await client.send_and_wait(topic, value, b"k", partition=0, headers=list(headers))

    asyncio.run(send())


def versions(own: Own, topics: Sequence[str]) -> dict[str, set[bytes | None]]:
    async def read() -> dict[str, set[bytes | None]]:
        found: dict[str, set[bytes | None]] = defaultdict(set)
        for topic in topics:
            async for record in read_topic(settings_of(own), topic):
                if record.value is not None:
                    found[topic].add(dict(record.headers).get(VERSION_HEADER))
        return found

    return asyncio.run(read())


def test_every_record_of_ours_says_its_version(own: Own) -> None:
    topics = settings_of(own).topics
    worker = own.start("worker")
    intents: list[dict[str, Any]] = [
        {"send_to_onlyfans": True, "recipient_id": "r"},
        {"cache": True},
        {"data": {"text": "[[sim:status=400]]"}},
    ]
    for number, fields in enumerate(intents):
        intent = {"type": "message_generation", "user_id": "u", "data": {"x": number}, **fields}
        # The publisher's own word about what is not theirs is not passed on.
        write(own, topics.intents, json.dumps(intent).encode(), (VERSION_HEADER, b"99"))
    # Last: a provider that asks for so much patience is left alone by all.
    sent = {"type": "message_generation", "user_id": "u", "force_provider": "openai"}
    text = "[[sim:status=429,retry_after=30]]"
    ours = [
        topics.results, topics.dead_letters, topics.attempts, topics.events, topics.state,
        topics.ledger, topics.cache, topics.deliveries,
    ]  # fmt: skip
    eventually(lambda: versions(own, ours), lambda seen: set(seen) == set(ours), within_s=150)
    write(own, topics.intents, json.dumps({**sent, "data": {"text": text}}).encode())
    ours.append(topics.deferred[1])
    found = eventually(
        lambda: versions(own, ours), lambda seen: set(seen) == set(ours), within_s=60
    )
    assert dict(found) == {topic: {b"1"} for topic in ours}
    assert worker.stop() == 0, worker.said()


def test_a_worker_does_not_begin_without_what_a_later_version_decided(own: Own) -> None:
    ledger = settings_of(own).topics.ledger
    write(own, ledger, ENTRY, LATER)
    worker = own.start("worker")
    assert worker.wait(120) == 1, worker.said()
    assert worker.stderr.strip().splitlines()[-1] == (
        f"hybrid: lane 0 cannot be opened: {ledger} has a record of version 2 (partition 0, offset "
        "0), and this program reads versions up to 1: a later one of Hybrid Orchestrator wrote it; "
        "run that one"
    )


def test_a_recorder_leaves_no_row_of_a_later_version_out(own: Own) -> None:
    attempts = settings_of(own).topics.attempts
    write(own, attempts, b"{}", LATER)
    recorder = own.start("recorder")
    assert recorder.wait(120) == 1, recorder.said()
    said = recorder.stderr.strip().splitlines()[-1]
    assert f"{attempts} has a record of version 2 (partition 0, offset 0)" in said
    assert said.endswith("run that one")

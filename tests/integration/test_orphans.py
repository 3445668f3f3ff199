"""Deferred work outlives a change of HYBRID_DEFER_DELAYS: it is named until it is done."""

import asyncio
import json
from pathlib import Path

import pytest

from hybrid.config import load_settings
from streams.kafka.clients import producer
from tests.integration.driving import eventually
from tests.integration.secure_kafka import SecureKafka
from tests.integration.test_partitions import Own

pytestmark = pytest.mark.integration

BEFORE, AFTER = "0.5,1", "0.5"
INTENT = {"intent_id": "old", "type": "message_generation", "user_id": "u", "data": {"x": 1}}


@pytest.fixture
def own(secure: SecureKafka, clickhouse: str, simulator: str, tmp_path: Path) -> Own:
    found = Own(secure.at("PLAINTEXT"), simulator, tmp_path)
    name = found.environment["HYBRID_TOPIC_PREFIX"]
    found.environment["CLICKHOUSE_URL"] = f"http://default:@{clickhouse}/{name}"
    for command in ("topics ensure", "migrate"):
        made = found.start(command, HYBRID_DEFER_DELAYS=BEFORE)
        assert made.wait() == 0, made.said()
    return found


def defer(own: Own) -> None:
    """Write as a lane does, in a transaction, whose marker stays in the topic."""

    async def write() -> None:
        settings = load_settings(environment={**own.environment, "HYBRID_DEFER_DELAYS": BEFORE})
        async with producer(settings, transactional_id=settings.hybrid_topic_prefix) as client:
            await client.begin_transaction()
            await client.send_and_wait(
                settings.topics.deferred[1], json.dumps(INTENT).encode(), b"old", partition=1
            )
            await client.commit_transaction()

    asyncio.run(write())


def test_work_that_waits_where_nobody_reads_is_named_until_it_is_done(own: Own) -> None:
    well = own.start("doctor", HYBRID_DEFER_DELAYS=AFTER)
    assert well.wait() == 0, well.said()
    defer(own)
    sick = own.start("doctor --format json", HYBRID_DEFER_DELAYS=AFTER)
    assert sick.wait() == 1, sick.said()
    found = {row["check"]: row["detail"] for row in json.loads(sick.stdout)}
    prefix = own.environment["HYBRID_TOPIC_PREFIX"]
    assert f"{prefix}.deferred.1s" in found["deferred"]
    assert f"run all workers with {BEFORE} until" in found["deferred"]
    worker = own.start("worker", HYBRID_DEFER_DELAYS=AFTER)
    eventually(lambda: "lane_opened" in worker.stderr, bool)
    assert f"run all workers with {BEFORE} until" in worker.stderr
    assert worker.stop() == 0, worker.said()
    draining = own.start("worker", HYBRID_DEFER_DELAYS=BEFORE)
    eventually(own.results, bool)
    assert draining.stop() == 0, draining.said()
    well = own.start("doctor", HYBRID_DEFER_DELAYS=AFTER)
    assert well.wait() == 0, well.said()

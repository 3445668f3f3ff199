"""Partitions that are added: refused with what to do, and the way in which it is done."""

import asyncio
import json
import uuid
from collections import Counter
from pathlib import Path

import pytest
from aiokafka.admin import NewPartitions

from hybrid.config import load_settings
from streams.kafka.clients import admin_client
from tests.integration.driving import eventually
from tests.integration.forked import Forked
from tests.integration.secure_kafka import SecureKafka

pytestmark = pytest.mark.integration


class Own:
    """Topics of a test's own, and commands that use them."""

    def __init__(self, servers: str, simulator: str, folder: Path) -> None:
        self._folder = folder
        self.environment = {
            "KAFKA_BOOTSTRAP_SERVERS": servers,
            "HYBRID_TOPIC_PREFIX": f"p{uuid.uuid4().hex[:8]}",
            "HYBRID_PARTITIONS": "2",
            "HYBRID_METRICS_PORT": "0",
            "HYBRID_LOG_FORMAT": "json",
            "HYBRID_SIMULATOR": simulator,
        }

    def start(self, command: str, *, given: str = "", **more: str) -> Forked:
        variables = {**self.environment, **more}
        return Forked(*command.split(), environment=variables, folder=self._folder, given=given)

    def publish(self, *names: str) -> None:
        intent = {"type": "message_generation", "user_id": "u", "data": {"x": 1}}
        lines = "".join(json.dumps({**intent, "intent_id": name}) + "\n" for name in names)
        sent = self.start("publish -", given=lines)
        assert sent.wait() == 0, sent.said()

    def add_partitions(self, topic: str, count: int) -> None:
        async def add() -> None:
            settings = load_settings(environment=self.environment)
            async with admin_client(settings) as admin:
                name = f"{settings.hybrid_topic_prefix}.{topic}"
                await admin.create_partitions({name: NewPartitions(count)})

        asyncio.run(add())

    def results(self) -> Counter[str]:
        shown = self.start("results")
        assert shown.wait() == 0, shown.said()
        return Counter(json.loads(line)["intent_id"] for line in shown.stdout.splitlines())


@pytest.fixture
def own(secure: SecureKafka, simulator: str, tmp_path: Path) -> Own:
    found = Own(secure.at("PLAINTEXT"), simulator, tmp_path)
    made = found.start("topics ensure")
    assert made.wait() == 0, made.said()
    return found


DO = "stop all workers and run `hybrid topics ensure --grow`"


def test_partitions_added_to_one_topic_end_the_worker_and_are_mended_by_grow(own: Own) -> None:
    before, after = [f"a{n}" for n in range(8)], [f"b{n}" for n in range(8)]
    worker = own.start("worker")
    eventually(lambda: worker.stderr.count("lane_opened"), lambda count: count == 2)
    own.add_partitions("intents", 3)
    own.publish(*before)
    assert worker.wait(90) == 1, worker.said()
    assert DO in worker.stderr.strip().splitlines()[-1]
    for command, status in (("worker", 2), ("topics ensure", 1), ("doctor --format json", 1)):
        done = own.start(command)
        assert done.wait() == status, done.said()
        assert f"{DO} with HYBRID_PARTITIONS = 3" in done.stdout + done.stderr, done.said()
    grown = own.start("topics ensure --grow", HYBRID_PARTITIONS="4")
    assert grown.wait() == 0, grown.said()
    own.environment["HYBRID_PARTITIONS"] = "4"
    again = own.start("worker")
    own.publish(*after)
    found = eventually(own.results, lambda found: len(found) == 16)
    assert found == Counter([*before, *after])
    assert again.stop() == 0, again.said()


def test_partitions_are_not_added_under_workers_nor_taken_away(own: Own) -> None:
    worker = own.start("worker")
    eventually(lambda: "lane_opened" in worker.stderr, bool)
    done = own.start("topics ensure --grow", HYBRID_PARTITIONS="4")
    assert done.wait() == 1
    assert "1 workers are in the group" in done.stderr
    assert worker.stop() == 0, worker.said()
    fewer = own.start("topics ensure --grow", HYBRID_PARTITIONS="1")
    assert fewer.wait() == 1
    assert "cannot be taken away: set HYBRID_PARTITIONS = 2" in fewer.stderr

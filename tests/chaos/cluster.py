"""Faults of one broker of three: killed, frozen, restarted; a partition that nobody leads."""

import asyncio
import json
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError
from aiokafka.protocol.admin import AlterPartitionReassignmentsRequest

from hybrid.stack.brokers import broker_names
from hybrid.stack.process import wait_until
from streams.kafka.clients import BrokerUnavailableError, admin_client
from streams.kafka.topics import ensure_topics
from tests.chaos.running import RunningStack

__all__ = ["CLUSTER_FAULTS", "Cluster", "set_config"]

CLUSTER_FAULTS = ("leader", "controller", "frozen", "leaderless", "brokers", "recreated")
#: Longer than any client waits for an answer (20 s), and much longer than a broker's session (3 s).
FROZEN_S = 30
LEADERLESS_S = 60
STEADY_S = 120
#: A topic that is deleted is made again after this long.
MISSING_S = 5
NOBODY = -1
IN_SYNC = "min.insync.replicas"


@dataclass
class Cluster:
    """Carries out the faults; after each of them every partition has all its replicas again."""

    running: RunningStack
    dice: random.Random
    trouble: list[str]

    def inject(self, name: str) -> None:
        """Do one of CLUSTER_FAULTS, and wait until the cluster is whole again."""
        getattr(self, f"_{name}")()
        self._until(self._whole, f"after {name} not all replicas came back")

    def _leader(self) -> None:
        """SIGKILL the broker that leads a partition of the intents."""
        partition = self.dice.randrange(self.running.settings.hybrid_partitions)
        topic = self._ask(lambda admin: described(admin, self.running.settings.topics.intents))
        self._kill(next(one["leader"] for one in topic if one["partition"] == partition))

    def _controller(self) -> None:
        """SIGKILL the active controller, which is a broker too."""
        self._kill(self._controller_number())

    def _frozen(self) -> None:
        """Have a broker answer nobody for a while, its connections open."""
        with self._frozen_broker(self.dice.choice((1, 2, 3))):
            time.sleep(FROZEN_S)

    def _brokers(self) -> None:
        """SIGTERM every broker, one after the other, once the one before is whole again."""
        for number in (1, 2, 3):
            self._signal(number, signal.SIGTERM)
            self._until(self._whole, f"broker {number} did not come back")

    def _recreated(self) -> None:
        """Delete a topic, and make it again: what was in it is gone, and needed by nobody."""
        settings = self.running.settings
        topic = self.dice.choice((settings.topics.events, settings.topics.cache))
        self._ask(lambda admin: admin.delete_topics([topic]))
        self._until(lambda: topic not in self._ask(names), f"{topic} was not deleted")
        time.sleep(MISSING_S)
        asyncio.run(ensure_topics(settings))
        self._until(self._whole, f"{topic} was not whole again after it was recreated")

    def _leaderless(self) -> None:
        """Have only one broker keep a partition, and freeze it: nobody can lead it for a minute."""
        settings = self.running.settings
        topics = settings.topics
        topic = self.dice.choice((topics.intents, topics.ledger, topics.results, topics.attempts))
        partition = self.dice.randrange(settings.hybrid_partitions)
        number = self.dice.choice((1, 2, 3))
        self._ask(lambda admin: set_config(admin, topic, IN_SYNC, "1"))
        self._ask(lambda admin: reassign(admin, topic, partition, [number]))
        self._until(lambda: self._kept(topic, partition, 1), f"{topic} was not reassigned")
        try:
            with self._frozen_broker(number):
                self._until(
                    lambda: self._led_by(topic, partition) == NOBODY, f"{topic} kept a leader"
                )
                time.sleep(LEADERLESS_S)
        finally:
            self._ask(lambda admin: reassign(admin, topic, partition, [number, *others(number)]))
            self._until(lambda: self._kept(topic, partition, 3), f"{topic} did not come back")
            self._ask(lambda admin: set_config(admin, topic, IN_SYNC, "2"))

    # ── how ─────────────────────────────────────────────────────────────────────────────────

    def _kill(self, number: int) -> None:
        self._signal(number, signal.SIGKILL)

    def _signal(self, number: int, what: int) -> None:
        """Signal a broker, and wait until another process has its place."""
        name = broker_names(3)[number - 1]
        pid = self._pid(name)
        os.kill(pid, what)
        self._until(lambda: self._pid(name) != pid, f"{name} was not started again")

    @contextmanager
    def _frozen_broker(self, number: int) -> Iterator[None]:
        pid = self._pid(broker_names(3)[number - 1])
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def _pid(self, name: str) -> int:
        return int(self.running.stack.addresses()["pids"][name])

    def _controller_number(self) -> int:
        """Ask the brokers' own notes: a client is told any broker, not the controller."""
        notes = [
            json.loads((folder / "quorum-state").read_text())
            for folder in self.running.stack.folder.glob("kafka*/data/__cluster_metadata-0")
        ]
        return int(max(notes, key=lambda note: note["leaderEpoch"])["leaderId"])

    def _whole(self) -> bool:
        """Whether every partition has three replicas in sync and a leader."""
        partitions = self._ask(lambda admin: described(admin, *every_topic(self.running)))
        return all(len(one["isr"]) == 3 and one["leader"] != NOBODY for one in partitions)

    def _kept(self, topic: str, partition: int, replicas: int) -> bool:
        found = self._partition(topic, partition)
        return len(found["replicas"]) == len(found["isr"]) == replicas

    def _led_by(self, topic: str, partition: int) -> int:
        return int(self._partition(topic, partition)["leader"])

    def _partition(self, topic: str, partition: int) -> dict[str, Any]:
        found = self._ask(lambda admin: described(admin, topic))
        return next(one for one in found if one["partition"] == partition)

    def _ask(self, question: Callable[[AIOKafkaAdminClient], Awaitable[Any]]) -> Any:
        """Ask until a broker answers: one of them may be away or frozen."""

        async def once() -> Any:
            async with asyncio.timeout(10), admin_client(self.running.settings) as admin:
                return await question(admin)

        deadline = time.monotonic() + STEADY_S
        while True:
            try:
                return asyncio.run(once())
            except (KafkaError, BrokerUnavailableError, TimeoutError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def _until(self, holds: Callable[[], bool], trouble: str) -> None:
        if not wait_until(holds, within_s=STEADY_S, every_s=0.2):
            self.trouble.append(trouble)


async def names(admin: AIOKafkaAdminClient) -> list[str]:
    """All topics."""
    return list(await admin.list_topics())


def others(number: int) -> list[int]:
    return [one for one in (1, 2, 3) if one != number]


def every_topic(running: RunningStack) -> list[str]:
    ours = [spec.name for spec in running.settings.topics.specs()]
    return [*ours, "__consumer_offsets", "__transaction_state"]


async def described(admin: AIOKafkaAdminClient, *topics: str) -> list[dict[str, Any]]:
    """All partitions of some topics."""
    found = await admin.describe_topics(list(topics))
    return [one for topic in found for one in topic["partitions"]]


async def set_config(admin: AIOKafkaAdminClient, topic: str, name: str, value: str) -> None:
    """Set one configuration of a topic; the request replaces all, so the others go along."""
    (response,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    own = {entry[0]: entry[1] for entry in response.resources[0][4] if entry[3] == TOPICS_OWN}
    resource = ConfigResource(ConfigResourceType.TOPIC, topic, configs={**own, name: value})
    (answer,) = await admin.alter_configs([resource])
    assert answer.resources[0][0] == 0, answer


async def until_configured(
    admin: AIOKafkaAdminClient, topic: str, wanted: Mapping[str, str]
) -> None:
    """Return when the broker goes by a configuration, which it says before; or fail in 30 s."""
    async with asyncio.timeout(30):
        while True:
            resource = ConfigResource(ConfigResourceType.TOPIC, topic)
            (response,) = await admin.describe_configs([resource])
            if wanted.items() <= {entry[0]: entry[1] for entry in response.resources[0][4]}.items():
                return
            await asyncio.sleep(0.05)


#: Where a configuration's value comes from, as DescribeConfigs says it (KIP-226).
TOPICS_OWN = 1


async def reassign(
    admin: AIOKafkaAdminClient, topic: str, partition: int, brokers: list[int]
) -> None:
    """Say which brokers keep a partition, the preferred leader first."""
    request = AlterPartitionReassignmentsRequest(
        10_000, [(topic, [(partition, brokers, {})], {})], {}
    )
    answer = await admin._send_request(request)
    assert answer.error_code == 0, answer
    assert all(one[1] == 0 for _, found, _ in answer.responses for one in found), answer

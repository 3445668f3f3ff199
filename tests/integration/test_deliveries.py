"""Results that go to a recipient become deliveries: paced, once, also over a crash."""

import asyncio
import itertools
import json
import os
import signal
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import TopicPartition

from agents.clock import SystemClock, SystemDice
from schemas.events import Delivery
from schemas.settings import Settings
from schemas.vocabulary import LogEvent
from streams.deliveries.pacer import DeliveryPacer
from streams.kafka.clients import admin_client, producer
from streams.kafka.reading import read_topic
from streams.kafka.topics import ensure_topics
from streams.messages.records import DELIVERY_HEADER
from tests.builders import a_result, a_task
from tests.chaos.cluster import set_config, until_configured
from tests.chaos.running import RunningStack
from tests.integration.deposed import DeposedLeader
from tests.integration.driving import Case, eventually, soon

pytestmark = pytest.mark.integration


def deliveries(stack: RunningStack, case: Case) -> dict[str, list[dict[str, Any]]]:
    """The case's deliveries by user, in the order of their due times."""

    async def read() -> dict[str, list[dict[str, Any]]]:
        found = defaultdict(list)
        async for record in read_topic(stack.settings, stack.settings.topics.deliveries):
            delivery = json.loads(record.value or b"{}")
            if delivery["intent_id"].startswith(case.name):
                assert (record.key or b"").decode() == delivery["user_id"]
                found[delivery["user_id"]].append(delivery)
        return {user: sorted(one, key=lambda each: each["due_at"]) for user, one in found.items()}

    return asyncio.run(read())


def seconds(delivery: dict[str, Any]) -> float:
    hours, minutes, rest = delivery["due_at"].split("T")[1].rstrip("Z").split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(rest)


def test_deliveries_are_paced_and_come_once_although_the_pacer_is_killed(
    stack: RunningStack,
) -> None:
    stack.set_faults({"openai": {"latency_ms": 5}, "azure": {"latency_ms": 5}})
    case = Case(stack)
    busy, quiet = f"{case.name}-busy", f"{case.name}-quiet"
    to_busy = [
        case.intent(user_id=busy, send_to_onlyfans=True, recipient_id="r-1", platforms=["onlyfans"])
        for _ in range(5)
    ]
    for intent in to_busy:
        case.publish(intent)
        eventually(case.outcomes, lambda found, one=intent: one["intent_id"] in found.results)
    case.publish(case.intent(user_id=quiet, sendToOnlyFans=True))
    case.publish(case.intent(user_id=busy))  # not to be delivered
    eventually(lambda: deliveries(stack, case), lambda found: len(found.get(busy, [])) >= 2)
    pacer = next(number for number in range(2) if 0 in stack.lanes(number))
    os.kill(stack.pids()[pacer], signal.SIGKILL)
    found = eventually(
        lambda: deliveries(stack, case),
        lambda now: (len(now.get(busy, [])), len(now.get(quiet, []))) == (5, 1),
    )
    # Results of one user lie in several partitions, and are in line as they are seen.
    delivered = [one["intent_id"] for one in found[busy]]
    assert sorted(delivered) == sorted(one["intent_id"] for one in to_busy)
    due = [seconds(one) for one in found[busy]]
    assert all(b - a >= 1.5 for a, b in itertools.pairwise(due))
    assert found[busy][0]["recipient_id"] == "r-1"
    assert found[busy][0]["platforms"] == ["onlyfans"]
    assert found[busy][0]["content"]
    eventually(lambda: scheduled(stack, case), lambda count: count == 6)


def scheduled(stack: RunningStack, case: Case) -> int:
    async def count() -> int:
        found = 0
        async for record in read_topic(stack.settings, stack.settings.topics.events):
            event = json.loads(record.value or b"{}")
            mine = event["intent_id"].startswith(case.name)
            found += mine and event["name"] == "onlyfans_message_scheduled"
        return found

    return asyncio.run(count())


@pytest.fixture
def settings(stack: RunningStack) -> Settings:
    """Topics of its own on the running broker: no other pacer has them."""
    own = stack.settings.model_copy(
        update={
            "hybrid_topic_prefix": f"pace-{uuid.uuid4().hex[:8]}",
            "hybrid_partitions": 1,
            "hybrid_session_timeout": 1.0,
        }
    )
    asyncio.run(ensure_topics(own))
    return own


@asynccontextmanager
async def pacing(settings: Settings) -> AsyncIterator[list[LogEvent]]:
    said: list[LogEvent] = []

    def log(event: LogEvent, /, **_: object) -> None:
        said.append(event)

    pacer = DeliveryPacer(
        settings,
        clock=SystemClock(),
        dice=SystemDice(),
        worker="w",
        log=log,
        lease_holds=lambda: True,
    )
    task = asyncio.create_task(pacer.run())
    try:
        yield said
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def to_deliver(settings: Settings, *users: str, content: str = "c") -> None:
    """Results that are to be delivered, in order."""
    async with producer(settings) as client:
        sent = []
        for number, user in enumerate(users):
            task = a_task(intent_id=f"i-{number}", execution_id=uuid.uuid4().hex)
            result = a_result(task).model_copy(update={"user_id": user, "content": content})
            headers = [(DELIVERY_HEADER, b"{}")]
            sent.append(
                await client.send(settings.topics.results, result.to_json(), headers=headers)
            )
        await asyncio.gather(*sent)


async def until_delivered(settings: Settings, *users: str) -> list[Delivery]:
    async def look() -> list[Delivery]:
        return [
            Delivery.model_validate_json(record.value or b"")
            async for record in read_topic(settings, settings.topics.deliveries)
        ]

    found = await soon(look, lambda seen: {one.user_id for one in seen} >= set(users))
    return list(found)


def test_a_thousand_deliveries_of_one_user_hold_up_nobody(settings: Settings) -> None:
    patient = settings.model_copy(update={"hybrid_delivery_spacing": 3600.0})

    async def story() -> list[Delivery]:
        await to_deliver(patient, *["busy"] * 1_200, "quiet")
        async with pacing(patient):
            return await until_delivered(patient, "busy", "quiet")

    found = asyncio.run(story())
    assert sorted(one.user_id for one in found) == ["busy", "quiet"]
    assert all(one.content == "c" for one in found)


def test_a_pacer_that_was_fenced_goes_on_where_its_lane_stays(settings: Settings) -> None:
    async def story() -> list[LogEvent]:
        async with pacing(settings) as said:
            await to_deliver(settings, "a")
            await until_delivered(settings, "a")
            other = producer(
                settings, transactional_id=f"{settings.hybrid_topic_prefix}.deliveries"
            )
            async with other:
                await to_deliver(settings, "b")
            await until_delivered(settings, "a", "b")
            return said

    assert asyncio.run(story()).count(LogEvent.DELIVERIES_FENCED) == 1


def test_what_went_out_is_known_although_a_deposed_leader_names_the_end(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = settings.model_copy(update={"hybrid_delivery_spacing": 3600.0})

    async def story() -> list[Delivery]:
        leader = DeposedLeader()
        await leader.look(patient, TopicPartition(patient.topics.deliveries, 0))
        # The second one waits, so the read position stays before the third, which goes out.
        await to_deliver(patient, "busy", "busy", "quiet")
        async with pacing(patient):
            await until_delivered(patient, "busy", "quiet")
        monkeypatch.setattr("streams.deliveries.memory.consumer", leader.consumer)
        async with pacing(patient):
            await to_deliver(patient, "late")
            return await until_delivered(patient, "late")

    found = asyncio.run(story())
    assert sorted(one.user_id for one in found) == ["busy", "late", "quiet"]


def test_a_delivery_that_the_broker_refuses_is_not_passed_over(settings: Settings) -> None:
    """aiokafka commits a transaction of which a record was refused, as if it had not been there."""

    async def limit(size: int) -> None:
        async with admin_client(settings) as admin:
            await set_config(admin, settings.topics.deliveries, "max.message.bytes", str(size))
            wanted = {"max.message.bytes": str(size)}
            await until_configured(admin, settings.topics.deliveries, wanted)

    async def story() -> list[Delivery]:
        await limit(1_000)
        await to_deliver(settings, "a", content="long " * 1_000)
        async with pacing(settings) as said:
            await soon(lambda: _now(said), lambda heard: LogEvent.DELIVERIES_DELAYED in heard)
            await limit(1_048_576)
            return await until_delivered(settings, "a")

    assert [one.user_id for one in asyncio.run(story())] == ["a"]


async def _now(said: list[LogEvent]) -> list[LogEvent]:
    return list(said)

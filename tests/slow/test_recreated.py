"""A topic of intents that is deleted and made anew while workers run: what comes then is new work."""

import asyncio
import json

import pytest

from streams.kafka.clients import admin_client
from streams.kafka.topics import ensure_topics
from streams.publishing.intents import open_producer
from tests.chaos.oracle import read_outcomes
from tests.chaos.running import RunningStack, running_stack
from tests.integration.driving import eventually, soon

pytestmark = pytest.mark.integration


@pytest.mark.timeout(240)
def test_intents_of_a_topic_made_anew_are_told_from_those_that_stood_there_before(
    stack: RunningStack,
) -> None:
    """None of them has an id: those that they are given are made of the places they stand at."""
    with running_stack(workers=1, environment={}, partitions=4, host=stack) as running:
        publish(running, 30)
        eventually(lambda: count(running), lambda found: found == 30)
        asyncio.run(made_anew(running, running.settings.topics.intents))
        publish(running, 12)
        eventually(lambda: count(running), lambda found: found == 42, within_s=60)
        assert not asyncio.run(read_outcomes(running.settings)).doubled()
        # Whether a worker sees that it was gone is a matter of moments; then it says so, and ends.
        said = (running.stack.folder / "logs" / "worker-0.log").read_text()
        intents = running.settings.topics.intents
        assert (f"topic {intents} gave no partitions" in said) == (running.stack.restarts > 0)


def publish(running: RunningStack, number: int) -> None:
    async def send() -> None:
        async with open_producer(running.settings) as client:
            for one in range(number):
                intent = {"type": "message_generation", "user_id": f"u-{one}", "data": {}}
                await client.send_and_wait(
                    running.settings.topics.intents, json.dumps(intent).encode(), partition=one % 3
                )

    asyncio.run(send())


def count(running: RunningStack) -> int:
    found = asyncio.run(read_outcomes(running.settings))
    assert not found.dead_letters
    return found.count()


async def made_anew(running: RunningStack, topic: str) -> None:
    async with admin_client(running.settings) as admin:
        await admin.delete_topics([topic])
        await soon(admin.list_topics, lambda names: topic not in names)
    await ensure_topics(running.settings)

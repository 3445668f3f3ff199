"""Intents of upstream systems that write in transactions; what was aborted never runs."""

import asyncio
import json

import pytest

from streams.kafka.clients import producer
from tests.chaos.running import RunningStack
from tests.integration.driving import Case

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("which", ["intents", "deferred"])
def test_aborted_intents_never_run_and_committed_ones_run_once(
    stack: RunningStack, which: str
) -> None:
    """The deferred topics are written in transactions too: read_uncommitted would run the aborted."""
    stack.set_faults({"openai": {"latency_ms": 5}, "azure": {"latency_ms": 5}})
    case = Case(stack)
    topics = stack.settings.topics
    topic = topics.intents if which == "intents" else topics.deferred[0]
    aborted = [case.intent() for _ in range(12)]
    committed = [case.intent() for _ in range(12)]

    async def write() -> None:
        client = producer(stack.settings, transactional_id=f"upstream-{case.name}")
        await client.start()
        try:
            for intents, commits in ((aborted, False), (committed, True)):
                await client.begin_transaction()
                for number, intent in enumerate(intents):
                    await client.send(
                        topic,
                        value=json.dumps(intent).encode(),
                        key=intent["intent_id"].encode(),
                        partition=number % stack.settings.hybrid_partitions,
                    )
                await client.flush()
                await (client.commit_transaction() if commits else client.abort_transaction())
        finally:
            await client.stop()

    asyncio.run(write())
    outcomes = case.wait(12)
    wanted = {one["intent_id"] for one in committed}
    assert {*outcomes.results} == wanted
    assert not outcomes.doubled()
    assert {call["intent"] for call in case.calls()} == wanted


def test_what_stands_behind_an_open_transaction_waits_for_its_end_and_runs_once(
    stack: RunningStack,
) -> None:
    """Nobody can know yet whether what is open counts; the other partitions go on."""
    stack.set_faults({"openai": {"latency_ms": 5}, "azure": {"latency_ms": 5}})
    case = Case(stack)
    topic = stack.settings.topics.intents
    never, behind, beside = (case.intent() for _ in range(3))

    async def write() -> None:
        stranger = producer(stack.settings, transactional_id=f"stranger-{case.name}")
        plain = producer(stack.settings)
        await stranger.start()
        await plain.start()
        try:
            await stranger.begin_transaction()
            for client, intent, partition in (
                (stranger, never, 0), (plain, behind, 0), (plain, beside, 1),
            ):  # fmt: skip
                value = json.dumps(intent).encode()
                await client.send_and_wait(topic, value, b"k", partition=partition)
            seen = await asyncio.to_thread(case.wait, 1)
            assert {*seen.results} == {beside["intent_id"]}
            await stranger.abort_transaction()
        finally:
            await stranger.stop()
            await plain.stop()

    asyncio.run(write())
    outcomes = case.wait(2)
    assert {*outcomes.results} == {beside["intent_id"], behind["intent_id"]}
    assert not outcomes.doubled()
    assert len(case.calls()) == 2

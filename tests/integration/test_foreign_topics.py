"""What strangers write into topics of ours, and what their open transactions do to readers."""

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiokafka import ConsumerRecord
from aiokafka.structs import TopicPartition

from agents.clock import SystemClock
from schemas.events import CachedAnswer
from schemas.settings import Settings
from schemas.vocabulary import LogEvent
from streams.kafka.clients import producer
from streams.kafka.following import follow
from streams.kafka.reading import TopicStalledError, read_topic
from streams.kafka.topics import ensure_topics
from tests.chaos.running import RunningStack
from tests.integration.test_commands import hybrid

pytestmark = pytest.mark.integration
FOREIGN = [b"{nope", b"\xff\xfe", b"[]", b"null", b"", None, b'{"a":"\\ud800"}', b"[" * 200_000]


@pytest.fixture
def own(stack: RunningStack) -> Settings:
    """Topics that no worker writes to."""
    changes = {"hybrid_topic_prefix": f"own-{uuid.uuid4().hex[:8]}", "hybrid_partitions": 2}
    settings = stack.settings.model_copy(update=changes)
    asyncio.run(ensure_topics(settings))
    return settings


def run(body: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(90):
            await body()

    asyncio.run(bounded())


async def write(settings: Settings, topic: str, *values: bytes | None) -> None:
    client = producer(settings)
    await client.start()
    try:
        for value in values:
            await client.send_and_wait(topic, value, b"k", partition=0)
    finally:
        await client.stop()


def environment(stack: RunningStack, settings: Settings) -> dict[str, str]:
    return {**stack.stack.environment(), "HYBRID_TOPIC_PREFIX": settings.hybrid_topic_prefix}


def test_results_pass_over_what_is_no_result_and_say_so(stack: RunningStack, own: Settings) -> None:
    run(lambda: write(own, own.topics.results, *FOREIGN, b'{"intent_id":"mine"}'))
    done = hybrid("results", environment=environment(stack, own))
    assert (done.returncode, done.stdout) == (0, '{"intent_id":"mine"}\n')
    assert done.stderr.count("not a JSON object, passed over") == len(FOREIGN)
    run(lambda: write(own, own.topics.dead_letters, *FOREIGN))
    letters = hybrid("dlq", "list", "--format", "json", environment=environment(stack, own))
    assert (letters.returncode, json.loads(letters.stdout or "[]")) == (0, [])


def test_following_goes_on_behind_what_cannot_be_taken(own: Settings) -> None:
    async def body() -> None:
        good = CachedAnswer(provider="openai", served_model="m", content="c", stored_at_ms=1)
        await write(own, own.topics.cache, *FOREIGN, good.to_json())
        taken: asyncio.Queue[str] = asyncio.Queue()
        lines: list[tuple[LogEvent, dict[str, Any]]] = []

        def take(record: ConsumerRecord) -> None:
            taken.put_nowait(CachedAnswer.model_validate_json(record.value).content)

        def log(event: LogEvent, /, *, level: str = "info", **fields: Any) -> None:
            assert level == "warning"
            lines.append((event, fields))

        following = asyncio.create_task(
            follow(own, own.topics.cache, take, clock=SystemClock(), log=log)
        )
        assert await taken.get() == "c"
        following.cancel()
        assert [event for event, _ in lines] == [LogEvent.RECORD_PASSED_OVER] * len(FOREIGN)
        assert [fields["offset"] for _, fields in lines] == list(range(len(FOREIGN)))

    run(body)


def test_an_open_transaction_of_a_stranger_holds_no_reader_up(
    stack: RunningStack, own: Settings
) -> None:
    async def body() -> None:
        await write(own, own.topics.results, b'{"intent_id":"before"}')
        client = producer(own, transactional_id=f"stranger-{uuid.uuid4().hex}")
        await client.start()
        await client.begin_transaction()
        await client.send_and_wait(own.topics.results, b'{"intent_id":"never"}', partition=0)
        try:
            loop = asyncio.get_running_loop()
            done = await loop.run_in_executor(
                None, lambda: hybrid("results", environment=environment(stack, own))
            )
            assert (done.returncode, done.stdout) == (0, '{"intent_id":"before"}\n')
        finally:
            await client.abort_transaction()
            await client.stop()
        seen = [record.value async for record in read_topic(own, own.topics.results)]
        assert seen == [b'{"intent_id":"before"}']

    run(body)


def test_the_doctor_names_a_partition_that_an_open_transaction_holds_up(
    stack: RunningStack, own: Settings
) -> None:
    def said() -> dict[str, str]:
        done = hybrid("doctor", "--format", "json", environment=environment(stack, own))
        (found,) = [row for row in json.loads(done.stdout) if row["check"] == "transactions"]
        return {"state": found["state"], "detail": found["detail"]}

    async def body() -> None:
        await write(own, own.topics.urgent, b"{}")
        loop = asyncio.get_running_loop()
        assert (await loop.run_in_executor(None, said))["state"] == "ok"
        client = producer(own, transactional_id=f"stranger-{uuid.uuid4().hex}")
        await client.start()
        await client.begin_transaction()
        await client.send_and_wait(own.topics.urgent, b"{}", partition=0)
        try:
            found = await loop.run_in_executor(None, said)
        finally:
            await client.abort_transaction()
            await client.stop()
        assert found["state"] == "warning"
        assert f"partition 0 of {own.topics.urgent} at offset 1 of 2" in found["detail"]

    run(body)


def test_an_end_that_stays_out_of_reach_is_one_sentence(
    own: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aiokafka import AIOKafkaConsumer

    async def beyond(_client: Any, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 5)

    monkeypatch.setattr(AIOKafkaConsumer, "end_offsets", beyond)

    async def body() -> None:
        with pytest.raises(TopicStalledError) as raised:
            async for _ in read_topic(own, own.topics.results, stall_limit_s=0.5):
                pass
        assert str(raised.value).startswith(f"partition 0 of {own.topics.results} gives nothing")

    run(body)

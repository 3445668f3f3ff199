"""The client on a real broker with real workers: how each way of waiting ends."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from hybrid.client import (
    AzureExecutionResult,
    DeadLetterError,
    ExecutionTimeoutError,
    HybridClient,
    HybridSyncClient,
    OpenAIExecutionError,
    OpenAIExecutionResult,
    UnavailableError,
    UsageError,
)
from hybrid.stack.process import free_port
from streams.kafka.clients import connection_options, consumer, partitions_of, started
from tests.chaos.running import RunningStack
from tests.integration.driving import Case, soon

pytestmark = pytest.mark.integration
QUICK = {"latency_ms": 5}
TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def case(stack: RunningStack) -> Iterator[Case]:
    stack.set_faults({"openai": QUICK, "azure": QUICK})
    yield Case(stack)
    stack.set_faults({"openai": QUICK, "azure": QUICK})


def settings(case: Case) -> dict[str, Any]:
    found = case.stack.settings
    return {
        "kafka_bootstrap_servers": found.kafka_bootstrap_servers,
        "hybrid_topic_prefix": found.hybrid_topic_prefix,
    }


def client_of(case: Case, **more: Any) -> HybridClient:
    return HybridClient(**{**settings(case), **more})


def without_id(case: Case, **changes: Any) -> dict[str, Any]:
    return {name: one for name, one in case.intent(**changes).items() if name != "intent_id"}


async def published(case: Case) -> int:
    """How many records the topic of intents has had."""
    async with started(consumer(case.stack.settings)) as reader:
        tps = await partitions_of(reader, case.stack.settings.topics.intents)
        return sum((await reader.end_offsets(tps)).values())


def test_a_result_is_waited_for_and_typed_by_its_provider(case: Case) -> None:
    async def run() -> None:
        async with client_of(case) as client:
            result = await client.execute(without_id(case), timeout=60)
            assert isinstance(result, OpenAIExecutionResult)
            assert result.content
            other = await client.execute(without_id(case, type="content_planning"), timeout=60)
            assert isinstance(other, AzureExecutionResult)

    asyncio.run(run())


def test_an_outcome_that_is_there_already_is_given_and_nothing_is_published(case: Case) -> None:
    """Published by somebody else, by this client before, and by one that is gone."""
    intent = case.intent()
    case.publish(intent)
    first = case.result()
    before = asyncio.run(published(case))

    async def run() -> None:
        for _ in range(2):
            async with client_of(case) as client:
                for _ in range(2):
                    result = await client.execute(intent, timeout=30)
                    assert result.result_id == first["result_id"]
                waited = await client.wait(intent["intent_id"], timeout=30)
                assert waited.result_id == first["result_id"]

    asyncio.run(run())
    assert asyncio.run(published(case)) == before
    assert len(case.calls()) == 1


def test_the_same_deduplication_id_is_the_same_work_for_every_client(case: Case) -> None:
    intent = without_id(case, deduplication_id=f"{case.name}-order")

    async def run() -> set[str]:
        async with client_of(case) as one, client_of(case) as other:
            found = await asyncio.gather(
                *(c.execute(intent, timeout=60) for c in (one, other, one))
            )
            found.append(await other.execute(intent, timeout=60))
        return {result.result_id for result in found}

    assert len(asyncio.run(run())) == 1


def test_a_look_back_reaches_as_far_as_is_said(case: Case) -> None:
    intent = case.intent()
    case.publish(intent)
    case.result()

    async def run() -> None:
        async with client_of(case, look_back=0) as client:
            with pytest.raises(ExecutionTimeoutError):
                await client.wait(intent["intent_id"], timeout=1)

    asyncio.run(run())


def test_a_dead_letter_is_an_error_that_says_whose(case: Case) -> None:
    case.stack.set_faults({"openai": {"always": "400"}, "azure": {"always": "400"}})
    intent = case.intent()
    headers = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}

    async def run() -> None:
        async with client_of(case) as client:
            with pytest.raises(OpenAIExecutionError) as caught:
                await client.execute(intent, timeout=60, headers=headers)
            error = caught.value
            assert (error.reason, error.error_class, error.status) == (
                "rejected",
                "validation",
                400,
            )
            assert (error.attempts, error.trace_id) == (1, TRACE)
            assert (error.cost_usd, error.retriable) == (0, False)
            assert error.intent_id == intent["intent_id"]
            # It is decided: asked again, it is the same end.
            with pytest.raises(OpenAIExecutionError) as again:
                await client.execute(intent, timeout=60)
            assert again.value.dead_letter == error.dead_letter
            with pytest.raises(DeadLetterError, match="deadline") as late:
                await client.execute(case.intent(deadline_ms=1), timeout=60)
            assert type(late.value) is DeadLetterError

    asyncio.run(run())


def test_after_a_time_out_the_intent_still_runs_and_can_be_waited_for(case: Case) -> None:
    async def run() -> None:
        async with client_of(case) as client:
            await client.execute(without_id(case), timeout=60)  # all connections stand
            slow = {"latency_ms": 2500}
            case.stack.set_faults({"openai": slow, "azure": slow})
            with pytest.raises(ExecutionTimeoutError) as caught:
                await client.execute(without_id(case), timeout=1.5)
            assert caught.value.is_published
            result = await client.wait(caught.value.intent_id, timeout=60)
            assert result.intent_id == caught.value.intent_id

    asyncio.run(run())


@asynccontextmanager
async def transactional(case: Case) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(
        **connection_options(case.stack.settings), transactional_id=f"caller-{uuid.uuid4().hex}"
    )
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


def test_an_intent_in_the_callers_transaction_runs_when_that_is_committed(case: Case) -> None:
    aborted, committed = case.intent(), [case.intent(), case.intent()]

    async def run() -> None:
        async with client_of(case) as client, transactional(case) as producer:
            with pytest.raises(UsageError, match="begin a transaction first"):
                await client.publish(aborted, producer=producer)
            await producer.begin_transaction()
            await client.publish(aborted, producer=producer)
            await producer.abort_transaction()
            async with producer.transaction():
                done = await client.publish_many(committed, producer=producer)
                with pytest.raises(ExecutionTimeoutError):
                    await client.wait(done[0].intent_id, timeout=1)
            for one in done:
                assert (await client.wait(one.intent_id, timeout=60)).intent_id == one.intent_id
            with pytest.raises(ExecutionTimeoutError):
                await client.wait(aborted["intent_id"], timeout=1)

    asyncio.run(run())
    assert len(case.calls()) == 2


def test_all_outcomes_come_at_least_once_with_their_places(case: Case) -> None:
    began = datetime.now(UTC) - timedelta(seconds=5)
    intents = [case.intent() for _ in range(20)]

    async def mine(stream: Any, count: int) -> list[Any]:
        found: list[Any] = []
        async with asyncio.timeout(60), aclosing(stream) as outcomes:
            async for one in outcomes:
                if one.intent_id.startswith(case.name):
                    found.append(one)
                if len(found) >= count:
                    break
        return found

    async def run() -> None:
        async with client_of(case) as client:
            await client.publish_many(intents)
            found = await mine(client.outcomes(since=began), 20)
            assert len({(one.topic, one.partition, one.offset) for one in found}) == 20
            assert {one.intent_id for one in found} == {one["intent_id"] for one in intents}
            # Who keeps the places goes on behind them.
            places: dict[tuple[str, int], int] = {}
            for one in found[:10]:
                places[one.topic, one.partition] = max(
                    places.get((one.topic, one.partition), -1), one.offset
                )
            rest = await mine(
                client.outcomes(after={name: offset - 1 for name, offset in places.items()}), 1
            )
            assert rest
            # A group goes on where it has got to: what was asked past is done.
            group = f"{case.name}.billing"
            half = await mine(client.outcomes(group=group), 10)
            more = await mine(client.outcomes(group=group), 11)
            seen = {one.intent_id for one in half} | {one.intent_id for one in more}
            assert seen == {one["intent_id"] for one in intents}
            assert half[-1].intent_id in {one.intent_id for one in more}
            with pytest.raises(UsageError, match="no partition of the outcomes' topics"):
                await anext(client.outcomes(after={("elsewhere", 0): 1}))

    asyncio.run(run())


def test_a_group_that_gets_a_member_leaves_nothing_out(case: Case) -> None:
    intents = [case.intent() for _ in range(60)]
    group = f"{case.name}.shared"
    seen: dict[str, set[str]] = {"one": set(), "other": set()}

    async def member(client: HybridClient, name: str) -> None:
        async with aclosing(client.outcomes(group=group)) as outcomes:
            async for one in outcomes:
                if one.intent_id.startswith(case.name):
                    seen[name].add(one.intent_id)

    async def found() -> int:
        return len(seen["one"] | seen["other"])

    async def run() -> None:
        async with client_of(case) as client:
            first = asyncio.create_task(member(client, "one"))
            await client.publish_many(intents[:30])
            await soon(found, lambda count: count >= 10)
            second = asyncio.create_task(member(client, "other"))
            await client.publish_many(intents[30:])
            await soon(found, lambda count: count == 60)
            # Both have a share: what comes now is shared.
            more = [case.intent() for _ in range(40)]
            await client.publish_many(more)
            await soon(found, lambda count: count == 100)
            first.cancel()
            second.cancel()
            await asyncio.gather(first, second, return_exceptions=True)

    asyncio.run(run())


def test_the_synchronous_twin_does_the_same(case: Case) -> None:
    with HybridSyncClient(**settings(case)) as client:
        intent = case.intent()
        assert client.execute(intent, timeout=60).intent_id == intent["intent_id"]
        published = client.publish(case.intent())
        assert client.wait(published.intent_id, timeout=60).intent_id == published.intent_id
        assert len(client.publish_many([case.intent(), case.intent()])) == 2
        began = datetime.now(UTC) - timedelta(minutes=5)
        with closing(client.outcomes(since=began)) as outcomes:
            assert next(outcomes).offset >= 0
        with pytest.raises(DeadLetterError):
            client.execute(case.intent(deadline_ms=1), timeout=60)
        left_open = client.outcomes(since=began)
        next(left_open)
    case.wait(5)


def test_what_kafka_lacks_is_said_in_a_sentence(case: Case) -> None:
    async def run() -> None:
        async with client_of(case, hybrid_topic_prefix="nowhere") as client:
            for doing in (client.publish(case.intent()), client.wait("i-1", timeout=10)):
                with pytest.raises(UnavailableError, match="topics are missing: nowhere"):
                    await doing
        port = free_port()
        async with client_of(case, kafka_bootstrap_servers=f"127.0.0.1:{port}") as client:
            with pytest.raises(UnavailableError, match=f"no Kafka broker answers at .*{port}"):
                await client.execute(case.intent(), timeout=30)

    asyncio.run(run())


def test_who_waits_when_the_client_closes_is_told(case: Case) -> None:
    case.stack.set_faults({"openai": {"latency_ms": 2000}, "azure": {"latency_ms": 2000}})

    async def run() -> None:
        before = await published(case)
        async with client_of(case) as client:
            waiting = asyncio.create_task(client.execute(case.intent(), timeout=60))
            await soon(lambda: published(case), lambda count: count > before)
        with pytest.raises(UnavailableError, match="the client was closed"):
            await waiting

    asyncio.run(run())
    case.wait(1)

"""The lane's side of the broker on a real one: fencing by lane, and commits left without markers."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable

import pytest
from aiokafka.errors import ProducerFenced

from schemas.events import LedgerRecord
from schemas.settings import Settings
from streams.kafka.topics import ensure_topics
from streams.lanes.broker import KafkaLaneBroker, LaneProducer
from streams.lanes.ledger import Ledger
from tests.chaos.running import RunningStack

pytestmark = pytest.mark.integration


@pytest.fixture
def settings(stack: RunningStack) -> Settings:
    """Topics of its own on the running broker: nobody else has their lanes."""
    own = stack.settings.model_copy(
        update={"hybrid_topic_prefix": f"lane-{uuid.uuid4().hex[:8]}", "hybrid_partitions": 2}
    )
    asyncio.run(ensure_topics(own))
    return own


def run(body: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await body()

    asyncio.run(bounded())


def an_entry(offset: int) -> bytes:
    return LedgerRecord.model_validate(
        {
            "outcome_id": f"o-{offset}",
            "status": "completed",
            "topic": "intents",
            "offset": offset,
            "decided_at_ms": 1,
        }
    ).to_json()


async def commit(client: LaneProducer, settings: Settings, lane: int, key: bytes) -> None:
    await client.begin_transaction()
    sent = await client.send(
        settings.topics.ledger, value=an_entry(1), key=key, partition=lane, headers=[]
    )
    await sent
    await client.commit_transaction()


def ledger_of(settings: Settings) -> Ledger:
    return Ledger(sources=settings.topics.sources, window_ms=10**15)


def test_lanes_of_one_worker_do_not_fence_each_other(settings: Settings) -> None:
    """A transactional id for the whole worker would."""

    async def body() -> None:
        broker = KafkaLaneBroker(settings)
        zero, one = await broker.open_producer(0), await broker.open_producer(1)
        for _ in range(2):
            await commit(zero, settings, 0, b"a")
            await commit(one, settings, 1, b"b")
        await zero.stop()
        await one.stop()

    run(body)


def test_another_worker_that_opens_a_lane_fences_the_first(settings: Settings) -> None:
    """Only then can the ledger's end be its end; a transactional id of the worker's would not do."""

    async def body() -> None:
        old = await KafkaLaneBroker(settings).open_producer(0)
        await commit(old, settings, 0, b"a")
        new = await KafkaLaneBroker(settings).open_producer(0)
        with pytest.raises(ProducerFenced):
            await commit(old, settings, 0, b"b")
        ledger = ledger_of(settings)
        await KafkaLaneBroker(settings).read_ledger(0, ledger)
        assert (ledger.get("a", now_ms=2) is not None, ledger.get("b", now_ms=2)) == (True, None)
        await old.stop()
        await new.stop()

    run(body)


def test_a_commit_without_markers_is_ended_before_the_ledger_is_read(settings: Settings) -> None:
    """In place of a broker that crashed between commit and markers: a transaction left open."""

    async def body() -> None:
        broker = KafkaLaneBroker(settings)
        hanging = await broker.open_producer(0)
        await hanging.begin_transaction()
        for topic in (settings.topics.ledger, settings.topics.results):
            sent = await hanging.send(topic, value=an_entry(1), key=b"a", partition=0, headers=[])
            await sent
        # The client forgets it, as a new one under the same id would not know it.
        hanging._txn_manager.state = type(hanging._txn_manager.state).READY  # type: ignore[attr-defined]
        hanging._txn_manager._txn_partitions.clear()  # type: ignore[attr-defined]
        assert not await broker._is_stable(0)
        await broker.end_hanging(hanging)  # type: ignore[arg-type]
        assert await broker._is_stable(0)
        ledger = ledger_of(settings)
        await broker.read_ledger(0, ledger)
        assert ledger.get("a", now_ms=2) is not None
        await hanging.stop()

    run(body)

"""The lane's side of the broker on a real one: fencing by lane, and commits left without markers."""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from itertools import chain

import pytest
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import ProducerFenced

from agents.clock import ManualClock
from agents.deciding.budgets import Spending
from schemas.events import LedgerRecord
from schemas.settings import Settings
from streams.kafka.clients import consumer, producer, started
from streams.kafka.faults import FaultKind, RefusedWriteError, kind_of
from streams.kafka.partitioning import partition_of
from streams.kafka.topics import ensure_topics
from streams.lanes.broker import KafkaLaneBroker, LaneProducer
from streams.lanes.ledger import CLOCKS_DIFFER_MS, Ledger
from streams.lanes.packing import all_written
from streams.lanes.reach import uncommitted_since
from streams.messages.identity import identify
from streams.messages.records import REPLAYED_HEADER, VERSION, OutRecord, replay_record
from tests.builders import NOW, NOW_MS, an_incoming
from tests.chaos.running import RunningStack
from tests.integration.deposed import DeposedLeader

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
            "decided_at_ms": time.time_ns() // 1_000_000,
        }
    ).to_json()


async def read_all(settings: Settings, tp: TopicPartition, count: int) -> list[ConsumerRecord]:
    read: list[ConsumerRecord] = []
    async with started(consumer(settings)) as reader:
        reader.assign([tp])
        await reader.seek_to_beginning(tp)
        while len(read) < count:
            read += [*chain(*(await reader.getmany(timeout_ms=200)).values())]
    return read


async def commit(client: LaneProducer, settings: Settings, lane: int, key: bytes) -> None:
    await client.begin_transaction()
    sent = await client.send(
        settings.topics.ledger, value=an_entry(1), key=key, partition=lane, headers=[]
    )
    await sent
    await client.commit_transaction()


def ledger_of(settings: Settings) -> Ledger:
    return Ledger(sources=settings.topics.sources, window_ms=10**15)


async def read(
    settings: Settings, client: LaneProducer, lane: int = 0, ledger: Ledger | None = None
) -> Ledger:
    """Read what there is to know of a lane, as its opening does."""
    broker, ledger = KafkaLaneBroker(settings), ledger or ledger_of(settings)
    await broker.read_ledger(lane, ledger, await broker.mark_ends(lane, client))
    return ledger


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


def test_what_a_transaction_writes_is_whole_and_in_order_whatever_its_size(
    settings: Settings,
) -> None:
    events, results = settings.topics.events, settings.topics.results
    sizes = [1_000] * 150 + [200_000] + [1_000] * 150  # several batches, and one of its own
    traced = (("traceparent", b"00-aa-bb-01"),)
    keyed = [
        OutRecord(results, f"k-{number}".encode(), b"%d" % number, traced) for number in range(40)
    ]
    placed = [
        OutRecord(events, b"k", b"%06d" % number + b"x" * size, partition=1)
        for number, size in enumerate(sizes)
    ]

    async def body() -> None:
        lane_broker = KafkaLaneBroker(settings)
        client = await lane_broker.open_producer(0)
        try:
            await client.begin_transaction()
            await all_written(await client.write([*keyed, *placed]))
            await client.commit_transaction()
        finally:
            await client.stop()
        read = await read_all(settings, TopicPartition(events, 1), len(placed))
        assert [int(one.value[:6]) for one in read] == list(range(len(placed)))
        assert [len(one.value) - 6 for one in read] == sizes
        for number in (0, 1):
            own = [one for one in keyed if partition_of(one.key, [0, 1], [0, 1]) == number]
            assert own, "keys of both partitions"
            read = await read_all(settings, TopicPartition(results, number), len(own))
            headers = (*traced, VERSION)
            assert [(one.key, one.headers) for one in read] == [(one.key, headers) for one in own]

    run(body)


def test_a_record_that_cannot_be_encoded_is_refused_by_its_topic(settings: Settings) -> None:
    async def body() -> None:
        client = await KafkaLaneBroker(settings).open_producer(0)
        try:
            await client.begin_transaction()
            odd = OutRecord(settings.topics.events, b"k", "no bytes", partition=0)  # type: ignore[arg-type]
            with pytest.raises(RefusedWriteError) as refused:
                await client.write([odd])
            assert refused.value.topic == settings.topics.events
            assert kind_of(refused.value) is FaultKind.RECORD
        finally:
            await client.stop()

    run(body)


def test_another_worker_that_opens_a_lane_fences_the_first(settings: Settings) -> None:
    """Only then can the ledger's end be its end; a transactional id of the worker's would not do."""

    async def body() -> None:
        old = await KafkaLaneBroker(settings).open_producer(0)
        await commit(old, settings, 0, b"a")
        new = await KafkaLaneBroker(settings).open_producer(0)
        with pytest.raises(ProducerFenced):
            await commit(old, settings, 0, b"b")
        ledger = await read(settings, new)
        assert (ledger.get("a") is not None, ledger.get("b")) == (True, None)
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
        ledger = await read(settings, hanging)
        assert ledger.get("a") is not None
        # Nobody knows any more where the transaction wrote: every partition gets its marker.
        results = [TopicPartition(settings.topics.results, number) for number in (0, 1)]
        async with started(consumer(settings)) as reader:
            ends = await reader.end_offsets(results)
            assert [ends[tp] for tp in results] == [2, 1]
        await hanging.stop()

    run(body)


def test_what_is_known_of_a_lane_does_not_end_where_a_deposed_leader_says(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen with three brokers: one that thaws names the end that it knew, and intents ran twice."""

    async def body() -> None:
        topics = settings.topics
        broker = KafkaLaneBroker(settings, spending=Spending(()))
        old, leader = await broker.open_producer(0), DeposedLeader()
        watched = (topics.ledger, topics.spend, topics.replays)
        await leader.look(settings, *(TopicPartition(topic, 0) for topic in watched))
        await commit(old, settings, 0, b"a")
        monkeypatch.setattr("streams.lanes.ledger.consumer", leader.consumer)
        ledger = Ledger(sources=topics.sources, window_ms=1_000)
        new = await broker.open_producer(0)
        await broker.read_ledger(0, ledger, await broker.mark_ends(0, new))
        assert ledger.get("a") is not None
        await old.stop()
        await new.stop()

    run(body)


async def write(settings: Settings, topic: str, lane: int, *timestamps: int) -> None:
    client = producer(settings)
    await client.start()
    for one in timestamps:
        # Larger than one fetch asks for: a broker gives the whole batch in any case.
        await client.send_and_wait(topic, b"x" * 100_000, partition=lane, timestamp_ms=one)
    await client.stop()


async def commit_offset(settings: Settings, topic: str, lane: int, offset: int) -> None:
    async with started(consumer(settings, group_id=settings.worker_group)) as reader:
        tp = TopicPartition(topic, lane)
        reader.assign([tp])
        await reader.commit({tp: offset})


def test_the_horizon_is_the_moment_of_the_first_record_that_is_not_committed(
    settings: Settings,
) -> None:
    async def body() -> None:
        clock, topics = ManualClock(NOW), settings.topics
        broker = KafkaLaneBroker(settings, clock=clock)
        assert await broker.horizons([0, 1]) == {0: NOW_MS, 1: NOW_MS}
        await write(settings, topics.intents, 0, NOW_MS - 30_000, NOW_MS - 20_000, NOW_MS - 10_000)
        await write(settings, topics.urgent, 0, NOW_MS)
        beyond = NOW_MS - CLOCKS_DIFFER_MS
        assert await broker.horizons([0, 1]) == {0: beyond - 30_000, 1: NOW_MS}
        await commit_offset(settings, topics.intents, 0, 1)
        assert (await broker.horizons([0]))[0] == beyond - 20_000
        await commit_offset(settings, topics.intents, 0, 3)
        await commit_offset(settings, topics.urgent, 0, 1)
        assert (await broker.horizons([0]))[0] == NOW_MS
        # Behind the last record of a transaction is its marker, which is none.
        lane = await broker.open_producer(1)
        await lane.begin_transaction()
        await lane.send(topics.deferred[0], value=b"x", key=None, partition=1, headers=[])
        await lane.commit_transaction()
        assert await uncommitted_since(settings, [1]) != {1: []}
        await commit_offset(settings, topics.deferred[0], 1, 1)
        assert await uncommitted_since(settings, [1]) == {1: []}
        await lane.stop()

    run(body)


def test_a_ledger_is_read_from_where_it_can_still_be_asked(settings: Settings) -> None:
    async def body() -> None:
        now_ms = time.time_ns() // 1_000_000
        long_ago = now_ms - 2 * 86_400_000
        async with producer(settings) as client:
            await client.send_and_wait(
                settings.topics.ledger, an_entry(1), b"a", partition=0, timestamp_ms=long_ago
            )
        broker = KafkaLaneBroker(settings)
        lane = await broker.open_producer(0)
        ends = await broker.mark_ends(0, lane)
        ledger = Ledger(sources=settings.topics.sources, window_ms=1_000)
        assert await broker.read_ledger(0, ledger, ends) == 0
        # A record that waits since then holds it back.
        await write(settings, settings.topics.intents, 0, long_ago)
        ledger = ledger_of(settings)
        assert await broker.read_ledger(0, ledger, ends) == 1
        assert ledger.get("a") is not None
        await lane.stop()

    run(body)


def test_replays_that_were_decided_are_read_back_and_foreign_records_passed_over(
    settings: Settings,
) -> None:
    async def body() -> None:
        who = identify(
            an_incoming(headers=((REPLAYED_HEADER, b"01890a5d-ac96-774b-bcce-b302099a8057"),)),
            max_bytes=1_000,
        ).who
        record = replay_record(settings.topics, who, lane=1, decided_at_ms=NOW_MS)
        assert record is not None
        async with producer(settings) as client:
            await client.send_and_wait(record.topic, b"foreign", b"k", partition=1)
            await client.send_and_wait(record.topic, record.value, record.key, partition=1)
        for lane, known in ((1, True), (0, False)):
            client = await KafkaLaneBroker(settings).open_producer(lane)
            assert (await read(settings, client, lane)).replays.knows(who) is known
            await client.stop()

    run(body)

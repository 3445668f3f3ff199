"""The client when what it stands on fails: its producer is made anew, its reader's end is told."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import (
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumber,
    TopicAuthorizationFailedError,
)

from agents.clock import ManualClock
from hybrid.client import IntentRefusedError, UnavailableError, reader, sender
from hybrid.client.intents import record_of
from hybrid.client.waiting import Waiter
from schemas.settings import Settings
from tests.builders import NOW

SETTINGS = Settings(kafka_bootstrap_servers="x:1")
RECORD = record_of(SETTINGS, {"type": "x", "user_id": "u", "data": {}})


class FakeProducer:
    """Gives each record the next of what it was told: an error, or a place."""

    def __init__(self, *answers: BaseException | None) -> None:
        self.answers = list(answers)
        self.stopped = False

    async def send(self, topic: str, **_: Any) -> Any:
        answer = self.answers.pop(0) if self.answers else None
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if answer is None:
            future.set_result(SimpleNamespace(topic=topic, partition=3, offset=7))
        else:
            future.set_exception(answer)
        return future

    async def stop(self) -> None:
        self.stopped = True


async def nothing(*_: Any, **__: Any) -> None:
    return


async def started(_settings: Settings, make: Callable[[], Any]) -> Any:
    return make()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[FakeProducer]:
    """The producers that will be made, one after the other."""
    coming: list[FakeProducer] = []
    given = iter(coming)
    monkeypatch.setattr(sender, "producer", lambda _settings: next(given))
    monkeypatch.setattr(sender, "started_or_refused", started)
    monkeypatch.setattr(sender, "require_seen", nothing)
    return coming


def test_a_producer_that_lost_a_batch_is_replaced_and_the_intent_sent_again(
    made: list[FakeProducer],
) -> None:
    made += [
        FakeProducer(KafkaTimeoutError()),
        FakeProducer(OutOfOrderSequenceNumber()),
        FakeProducer(),
    ]

    async def run() -> None:
        sending = sender.Sender(SETTINGS, ManualClock(NOW))
        place = await sending.send(RECORD)
        assert (place.intent_id, place.partition, place.offset) == (RECORD.intent_id, 3, 7)
        await sending.close()

    asyncio.run(run())
    assert [one.stopped for one in made] == [True, True, True]


def test_many_at_once_replace_a_failed_producer_once(made: list[FakeProducer]) -> None:
    made += [FakeProducer(*[KafkaTimeoutError() for _ in range(50)]), FakeProducer()]

    async def run() -> None:
        sending = sender.Sender(SETTINGS, ManualClock(NOW))
        places = await asyncio.gather(*(sending.send(RECORD) for _ in range(50)))
        assert len(places) == 50
        await sending.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (
            TopicAuthorizationFailedError("workflow.intents"),
            UnavailableError,
            "WRITE on topic workflow",
        ),
        (MessageSizeTooLargeError(), IntentRefusedError, "takes no record of"),
    ],
)
def test_what_never_passes_is_not_tried_again(
    made: list[FakeProducer], error: Exception, kind: type[Exception], said: str
) -> None:
    made += [FakeProducer(error)]

    async def run() -> None:
        await sender.Sender(SETTINGS, ManualClock(NOW)).send(RECORD)

    with pytest.raises(kind, match=said):
        asyncio.run(run())


class FakeConsumer:
    """Partitions of 100 records, the first 40 of them too old; gives what it is told to."""

    def __init__(self) -> None:
        self.coming: asyncio.Queue[Any] = asyncio.Queue()
        self.positions: dict[TopicPartition, int] = {}
        self.leaderless: set[TopicPartition] = set()

    async def getmany(self, **_: Any) -> Any:
        found = await self.coming.get()
        if isinstance(found, Exception):
            raise found
        return found

    def assign(self, _tps: Any) -> None: ...
    def pause(self, *_tps: Any) -> None: ...
    def resume(self, _tp: Any) -> None: ...

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self.positions[tp] = offset

    async def position(self, tp: TopicPartition) -> int:
        return self.positions[tp]

    async def end_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        if self.leaderless.intersection(tps):
            await asyncio.Event().wait()
        return dict.fromkeys(tps, 100)

    async def offsets_for_times(self, moments: dict[TopicPartition, int]) -> dict[Any, Any]:
        return {tp: SimpleNamespace(offset=40) for tp in moments}

    async def stop(self) -> None: ...


TOPICS = SETTINGS.topics
RESULTS, LETTERS = (TopicPartition(one, 0) for one in (TOPICS.results, TOPICS.dead_letters))


@pytest.fixture
def consumer(monkeypatch: pytest.MonkeyPatch) -> FakeConsumer:
    found = FakeConsumer()

    async def partitions(*_: Any) -> list[TopicPartition]:
        return [RESULTS, LETTERS]

    monkeypatch.setattr(reader, "consumer", lambda *_, **__: found)
    monkeypatch.setattr(reader, "started_or_refused", started)
    monkeypatch.setattr(reader, "partitions_or_refused", partitions)
    return found


async def a_reader(records: int = 1000) -> reader.Reader:
    found = reader.Reader(SETTINGS, ManualClock(NOW), look_back_s=3600, look_back_records=records)
    await found.open()
    return found


def waiting(reading: reader.Reader) -> Waiter:
    waiter = reading.waiter("i-1", key=None, tenant=None, publishes=True)
    waiter.future.add_done_callback(lambda future: future.cancelled() or future.exception())
    return waiter


async def until(holds: Callable[[], bool]) -> None:
    """Let the tasks run until it holds."""
    for _ in range(1000):
        if holds():
            return
        await asyncio.sleep(0)
    raise AssertionError


async def looked_back(reading: reader.Reader, consumer: FakeConsumer) -> None:
    """Look back to the end, as if all records had been read."""
    looking = asyncio.create_task(reading.look_back(waiting(reading)))
    await until(lambda: len(consumer.positions) == 2)
    consumer.positions = dict.fromkeys(consumer.positions, 100)
    consumer.coming.put_nowait({})
    await until(looking.done)


@pytest.mark.parametrize(("records", "begin"), [(1000, 40), (20, 90)])
def test_a_look_back_begins_at_the_moment_or_the_number_that_bounds_it(
    consumer: FakeConsumer, records: int, begin: int
) -> None:
    async def run() -> None:
        reading = await a_reader(records)
        waiter = waiting(reading)
        looking = asyncio.create_task(reading.look_back(waiter))
        await until(lambda: len(consumer.positions) == 2)
        assert consumer.positions == {RESULTS: begin, LETTERS: begin}
        looking.cancel()
        await reading.close()

    asyncio.run(run())


def test_what_went_by_is_read_again_at_its_place_and_only_there(consumer: FakeConsumer) -> None:
    async def run() -> None:
        reading = await a_reader()
        await looked_back(reading, consumer)
        record = SimpleNamespace(
            topic=TOPICS.results, partition=0, offset=70, headers=[("intent-id", b"i-1")], value=b""
        )
        consumer.coming.put_nowait({RESULTS: [record]})
        await until(consumer.coming.empty)
        again = asyncio.create_task(reading.look_back(waiting(reading)))
        await until(lambda: consumer.positions[RESULTS] != 100)
        assert consumer.positions == {RESULTS: 70, LETTERS: 100}
        again.cancel()
        # Once it flows no more, what is remembered is not all that there is.
        reading._flows[RESULTS].flows = False
        anew = asyncio.create_task(reading.look_back(waiting(reading)))
        await until(lambda: consumer.positions[RESULTS] != 70)
        assert consumer.positions[RESULTS] == 40
        anew.cancel()
        await reading.close()

    asyncio.run(run())


def test_a_partition_that_nobody_leads_holds_up_nobody_elses(consumer: FakeConsumer) -> None:
    async def run() -> None:
        reading = await a_reader()
        consumer.leaderless = {LETTERS}
        stuck = asyncio.create_task(reading.watch(waiting(reading)))
        other = waiting(reading)
        other.partitions = (RESULTS,)
        await asyncio.wait_for(reading.watch(other), 5)
        assert not stuck.done()
        stuck.cancel()
        await reading.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("a defect"), r"outcomes cannot be read \(ValueError\): open the client anew"),
        (TopicAuthorizationFailedError("workflow.results"), "READ on topic workflow.results"),
    ],
)
def test_a_reader_that_ends_tells_who_waits_and_who_comes_later(
    consumer: FakeConsumer, error: Exception, said: str
) -> None:
    async def run() -> None:
        reading = await a_reader()
        waiter = waiting(reading)
        await reading.watch(waiter)
        consumer.coming.put_nowait(error)
        with pytest.raises(UnavailableError, match=said):
            await waiter.outcome()
        with pytest.raises(UnavailableError, match=said):
            waiting(reading)
        reading.leave(waiter)
        await reading.close()

    asyncio.run(run())

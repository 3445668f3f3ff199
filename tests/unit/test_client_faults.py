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
    """Reads nothing, then fails."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.fail = asyncio.Event()

    async def getmany(self, **_: Any) -> Any:
        await self.fail.wait()
        raise self.error

    def assign(self, _tps: Any) -> None: ...
    def pause(self, *_tps: Any) -> None: ...
    def resume(self, _tp: Any) -> None: ...
    def seek(self, _tp: Any, _offset: int) -> None: ...

    async def end_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(tps, 0)

    async def stop(self) -> None: ...


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("a defect"), r"outcomes cannot be read \(ValueError\): open the client anew"),
        (TopicAuthorizationFailedError("workflow.results"), "READ on topic workflow.results"),
    ],
)
def test_a_reader_that_ends_tells_who_waits_and_who_comes_later(
    monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    async def partitions(*_: Any) -> list[TopicPartition]:
        topics = (SETTINGS.topics.results, SETTINGS.topics.dead_letters)
        return [TopicPartition(topic, 0) for topic in topics]

    async def run() -> None:
        consumer = FakeConsumer(error)
        monkeypatch.setattr(reader, "consumer", lambda *_, **__: consumer)
        monkeypatch.setattr(reader, "started_or_refused", started)
        monkeypatch.setattr(reader, "partitions_or_refused", partitions)
        reading = reader.Reader(
            SETTINGS, ManualClock(NOW), look_back_s=3600, look_back_records=1000
        )
        await reading.open()
        waiter = reading.waiter("i-1", key=None, tenant=None, publishes=False)
        await reading.watch(waiter)
        consumer.fail.set()
        with pytest.raises(UnavailableError, match=said):
            await waiter.outcome()
        with pytest.raises(UnavailableError, match=said):
            reading.waiter("i-2", key=None, tenant=None, publishes=False)
        reading.leave(waiter)
        await reading.close()

    asyncio.run(run())

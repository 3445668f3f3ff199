"""The producer of a client: made anew when it has failed, until what is sent is confirmed."""

import asyncio
import inspect
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import IllegalOperation, KafkaError, MessageSizeTooLargeError

from agents.clock import Clock
from hybrid.client.connecting import refused, require_seen, started_or_refused
from hybrid.client.errors import IntentRefusedError, UnavailableError
from hybrid.client.intents import IntentRecord
from hybrid.errors import UsageError
from schemas.settings import Settings
from streams.kafka.clients import producer
from streams.kafka.faults import FaultKind, kind_of

__all__ = ["Published", "Sender", "send_through"]

PAUSE_S = 0.2
WRITE = "WRITE on topic"


@dataclass(frozen=True, slots=True)
class Published:
    """Where an intent stands in Kafka, and the id that its outcome will have."""

    intent_id: str
    topic: str
    partition: int
    offset: int


class Sender:
    """Sends records until the broker has them."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        """Connect at the first record."""
        self._settings = settings
        self._clock = clock
        self._client: AIOKafkaProducer = None
        self._was_open = False
        self._seen = set[str]()
        self._stopping = set[asyncio.Task[None]]()
        self._lock = asyncio.Lock()

    async def close(self) -> None:
        """Wait for what is on its way, and end."""
        async with self._lock:
            client, self._client = self._client, None
            if client is not None:
                await client.stop()
        await asyncio.gather(*self._stopping, return_exceptions=True)

    async def send(self, record: IntentRecord) -> Published:
        """Send a record, again and again until it is confirmed or the caller gives up.

        That cannot make an intent run twice: it has an id. Raises UnavailableError where no broker
        could be used from the begin or a right is missing, and IntentRefusedError.
        """
        while True:
            client = await self._open_again(record.topic)
            try:
                return await _written(client, record)
            except KafkaError as error:
                self._raise_lasting(error, record)
                await self._leave(client)
                await self._clock.sleep(PAUSE_S)

    async def _open_again(self, topic: str) -> AIOKafkaProducer:
        """Give the producer; where one has been open before, wait for a broker to come back."""
        while True:
            try:
                return await self._open(topic)
            except UnavailableError:
                if not self._was_open:
                    raise
                await self._clock.sleep(PAUSE_S)

    async def _open(self, topic: str) -> AIOKafkaProducer:
        async with self._lock:
            if topic not in self._seen:
                await require_seen(self._settings, (topic,), WRITE)
                self._seen.add(topic)
            if self._client is None:
                self._client = await started_or_refused(
                    self._settings, lambda: producer(self._settings)
                )
                self._was_open = True
            return self._client

    async def _leave(self, client: AIOKafkaProducer) -> None:
        """Part with a producer: one that lost a batch has a gap, and nothing after it is taken."""
        async with self._lock:
            if self._client is client:
                self._client = None
                stopping = asyncio.create_task(client.stop())  # it waits for what it has in hand
                self._stopping.add(stopping)
                stopping.add_done_callback(self._stopping.discard)

    def _raise_lasting(self, error: KafkaError, record: IntentRecord) -> None:
        """Raise what never passes by itself; return for what may."""
        match kind_of(error):
            case FaultKind.RIGHT:
                raise refused(self._settings, error, (record.topic,), right=WRITE) from error
            case FaultKind.RECORD:
                raise _unwritable(error, record) from error
            case _:
                return


async def send_through(client: object, record: IntentRecord) -> Published:
    """Send a record through the caller's own producer; raises UsageError, and what that raises.

    In a transaction of the caller's, the intent runs when it is committed.
    """
    if not inspect.iscoroutinefunction(getattr(client, "send", None)):
        message = (
            "producer= takes a started AIOKafkaProducer; to another library's producer give what "
            "client.record(intent) gives: topic, key, value, headers"
        )
        raise UsageError(message)
    try:
        return await _written(client, record)
    except IllegalOperation as error:
        message = f"the producer takes no record now: begin a transaction first ({error})"
        raise UsageError(message) from error
    except MessageSizeTooLargeError as error:
        raise _unwritable(error, record) from error


async def _written(client: Any, record: IntentRecord) -> Published:  # noqa: ANN401 - untyped
    sent = await client.send(
        record.topic, value=record.value, key=record.key, headers=list(record.headers)
    )
    written = await sent
    return Published(record.intent_id, record.topic, written.partition, written.offset)


def _unwritable(error: KafkaError, record: IntentRecord) -> IntentRefusedError:
    name = type(error).__name__
    message = f"{record.topic} takes no record of {len(record.value)} bytes ({name})"
    return IntentRefusedError("too_large", message)

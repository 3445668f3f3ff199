"""The book of what was done, kept current while a run goes on."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.events import ReplayRecord
from schemas.settings import Settings
from streams.kafka.clients import consumer, partitions_of, started
from streams.triage.book import Book

__all__ = ["LiveBook", "live_book"]

#: What a topic that gives nothing is waited for before its end.
IDLE_MS = 500
#: So often in a row it may give nothing.
MOST_IDLE = 60


class LiveBook:
    """A book that reads on."""

    def __init__(self, settings: Settings, client: AIOKafkaConsumer) -> None:
        """Begin empty; `client` has been started."""
        self._settings = settings
        self._client = client
        self.book = Book()
        #: Hears of each replay that ends.
        self.on_ended: Callable[[ReplayRecord], None] = lambda _record: None

    async def load(self) -> None:
        """Read to the end; raises RightsError, KafkaError, TimeoutError."""
        operations = TopicPartition(self._settings.topics.operations, 0)
        replays = await partitions_of(self._client, self._settings.topics.replays)
        partitions = [operations, *replays]
        self._client.assign(partitions)
        await self._client.seek_to_beginning(*partitions)
        ends, idle = await self._client.end_offsets(partitions), 0
        while any([await self._client.position(tp) < ends[tp] for tp in partitions]):
            idle = 0 if await self.poll(IDLE_MS) else idle + 1
            if idle > MOST_IDLE:
                message = f"{operations.topic} and {replays[0].topic} cannot be read to their ends"
                raise TimeoutError(message)

    async def poll(self, timeout_ms: int = 0) -> bool:
        """Take in what is new; gives whether there was anything."""
        batches = await self._client.getmany(timeout_ms=timeout_ms, max_records=10_000)
        for tp, records in batches.items():
            for record in records:
                ended = self.book.take(self._settings.topics, tp.topic, record.value)
                if ended is not None:
                    self.on_ended(ended)
        return bool(batches)


@asynccontextmanager
async def live_book(settings: Settings) -> AsyncIterator[LiveBook]:
    """Open the book, read to its end; raises KafkaError, RightsError, TimeoutError."""
    async with started(consumer(settings)) as client:
        live = LiveBook(settings, client)
        await live.load()
        yield live

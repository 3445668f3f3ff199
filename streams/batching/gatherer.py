"""The gatherer: one at a time makes batches of the intents that wait for one (ADR 24).

It runs at the worker that has lane 0; starting its transactional producer fences an earlier one.
All that it knows is on `workflow.batches`, which it reads to its end before it acts.
"""

import asyncio
from contextlib import suppress

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord
from aiokafka.errors import ProducerFenced

from schemas.versions import NewerRecordError, require_known
from schemas.vocabulary import LogEvent
from streams.batching.book import Book
from streams.batching.ends import Surroundings
from streams.batching.rounds import Rounds
from streams.batching.writing import Writing
from streams.kafka.clients import consumer, partitions_of, producer, started
from streams.kafka.ends import END_KEY, read_to_ends, write_ends
from streams.kafka.passing import incoming_of, say_passed_over
from streams.kafka.patience import kept_running

__all__ = ["Gatherer"]

STEP_LIMIT_S = 20
RETRY_S = 2.0
#: Seconds between two rounds where nothing new comes.
ROUND_S = 0.5


class Gatherer:
    """Runs until cancelled; an error starts it anew, also fencing, while lane 0 stays here."""

    def __init__(self, around: Surroundings) -> None:
        """Keep what it is given; `run` connects."""
        self._around = around

    async def run(self) -> None:
        """Gather until cancelled, which is when lane 0 is somebody else's."""
        await kept_running(
            self._run_once,
            self._around.clock,
            passes=lambda error: isinstance(error, Exception),  # it does not end in silence
            tell=self._ended,
            pause_s=RETRY_S,
        )

    async def _ended(self, error: BaseException) -> None:
        around = self._around
        event = LogEvent.BATCH_DELAYED
        if isinstance(error, ProducerFenced):
            event = LogEvent.BATCHES_FENCED
        around.log(event, level="warning", error=type(error).__name__)
        if isinstance(error, ProducerFenced):
            # As long as a rebalance needs to take the lane away; then it was no other gatherer.
            await around.clock.sleep(around.settings.hybrid_session_timeout)
            while not around.lease_holds():
                await around.clock.sleep(RETRY_S)

    async def _run_once(self) -> None:
        settings = self._around.settings
        name = f"{settings.hybrid_topic_prefix}.batches"
        client = producer(settings, transactional_id=name, transaction_timeout_ms=60_000)
        try:
            async with asyncio.timeout(STEP_LIMIT_S):
                await client.start()
            async with started(consumer(settings)) as reader:
                book = await self._known(client, reader)
                rounds = Rounds(self._around, book, Writing(settings, client, book))
                while True:
                    await self._hear(reader, book)
                    await rounds.once()
        finally:
            with suppress(Exception):  # it is thrown away, failed or not
                await asyncio.wait_for(client.stop(), 3)

    async def _known(self, client: AIOKafkaProducer, reader: AIOKafkaConsumer) -> Book:
        """Read what there is; the end is where we have written, since none before us can now."""
        settings = self._around.settings
        tps = await partitions_of(reader, settings.topics.batches)
        reader.assign(tps)
        async with asyncio.timeout(STEP_LIMIT_S):
            await client.begin_transaction()
            ends = await write_ends(client, tps)
            await client.commit_transaction()
        await reader.seek_to_beginning(*tps)
        book = Book(settings)

        def load(record: ConsumerRecord) -> None:
            require_known(record.topic, record.partition, record.offset, record.headers)
            book.load(record.key or b"", incoming_of(record))

        what = "the batches cannot be read to their end"
        await read_to_ends(reader, ends, load, what=what, on_foreign=self._pass_over)
        return book

    async def _hear(self, reader: AIOKafkaConsumer, book: Book) -> None:
        found = await reader.getmany(timeout_ms=round(ROUND_S * 1000), max_records=1000)
        for records in found.values():
            for record in records:
                if record.key == END_KEY:
                    continue
                try:
                    require_known(record.topic, record.partition, record.offset, record.headers)
                    book.take(record.key or b"", incoming_of(record))
                except Exception as error:  # noqa: BLE001 - somebody else's record
                    self._pass_over(record, error)

    def _pass_over(self, record: ConsumerRecord, error: Exception) -> None:
        if isinstance(error, NewerRecordError):
            raise error
        say_passed_over(self._around.log, record, error)

"""The gatherer: one at a time makes batches of the intents that wait for one (ADR 24).

It runs at the worker that has lane 0; starting its transactional producer fences an earlier one.
All that it knows is on `workflow.batches`, which it reads to its end before it acts.
"""

import asyncio
from collections.abc import Callable

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord
from aiokafka.errors import ProducerFenced

from schemas.versions import NewerRecordError, require_known
from schemas.vocabulary import LogEvent
from streams.batching.book import Book
from streams.batching.ends import Surroundings
from streams.batching.rounds import Rounds
from streams.batching.writing import Sealing, Writing
from streams.kafka.clients import consumer, partitions_of, started
from streams.kafka.content_keys import learn_all
from streams.kafka.ends import END_KEY, read_to_ends, write_ends
from streams.kafka.passing import incoming_of, say_passed_over
from streams.kafka.sole import STEP_LIMIT_S, fencing, keep_sole
from streams.messages.records import Incoming
from streams.messages.sealed import UnreadableError

__all__ = ["Gatherer"]

#: Seconds between two rounds where nothing new comes.
ROUND_S = 0.5
#: Seconds for which a line that cannot be opened is tried again before its key is looked for.
SURE_S = 5.0


class Gatherer:
    """Runs until cancelled; an error starts it anew, also fencing, while lane 0 stays here."""

    def __init__(self, around: Surroundings) -> None:
        """Keep what it is given; `run` connects."""
        self._around = around
        #: Lines that cannot be opened here, by their keys, and since when.
        self._sealed: dict[bytes, tuple[Incoming, float]] = {}

    async def run(self) -> None:
        """Gather until cancelled, which is when lane 0 is somebody else's."""
        around = self._around
        await keep_sole(
            self._run_once,
            around.settings,
            around.clock,
            lease_holds=around.lease_holds,
            tell=self._tell,
        )

    def _tell(self, error: BaseException) -> None:
        fenced = isinstance(error, ProducerFenced)
        event = LogEvent.BATCHES_FENCED if fenced else LogEvent.BATCH_DELAYED
        self._around.log(event, level="warning", error=type(error).__name__)

    async def _run_once(self) -> None:
        settings = self._around.settings
        name = f"{settings.hybrid_topic_prefix}.batches"
        async with (
            fencing(settings, name) as client,
            started(consumer(settings)) as reader,
        ):
            book = await self._known(client, reader)
            around = self._around
            writing = Writing(settings, client, book, Sealing(around.vault, around.clock))
            rounds = Rounds(around, book, writing)
            while True:
                await self._hear(reader, book)
                await self._try_again(book, writing)
                book.unread = {key.decode() for key in self._sealed}
                await rounds.once()

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
        self._sealed.clear()

        def load(record: ConsumerRecord) -> None:
            require_known(record.topic, record.partition, record.offset, record.headers)
            self._sealed.pop(record.key or b"", None)
            self._take(record, incoming_of(record), book.load)

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
                    self._sealed.pop(record.key or b"", None)  # it has ended, or is another now
                    self._take(record, incoming_of(record), book.take)
                except Exception as error:  # noqa: BLE001 - somebody else's record
                    self._pass_over(record, error)

    def _take(
        self, record: ConsumerRecord, incoming: Incoming, take: Callable[[bytes, Incoming], None]
    ) -> None:
        """Take a record; a line that cannot be opened yet waits until its key is here."""
        opened = self._around.vault.opened(incoming)
        if opened.unreadable is None:
            take(record.key or b"", opened)
            return
        if not opened.unreadable.is_forgotten:  # else its key may come yet
            self._say_unreadable(incoming, opened.unreadable)
        self._sealed[record.key or b""] = (incoming, self._around.clock.monotonic())

    def _say_unreadable(self, incoming: Incoming, why: UnreadableError) -> None:
        self._around.log(
            LogEvent.CONTENT_UNREADABLE,
            level="warning",
            topic=incoming.topic,
            partition=incoming.partition,
            offset=incoming.offset,
            error_code=why.code,
            why=str(why),
        )

    async def _try_again(self, book: Book, writing: Writing) -> None:
        """Take the lines whose keys have come, and give up those whose keys will never come.

        A line may be read before its key. After a while all keys are read to their end: what is not
        there then is gone, and the lane ends the intent.
        """
        around, gone = self._around, []
        for key, (incoming, since) in list(self._sealed.items()):
            opened = around.vault.opened(incoming)
            if opened.unreadable is None:
                del self._sealed[key]
                book.take(key, opened)
            elif opened.unreadable.is_forgotten and around.clock.monotonic() - since > SURE_S:
                gone.append(key)
        if not gone:
            return
        await learn_all(around.settings, around.vault, around.clock, around.log)
        for key in gone:
            incoming, _ = self._sealed[key]
            why = around.vault.opened(incoming).unreadable
            if why is not None:
                self._say_unreadable(incoming, why)
                del self._sealed[key]
                await writing.give_up(incoming)

    def _pass_over(self, record: ConsumerRecord, error: Exception) -> None:
        if isinstance(error, NewerRecordError):
            raise error
        say_passed_over(self._around.log, record, error)

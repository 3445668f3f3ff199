"""What a lane needs of the broker: as a protocol, for tests too, and as Kafka does it."""

import asyncio
import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Protocol

from aiokafka import ConsumerRecord, TopicPartition

from agents.clock import Clock, SystemClock
from agents.deciding.budgets import Spending
from agents.log import Log, silent
from schemas.budgets import SpendRecord
from schemas.settings import Settings
from schemas.versions import NewerRecordError
from schemas.vocabulary import LogEvent
from streams.kafka.clients import consumer, producer_options, started
from streams.kafka.ends import Ends, Sender, write_ends
from streams.kafka.passing import say_passed_over
from streams.lanes.ledger import Ledger, read_ledger, read_whole
from streams.lanes.packing import BATCH_BYTES, PackingProducer, Written
from streams.lanes.reach import horizon_ms, uncommitted_since
from streams.messages.records import OutRecord

__all__ = ["KafkaLaneBroker", "LaneBroker", "LaneProducer"]

START_LIMIT_S = 30
TRANSACTION_TIMEOUT_MS = 60_000
#: How often, and how many seconds apart, a ledger whose end is not stable is looked at.
HANGING_LOOKS = 4
HANGING_PAUSE_S = 0.25
PROGRESS_EVERY_S = 1.0


class LaneProducer(Sender, Protocol):
    """A transactional producer that has been started."""

    async def begin_transaction(self) -> None:
        """Begin a transaction; raises ProducerFenced, KafkaError."""
        ...

    async def write(self, records: Sequence[OutRecord]) -> Sequence[Written]:
        """Queue records; raises RefusedWriteError for what the client will not even take."""
        ...

    async def commit_transaction(self) -> None:
        """Commit the transaction; raises ProducerFenced, KafkaError."""
        ...

    async def stop(self) -> None:
        """Disconnect, without committing."""
        ...


class LaneBroker(Protocol):
    """The broker, as one lane sees it."""

    async def open_producer(self, lane: int) -> LaneProducer:
        """Start the lane's producer, which fences any earlier owner; raises KafkaError."""
        ...

    async def mark_ends(self, lane: int, client: LaneProducer) -> Ends:
        """Write behind all that the lane must know; gives where that is; raises KafkaError."""
        ...

    async def read_ledger(self, lane: int, ledger: Ledger, ends: Ends) -> int:
        """Read the ledger on from where it stands to its end; gives the records read."""
        ...

    async def horizons(self, lanes: Iterable[int]) -> dict[int, int]:
        """Give for each lane the moment before which nothing that may come again was written."""
        ...


class KafkaLaneBroker:
    """The lane's broker, by aiokafka."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock | None = None,
        log: Log = silent,
        spending: Spending | None = None,
    ) -> None:
        """Keep the settings; `spending`, where given, learns what the lane has spent."""
        self._spending = spending
        self._settings = settings
        self._clock = clock or SystemClock()
        self._log = log
        self._said_at = -math.inf

    async def open_producer(self, lane: int) -> LaneProducer:
        """Start a producer under the lane's own transactional id (not the worker's)."""
        client = PackingProducer(
            **producer_options(
                self._settings,
                transactional_id=f"{self._settings.hybrid_topic_prefix}.lane.{lane}",
                transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
                linger_ms=0,
                max_batch_size=BATCH_BYTES,
            )
        )
        try:
            async with asyncio.timeout(START_LIMIT_S):
                await client.start()
        except BaseException:
            await client.stop()
            raise
        lane_producer: LaneProducer = client
        return lane_producer

    async def mark_ends(self, lane: int, client: LaneProducer) -> Ends:
        """Write to what is read at a lane's opening; gives where each ended; raises KafkaError."""
        topics = self._settings.topics
        known = (topics.ledger, topics.spend, topics.replays)
        async with asyncio.timeout(START_LIMIT_S):
            await client.begin_transaction()
            ends = await write_ends(client, [TopicPartition(topic, lane) for topic in known])
            ledger = TopicPartition(topics.ledger, lane)
            if not await self._is_readable_up_to(ledger, ends[ledger]):
                await self._add_all_partitions(client)
            await client.commit_transaction()
        return ends

    async def read_ledger(self, lane: int, ledger: Ledger, ends: Ends) -> int:
        """Read the ledger topic, and what the lane has spent.

        Raises KafkaError, TimeoutError, NewerRecordError.
        """
        progress = partial(self._say_progress, lane)
        if not ledger.next_offset:  # later the worker asks from time to time
            ledger.advance((await self.horizons([lane]))[lane])
        takes: dict[TopicPartition, Callable[[bytes], None]] = {}
        if self._spending is not None:
            takes[TopicPartition(self._settings.topics.spend, lane)] = self._learn_spending
        takes[TopicPartition(self._settings.topics.replays, lane)] = ledger.replays.load
        await read_whole(self._settings, takes, ends, on_foreign=self._pass_over)
        return await read_ledger(
            self._settings,
            lane,
            ledger,
            ends[TopicPartition(self._settings.topics.ledger, lane)],
            on_progress=progress,
            on_foreign=self._pass_over,
        )

    async def horizons(self, lanes: Iterable[int]) -> dict[int, int]:
        """Ask for the worker group's committed offsets; raises KafkaError, TimeoutError."""
        now_ms = self._clock.now_ms()
        since = await uncommitted_since(self._settings, lanes)
        return {lane: horizon_ms(written, now_ms=now_ms) for lane, written in since.items()}

    def _learn_spending(self, value: bytes) -> None:
        if self._spending is not None:
            self._spending.learn(SpendRecord.model_validate_json(value))

    def _pass_over(self, record: ConsumerRecord, error: Exception) -> None:
        """Say that somebody else writes into a topic of ours; nothing of it is believed.

        What a later version of ours wrote is not foreign: without it, work would be done twice.
        """
        if isinstance(error, NewerRecordError):
            raise error
        say_passed_over(self._log, record, error)

    def _say_progress(self, lane: int, offset: int, end: int) -> None:
        """Log how far a long read is, for whichever lane's turn it is."""
        now = self._clock.monotonic()
        if now - self._said_at >= PROGRESS_EVERY_S and offset + 1 < end:
            self._said_at = now
            self._log(LogEvent.LEDGER_LOADING, lane=lane, offset=offset, end=end)

    async def _is_readable_up_to(self, tp: TopicPartition, end: int) -> bool:
        """Whether no earlier transaction is pending on the ledger partition, where only we write.

        A deposed leader, who does not know what we have written, cannot say that it is so.
        """
        async with started(consumer(self._settings)) as reader:
            for _ in range(HANGING_LOOKS):
                if (await reader.end_offsets([tp]))[tp] >= end:
                    return True
                await asyncio.sleep(HANGING_PAUSE_S)  # noqa: TID251 - markers may be on their way
        return False

    async def _add_all_partitions(self, client: Any) -> None:  # noqa: ANN401 - aiokafka's, untyped
        """End what a broker left hanging when it crashed between a commit and its markers.

        Seen with Kafka 4.3.1: killed after PrepareCommit, it wrote CompleteCommit when it came
        back, but no markers. The outcome is decided and stays invisible, its partitions cannot be
        read past it, and the ledger looks as if it were not (docs/adr/0006). A transaction that has
        every partition a lane writes to brings the markers.
        """
        transaction = client._txn_manager  # noqa: SLF001 - partitions can be added in no other way
        for topic in self._settings.topics.written_by_lanes:
            for number in await client.partitions_for(topic):
                transaction.maybe_add_partition_to_txn(TopicPartition(topic, number))

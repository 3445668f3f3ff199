"""The recorder: attempts, outcomes and events from Kafka into ClickHouse.

ClickHouse down means lag on its own consumer group and nothing else. A batch sent twice (killed
between insert and commit) collapses in the tables. A row that ClickHouse refuses is found by
bisection and set aside in the log, not its batch. A topic that is made anew is read from its begin.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from agents.clock import Clock
from agents.log import Log
from schemas.settings import Settings
from schemas.versions import require_known
from schemas.vocabulary import LogEvent
from streams.failpoints import FailPoints
from streams.kafka.clients import consumer
from streams.kafka.diagnosis import unavailable
from streams.kafka.patience import patiently
from streams.kafka.presence import require_there
from streams.kafka.rights import recorder_rights, require_rights
from streams.recording.batch_token import batch_token
from streams.recording.made_anew import MadeAnew
from streams.recording.record_rows import row_of
from streams.store.clickhouse import ClickHouse, ClickHouseRefusedError, ClickHouseUnavailableError
from streams.store.inserting import insert_rows
from streams.store.migrations import Layout, migrate

__all__ = ["Recorder"]

BATCH_RECORDS = 5_000
#: What names a row in the log.
KEYS = ("attempt_id", "outcome_id", "event_id")
#: A broker that does not answer within this leaves the lag as it was.
BROKER_S = 5.0
#: A batch waits this long for more rows.
GATHER_S = 1.0
#: ClickHouse is asked again at the latest after so many seconds.
LONGEST_PAUSE_S = 15.0


class Recorder:
    """Moves records in batches until stopped."""

    def __init__(self, settings: Settings, *, clock: Clock, log: Log) -> None:
        """Keep the settings; `run` connects."""
        self._settings = settings
        self._clock = clock
        self._log = log
        self._fail_points = FailPoints(settings.hybrid_fail_point)
        self._stopping = asyncio.Event()
        #: Set when it is connected to Kafka.
        self.connected = asyncio.Event()
        self._clickhouse: ClickHouse | None = None
        self._reader: AIOKafkaConsumer | None = None
        self._stored: dict[TopicPartition, int] = {}
        self._committed: dict[TopicPartition, int] = {}
        self._held_up_since: float | None = None
        self.held_up_by = ""
        self.rows_written = 0
        self.rows_set_aside = 0
        self.lag = 0
        self.prepared = False
        self._kafka_answers = True

    @property
    def ready(self) -> bool:
        """Whether its tables are there, and Kafka answered when it was last asked."""
        return self.prepared and self._kafka_answers

    def stop(self) -> None:
        """Ask for a clean stop after the batch at hand."""
        self._stopping.set()

    @property
    def leads(self) -> bool:
        """Whether this recorder has the first partition of the attempts: one of several has."""
        if self._reader is None:
            return False
        return TopicPartition(self._settings.topics.attempts, 0) in self._reader.assignment()

    @property
    def held_up_s(self) -> float:
        """Seconds for which ClickHouse has not taken what there is; 0 = it takes it."""
        since = self._held_up_since
        return 0.0 if since is None else max(0.001, self._clock.monotonic() - since)

    async def run(self) -> None:
        """Record until stopped; raises BrokerUnavailableError, RightsError, TopicsError first."""
        await require_rights(self._settings, recorder_rights(self._settings))
        await require_there(self._settings, self._settings.topics.recorded)
        reader = consumer(
            self._settings,
            group_id=self._settings.recorder_group,
            # Static membership: started again, it need not wait for itself to expire.
            group_instance_id=self._settings.hybrid_instance_id,
            session_timeout_ms=10_000,
            heartbeat_interval_ms=2_000,
            max_poll_interval_ms=24 * 60 * 60 * 1000,  # ClickHouse may be away for hours
            metadata_max_age_ms=10_000,  # a topic that was away is missed no longer than this
        )
        anew = MadeAnew(self._settings, reader, self._clock)
        reader.subscribe(self._settings.topics.recorded, listener=anew)
        try:
            await asyncio.wait_for(reader.start(), 30)
        except (KafkaError, TimeoutError, OSError) as error:
            raise await unavailable(self._settings, error) from error
        self._reader = reader
        self._log(LogEvent.RECORDER_STARTED)
        self.connected.set()
        try:
            layout = Layout.of(self._settings)
            await self._until_stored(partial(migrate, layout=layout), first=True)
            self.prepared = True
            async with anew:
                while not self._stopping.is_set():
                    await self._look_for_topics_made_anew(anew)
                    await self._record_batch(reader, anew)
        finally:
            with suppress(KafkaError, TimeoutError):
                await asyncio.wait_for(reader.stop(), 10)
            if self._clickhouse is not None:
                self._clickhouse.close()
            self._log(LogEvent.RECORDER_STOPPED, rows=self.rows_written)

    async def _look_for_topics_made_anew(self, anew: MadeAnew) -> None:
        with suppress(KafkaError, TimeoutError):
            async with asyncio.timeout(BROKER_S):
                for tp in await anew.rewind():
                    self._stored.pop(tp, None)
                    self._committed.pop(tp, None)
                    self._log(LogEvent.TOPIC_MADE_ANEW, topic=tp.topic, partition=tp.partition)

    async def _record_batch(self, reader: AIOKafkaConsumer, anew: MadeAnew) -> None:
        batch: list[ConsumerRecord] = []
        offsets: dict[TopicPartition, int] = {}
        deadline = self._clock.monotonic() + GATHER_S
        while len(batch) < BATCH_RECORDS and not self._stopping.is_set():
            wait_ms = int((deadline - self._clock.monotonic()) * 1000)
            if wait_ms <= 0:
                break
            found = await reader.getmany(
                timeout_ms=min(wait_ms, 250), max_records=BATCH_RECORDS - len(batch)
            )
            for tp, records in found.items():
                batch.extend(records)
                offsets[tp] = records[-1].offset + 1
        if not batch:
            await self._measure_lag(all_stored=True)
            await self._commit_position(reader, anew)
            return
        tables: dict[str, list[dict[str, Any]]] = {}
        for record in batch:
            require_known(record.topic, record.partition, record.offset, record.headers)
            try:
                table, row = row_of(self._settings, record)
            except Exception as error:  # noqa: BLE001 - no record of a topic may end the recorder
                self._set_aside(f"{record.topic}/{record.partition}/{record.offset}", error)
                continue
            tables.setdefault(table, []).append(row)
        self._fail_points.reach("recorder_before_insert")
        for table, rows in tables.items():
            token = batch_token(table, batch)
            await self._until_stored(partial(self._insert, table=table, rows=rows, token=token))
        self._fail_points.reach("recorder_after_insert")
        self._stored.update(offsets)
        await self._measure_lag()
        if not await self._commit(reader, anew, offsets):
            return
        self.rows_written += sum(len(rows) for rows in tables.values())
        self._log(
            LogEvent.BATCH_INSERTED,
            level="debug",
            rows={table: len(rows) for table, rows in tables.items()},
            lag=self.lag,
        )

    async def _commit(
        self, reader: AIOKafkaConsumer, anew: MadeAnew, offsets: dict[TopicPartition, int]
    ) -> bool:
        """Commit; False where a rebalance took partitions: who has them writes the same rows."""
        if not anew.known:
            return False
        try:
            await reader.commit(anew.noted(offsets))
        except (CommitFailedError, IllegalStateError):
            return False
        except KafkaError as error:
            self._log(LogEvent.INSERT_DELAYED, level="warning", error=type(error).__name__)
        else:
            self._committed.update(offsets)
        return True

    async def _commit_position(self, reader: AIOKafkaConsumer, anew: MadeAnew) -> None:
        """Commit what was passed over at the end of partitions: markers of transactions.

        Otherwise the group lags behind by them for ever, and whoever asks how far it is sees that.
        """
        beyond = {
            tp: offset
            for tp, offset in self._stored.items()
            if offset and offset > self._committed.get(tp, 0)
        }
        if beyond:
            await self._commit(reader, anew, beyond)

    def _insert(
        self, store: ClickHouse, table: str, rows: list[dict[str, Any]], token: str
    ) -> None:
        """Insert rows; those that are to blame themselves are set aside: logged and counted."""
        for one in insert_rows(store, table, rows, token=token):
            key = next((one.row[name] for name in KEYS if one.row.get(name)), "?")
            self._set_aside(f"{table}/{key}", one.error)

    async def _until_stored(
        self, action: Callable[[ClickHouse], object], *, first: bool = False
    ) -> None:
        """Do something with ClickHouse, however long it is away."""

        async def once() -> None:
            if self._clickhouse is None:
                self._clickhouse = await asyncio.to_thread(ClickHouse, self._settings)
            await asyncio.to_thread(action, self._clickhouse)

        # At the start, what is configured may not fit: that is best said at once.
        waited_for: tuple[type[Exception], ...] = (ClickHouseUnavailableError,)
        if not first:
            waited_for = (*waited_for, ClickHouseRefusedError)
        tries = patiently(
            self._clock,
            passes=lambda error: isinstance(error, waited_for),
            tell=self._held_up,
            given_up=self._stopping.is_set,
            longest_s=LONGEST_PAUSE_S,
            sleep=self._pause,
        )
        try:
            await tries(once)
        except waited_for:
            if not first:
                # Stopping with rows that are not stored: nothing is committed, they come again.
                raise asyncio.CancelledError from None
            return
        self._held_up_since = None

    async def _held_up(self, error: BaseException) -> None:
        """Keep what ClickHouse said, and begin a new connection."""
        if self._clickhouse is not None:
            self._clickhouse.close()
        self._clickhouse = None
        self.held_up_by = str(error)
        if self._held_up_since is None:
            self._held_up_since = self._clock.monotonic()
        self._log(LogEvent.INSERT_DELAYED, level="warning", error=str(error))
        await self._measure_lag()

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _measure_lag(self, *, all_stored: bool = False) -> None:
        """Count the records that are not in ClickHouse; the broker knows where they end.

        Where all that was read is stored, the reader's position counts: it is beyond the markers
        of transactions, which are no records.
        """
        reader = self._reader
        if reader is None:
            return
        owned = list(reader.assignment())
        try:
            async with asyncio.timeout(BROKER_S):
                ends = await reader.end_offsets(owned)
                begins = await reader.beginning_offsets(owned)
                for tp in owned:
                    if all_stored:
                        self._stored[tp] = await reader.position(tp)
                    elif tp not in self._stored:
                        self._stored[tp] = await reader.committed(tp) or 0
        except (KafkaError, TimeoutError):
            self._kafka_answers = False
            return
        self._kafka_answers = True
        self._stored = {tp: self._stored[tp] for tp in owned}
        self.lag = sum(max(0, ends[tp] - max(begins[tp], self._stored[tp])) for tp in owned)

    def _set_aside(self, where: str, error: Exception) -> None:
        self.rows_set_aside += 1
        said = f"code {error.code}" if isinstance(error, ClickHouseRefusedError) else None
        self._log(
            LogEvent.ROW_REFUSED, level="error", record=where, error=said or type(error).__name__
        )

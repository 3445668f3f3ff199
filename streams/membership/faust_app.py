"""The Faust app: agents that hand records on, and the transport as the lanes need it.

Faust moves records; it decides nothing. The agents read `noack()` events and only put them into
the dispatcher, so nothing in them can raise, wait or acknowledge.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from typing import Any

import aiokafka
import faust
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from agents.clock import Clock
from schemas.settings import Settings
from streams.kafka.clients import FETCHER_LOOKS_MS, connection_options
from streams.kafka.parsing import read_any_header_name
from streams.membership.handing_on import Batch, batches, handing_on
from streams.membership.lane_assignor import LaneAssignor
from streams.membership.single_instance import this_process
from streams.messages.records import Incoming

__all__ = ["TP", "App", "Offsets", "build_app"]

#: Faust's commit rhythm; the ledger, not the offset, decides what is done.
COMMIT_INTERVAL_S = 1.0
#: One request to a broker may take this long, and always longer than a session.
REQUEST_LIMIT_S = 20.0
#: Faust bounds its seek after a rebalance by what it calls the request timeout, and takes a seek
#: that is not done by then for its own end: it never resumes, and nothing is fetched any more (seen
#: with a frozen broker). Another rebalance ends the seek, and so does the end of the worker.
SEEK_LIMIT_S = 30 * 86_400.0
#: Records that one fetch may bring; bounds what a paused partition still receives.
MAX_POLL_RECORDS = 500

#: How soon partitions are seen that somebody adds; to be told, not to be used.
METADATA_MAX_AGE_MS = 10_000

Offsets = dict[tuple[str, int], int]
App = faust.App


class _ConsumerThread(driver.AIOKafkaConsumerThread):
    """Faust's consumer thread: read_committed, assigned by lane, its heartbeats heard."""

    async def on_start(self) -> None:
        await super().on_start()
        coordinator = self._consumer._coordinator  # noqa: SLF001 - aiokafka tells it nowhere else
        beat, heard = coordinator._do_heartbeat, self.app.hybrid_heard  # noqa: SLF001

        async def heard_heartbeat() -> bool:
            success = bool(await beat())
            if success:
                heard()
            return success

        coordinator._do_heartbeat = heard_heartbeat  # noqa: SLF001

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Seek to what is committed; where nothing is, to the beginning.

        aiokafka leaves a partition without a committed offset where it is, so what was read and
        thrown away before the first commit was never read again (two lost intents, seen).
        """
        offsets: Mapping[TP, int] = await super().seek_to_committed()
        fresh = [tp for tp, offset in offsets.items() if not offset or offset < 0]
        if fresh:
            await self.call_thread(self._consumer.seek_to_beginning, *fresh)
        return offsets

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Look at nothing: our own watch over stalls does.

        Faust asks each partition for its position, which is an AssertionError while that is being
        reset: it ended workers in rebalances (seen).
        """

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:  # noqa: ANN401, ARG002
        settings: Settings = self.app.hybrid_settings
        conf = self.app.conf
        read_any_header_name()
        self._assignor = LaneAssignor(str(this_process()))
        return aiokafka.AIOKafkaConsumer(
            **connection_options(settings),
            client_id=conf.broker_client_id,
            group_id=conf.id,
            group_instance_id=settings.hybrid_instance_id,
            partition_assignment_strategy=[self._assignor],
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_poll_records=MAX_POLL_RECORDS,
            max_poll_interval_ms=300_000,
            max_partition_fetch_bytes=max(1_048_576, settings.max_topic_intent_bytes),
            fetch_max_wait_ms=500,
            consumer_timeout_ms=FETCHER_LOOKS_MS,
            request_timeout_ms=int(
                max(REQUEST_LIMIT_S, settings.hybrid_session_timeout + 1) * 1000
            ),
            session_timeout_ms=int(conf.broker_session_timeout * 1000),
            rebalance_timeout_ms=int(conf.broker_rebalance_timeout * 1000),
            heartbeat_interval_ms=int(conf.broker_heartbeat_interval * 1000),
            # Deferred intents are written in transactions; Faust itself sets this only under
            # exactly_once, under which killed workers repeat many calls (measured).
            isolation_level="read_committed",
            metadata_max_age_ms=METADATA_MAX_AGE_MS,
        )


class _NoReadOffsets(dict[Any, Any]):
    """Forgets what was read: Faust would drop a record that is read again, as it must be."""

    def __getitem__(self, _key: object) -> None:
        return None

    def __setitem__(self, _key: object, _value: object) -> None:
        pass

    def update(self, *_: object, **__: object) -> None:
        pass


class _Consumer(driver.Consumer):
    """Faust's consumer with our own offset book-keeping in place of its acknowledgements."""

    def on_init(self) -> None:
        super().on_init()
        self._read_offset = _NoReadOffsets()
        self._flow_epoch = 0

    def stop_flow(self) -> None:
        self._flow_epoch += 1
        super().stop_flow()

    def resume_flow(self) -> None:
        self._flow_epoch += 1
        super().resume_flow()

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Any]]:  # noqa: ASYNC109 - as Faust calls it
        """Fetch a batch, and throw it away when a rebalance came in between.

        Faust looks at the generation only after the wait: records fetched before a rebalance were
        delivered after it, ahead of what was read again from the committed offset (lost intents,
        seen under a rolling restart).
        """
        epoch = self._flow_epoch
        records, _ = await self._wait_next_records(timeout)
        self.app.hybrid_fetched()
        if records is None or self.should_stop:
            return
        if epoch != self._flow_epoch or not self.flow_active:
            await self._seek_back()
            return
        for tp, batch in batches(records):
            if epoch != self._flow_epoch or not self.flow_active:
                await self._seek_back()
                return
            yield tp, Batch.of(tp, batch, self.app.consumer_generation_id)

    async def _seek_back(self) -> None:
        """Read again from the committed offsets; while a rebalance is on, its end does that."""
        with suppress(Exception):
            await self.perform_seek()

    def _new_consumer_thread(self) -> _ConsumerThread:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Any:  # noqa: ANN401, ARG002
        return ()

    async def _commit_tps(self, tps: Any, start_new_transaction: bool) -> bool:  # noqa: ANN401, ARG002, FBT001
        offsets: Offsets = self.app.hybrid_committable()
        if not offsets:
            return False
        done = await self._commit_offsets(
            {TP(topic, partition): offset for (topic, partition), offset in offsets.items()}
        )
        if done:
            self.app.hybrid_committed(offsets)
        return bool(done)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Keep no gaps: the offset tracker passes over the markers of transactions."""

    def track_message(self, message: Any) -> None:  # noqa: ANN401
        """Keep no set of messages that are not acknowledged: the offset tracker knows them."""


class _Transport(driver.Transport):
    Consumer = _Consumer


class _Boot(faust.App.BootStrategy):
    """Faust's own producer is not needed, and knows no credentials: it is never started."""

    enable_kafka_producer = False


class _App(faust.App):
    """An app without tables has nothing to keep on disk."""

    BootStrategy = _Boot

    def _create_directories(self) -> None:
        pass


def build_app(
    settings: Settings,
    *,
    clock: Clock,
    put: Callable[[Incoming], None],
    heard: Callable[[], None],
    fetched: Callable[[], None],
    committable: Callable[[], Offsets],
    committed: Callable[[Offsets], None],
) -> faust.App:
    """Build the app; every effect it has goes through the callbacks."""
    servers = (settings.kafka_bootstrap_servers or "").split(",")
    app = _App(
        settings.worker_group,
        broker=[f"aiokafka://{server.strip()}" for server in servers],
        value_serializer="raw",
        key_serializer="raw",
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        store="memory://",
        stream_wait_empty=False,
        stream_buffer_maxsize=16_384,
        broker_commit_interval=COMMIT_INTERVAL_S,
        broker_session_timeout=settings.hybrid_session_timeout,
        broker_request_timeout=SEEK_LIMIT_S,
        broker_heartbeat_interval=min(2.0, settings.hybrid_session_timeout / 5),
        broker_rebalance_timeout=max(30.0, settings.hybrid_drain_budget * 2 + 10),
        stream_processing_timeout=3600.0,
        broker_commit_livelock_soft_timeout=3600.0,
        producer_acks=-1,
    )
    app.transport = _Transport(app.conf.broker_consumer, app)
    app.hybrid_settings = settings
    app.hybrid_heard = heard
    app.hybrid_fetched = fetched
    app.hybrid_committable = committable
    app.hybrid_committed = committed
    for name in settings.topics.sources:
        app.agent(app.topic(name, value_type=bytes, key_type=bytes), name=name)(
            handing_on(put, clock)
        )
    return app

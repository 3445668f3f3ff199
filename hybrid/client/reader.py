"""The one reader of a client: outcomes, read_committed, of the partitions that are waited for.

It has no group. All partitions of both topics are assigned, and paused; one flows from before the
first intent that is waited for there is published, and for some minutes after the last. For an id
that may have been published before, its partitions are read from further back, once; what went by
is remembered by its place, and read there again.
"""

import asyncio
import logging
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.partitioner import DefaultPartitioner

from agents.clock import Clock
from hybrid.client.connecting import partitions_or_refused, refused, started_or_refused
from hybrid.client.errors import ClientError, UnavailableError
from hybrid.client.waiting import Memory, Waiter, Waiters, id_of
from schemas.settings import Settings
from streams.kafka.clients import consumer
from streams.kafka.faults import FaultKind, kind_of

__all__ = ["Reader"]

#: A partition flows on for so many seconds after the last wait for it.
KEPT_S = 300.0
#: How long a broker holds an empty fetch: so long may a partition wait that begins to flow.
FETCH_WAIT_MS = 100
PAUSE_S = 0.2
#: How often it is looked for partitions that nobody waits for.
LOOK_EVERY_S = 1.0
LOG = logging.getLogger("hybrid.client")


@dataclass
class _Flow:
    """One partition: whether it flows, since when it is known, how far it must be read."""

    flows: bool = False
    #: All outcomes since this moment have been read, or are behind the position.
    since_ms: int = 0
    #: The end that a look back has to reach.
    target: int = 0
    caught_up: asyncio.Event = field(default_factory=asyncio.Event)
    idle_since: float = 0.0
    #: One at a time moves it; a partition that nobody leads holds up nobody else's.
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Reader:
    """Gives every waiter the outcome of its id."""

    def __init__(
        self, settings: Settings, clock: Clock, *, look_back_s: float, look_back_records: int
    ) -> None:
        """Look back `look_back_s` seconds, and over `look_back_records` outcomes, at most."""
        self._settings = settings
        self._topics = settings.topics
        self._clock = clock
        self._look_back_ms = int(look_back_s * 1000)
        self._most = look_back_records
        self._waiters = Waiters(self._topics)
        self._memory = Memory(look_back_records)
        self._flows: dict[TopicPartition, _Flow] = {}
        self._client: AIOKafkaConsumer | None = None
        self._task: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()
        self._failure: ClientError | None = None
        self._looked_at = clock.monotonic()

    async def open(self) -> None:
        """Connect, once; raises UnavailableError."""
        async with self._lock:
            if self._client is not None:
                return
            client = await started_or_refused(
                self._settings,
                lambda: consumer(self._settings, fetch_max_wait_ms=FETCH_WAIT_MS),
            )
            try:
                tps = await partitions_or_refused(self._settings, client, self._outcome_topics)
            except BaseException:
                await client.stop()
                raise
            client.assign(tps)
            client.pause(*tps)
            self._flows = {tp: _Flow() for tp in tps}
            self._client = client
            self._task = asyncio.create_task(self._read(client), name="hybrid.client reader")
            self._task.add_done_callback(self._ended)

    async def close(self) -> None:
        """Stop reading; who still waits is told."""
        self._failure = UnavailableError("the client was closed; what was published still runs")
        self._waiters.fail(self._failure)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._client is not None:
            await self._client.stop()

    def waiter(
        self, intent_id: str, *, key: bytes | None, tenant: str | None, publishes: bool
    ) -> Waiter:
        """Begin to wait for an id; `key` is that of the intent's record. End it by `leave`."""
        if self._failure is not None:
            raise self._failure
        topics = self._topics
        own = intent_id.encode()
        # What cannot be read as an intent keeps its own key.
        places = {(topics.results, own), (topics.dead_letters, own)}
        places |= {(topics.dead_letters, key)} if key is not None else set()
        partitions = tuple(self._partition(topic, raw) for topic, raw in places)
        waiter = Waiter(intent_id, tenant, partitions, publishes)
        self._waiters.add(waiter)
        return waiter

    def leave(self, waiter: Waiter) -> None:
        """Wait no more."""
        self._waiters.remove(waiter)
        if waiter.future.done() and not waiter.future.cancelled():
            waiter.future.exception()  # looked at, so that nobody complains

    async def watch(self, waiter: Waiter) -> None:
        """Let its partitions flow from before now; raises UnavailableError, KafkaError."""
        await asyncio.gather(*(self._watch(tp) for tp in waiter.partitions))

    async def look_back(self, waiter: Waiter) -> None:
        """Read what its partitions held before now; raises UnavailableError, KafkaError.

        Afterwards the waiter has the outcome that is there, as far as is looked back.
        """
        earliest_ms = self._clock.now_ms() - self._look_back_ms
        await asyncio.gather(
            *(self._look_back(tp, waiter.intent_id, earliest_ms) for tp in waiter.partitions)
        )
        for tp in waiter.partitions:
            await self._flows[tp].caught_up.wait()

    async def _watch(self, tp: TopicPartition) -> None:
        flow = self._flows[tp]
        async with flow.lock:
            if not flow.flows:
                now_ms = self._clock.now_ms()
                end = (await self._client_now.end_offsets([tp]))[tp]
                self._begin(tp, end, since_ms=now_ms)

    async def _look_back(self, tp: TopicPartition, intent_id: str, earliest_ms: int) -> None:
        """Read a partition from further back, or again from where the id's outcome stands."""
        flow = self._flows[tp]
        async with flow.lock:
            client = self._client_now
            if not flow.flows or flow.since_ms > earliest_ms:
                end = (await client.end_offsets([tp]))[tp]
                at = (await client.offsets_for_times({tp: earliest_ms})).get(tp)
                share = max(1, self._most // len(self._flows))
                begin = end if at is None else max(at.offset, end - share)
                self._begin(tp, begin, since_ms=earliest_ms, target=end)
            elif (offset := self._memory.place(tp, intent_id)) is not None:
                target = max(flow.target, await client.position(tp))
                self._begin(tp, offset, since_ms=flow.since_ms, target=target)

    def _begin(self, tp: TopicPartition, offset: int, *, since_ms: int, target: int = 0) -> None:
        """Let a partition flow from an offset on."""
        flow = self._flows[tp]
        self._client_now.seek(tp, offset)
        self._client_now.resume(tp)
        flow.flows, flow.since_ms, flow.target = True, since_ms, target
        flow.idle_since = self._clock.monotonic()
        if target > offset:
            flow.caught_up.clear()
        else:
            flow.caught_up.set()

    async def _read(self, client: AIOKafkaConsumer) -> None:
        """Give out what comes, until cancelled; raises UnavailableError for a missing right."""
        while True:
            try:
                batches = await client.getmany(timeout_ms=500, max_records=1000)
                for records in batches.values():
                    for record in records:
                        self._give(record)
                await self._settle(client)
            except KafkaError as error:
                if kind_of(error) is FaultKind.RIGHT:
                    raise refused(self._settings, error, self._outcome_topics) from error
                LOG.warning("outcomes cannot be read for now: %s", type(error).__name__)
                await self._clock.sleep(PAUSE_S)

    def _give(self, record: ConsumerRecord) -> None:
        intent_id = id_of(self._topics, record)
        if intent_id is not None:
            self._memory.note(intent_id, record)
            self._waiters.give(intent_id, record)

    async def _settle(self, client: AIOKafkaConsumer) -> None:
        """Tell who looks back that its end is reached; pause what nobody has waited for lately."""
        flowing = {tp: flow for tp, flow in self._flows.items() if flow.flows}
        for tp, flow in flowing.items():
            if not flow.caught_up.is_set() and await client.position(tp) >= flow.target:
                flow.caught_up.set()
        now = self._clock.monotonic()
        if now - self._looked_at < LOOK_EVERY_S:
            return
        self._looked_at = now
        wanted = {tp for waiter in self._waiters for tp in waiter.partitions}
        for tp, flow in flowing.items():
            if tp in wanted:
                flow.idle_since = now
            elif now - flow.idle_since > KEPT_S:
                client.pause(tp)
                flow.flows = False

    def _ended(self, task: "asyncio.Task[None]") -> None:
        """Fail whoever waits, now and later, where reading has ended by an error."""
        if task.cancelled() or task.exception() is None:
            return
        error = task.exception()
        if not isinstance(error, ClientError):
            message = f"outcomes cannot be read ({type(error).__name__}): open the client anew"
            error = UnavailableError(message)
        self._failure = error
        self._waiters.fail(error)
        for flow in self._flows.values():
            flow.caught_up.set()

    @property
    def _client_now(self) -> AIOKafkaConsumer:
        if self._failure is not None:
            raise self._failure
        return self._client

    @property
    def _outcome_topics(self) -> tuple[str, str]:
        return (self._topics.results, self._topics.dead_letters)

    def _partition(self, topic: str, key: bytes) -> TopicPartition:
        """Give the partition that a key is written to: as Kafka's default partitioner does."""
        numbers = sorted(tp.partition for tp in self._flows if tp.topic == topic)
        return TopicPartition(topic, DefaultPartitioner()(key, numbers, numbers))

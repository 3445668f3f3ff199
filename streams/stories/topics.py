"""What Kafka has of an intent, read to the ends that were there at the start."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.partitioner import DefaultPartitioner

from schemas.attempt import ProviderAttempt
from schemas.events import WorkflowEvent
from schemas.outcome import DeadLetter, WorkflowResult
from schemas.settings import Settings
from streams.kafka.backlog import (
    committed_offsets,
    lines_of,
    partitions_in,
    places_behind,
    read_places,
)
from streams.kafka.clients import consumer, partitions_of, started
from streams.kafka.diagnosis import unavailable
from streams.kafka.passing import incoming_of
from streams.kafka.reading import record_at
from streams.messages.identity import identify
from streams.stories.parts import Call, Ending, Event, Waiting
from streams.stories.record import Record

__all__ = ["KafkaRecords", "kafka_records"]

#: A broker answers one request of a client after the other: one that waits for records to come
#: would hold up the next question for so long.
FETCH_WAIT_MS = 20
#: Lengths of ids that are made of where an intent came in, its own and its trace's.
DERIVED = (36, 32)
#: Partition → where reading begins.
Begins = Mapping[TopicPartition, int]


@asynccontextmanager
async def kafka_records(settings: Settings, *, limit_s: float) -> AsyncIterator["KafkaRecords"]:
    """Connect; raises BrokerUnavailableError. Each question takes at most `limit_s` seconds."""
    try:
        async with started(consumer(settings, fetch_max_wait_ms=FETCH_WAIT_MS)) as reader:
            lines = await lines_of(settings, reader)
            known = await partitions_in(reader, [*settings.topics.recorded, *lines])
            yield KafkaRecords(settings, reader, known, limit_s=limit_s)
    except (KafkaError, TimeoutError, OSError) as error:
        raise await unavailable(settings, error) from error


class KafkaRecords:
    """Asks Kafka for the records of one intent."""

    def __init__(
        self,
        settings: Settings,
        reader: AIOKafkaConsumer,
        known: Mapping[str, list[TopicPartition]],
        *,
        limit_s: float,
    ) -> None:
        """Keep a started reader, and the partitions by topic."""
        self._known = known
        self._settings = settings
        self._topics = settings.topics
        self._reader = reader
        self._limit_s = limit_s

    async def not_recorded(self) -> dict[TopicPartition, int]:
        """Give from where on the recorder has not committed: what ClickHouse may not have."""
        return await committed_offsets(self._settings, self._settings.recorder_group)

    async def of_intent(self, intent_id: str, *, begins: Begins) -> Record:
        """Read the partition to which the id leads, from the offsets that are given on."""
        part = _Parts(self._settings, lambda document: document.get("intent_id") == intent_id)
        places = await self._places(begins)
        numbers = self._partition_by_topic(intent_id)
        mine = {tp: one for tp, one in places.items() if numbers.get(tp.topic) == tp.partition}
        whole = await read_places(self._reader, mine, part.take, limit_s=self._limit_s)
        return part.record(intent_id, notes=() if whole else (self._cut_short(),))

    async def intents_named(self, identifier: str, *, begins: Begins) -> tuple[list[str], bool]:
        """Search all partitions for an id of any kind; also whether it came to their ends."""
        part = _Parts(self._settings, lambda document: identifier in _ids(document))
        part.needle = json.dumps(identifier, ensure_ascii=False)[1:-1].encode()
        places = await self._places(begins)
        whole = await read_places(self._reader, places, part.take, limit_s=self._limit_s)
        return sorted(part.named), whole

    async def waiting(self, identifier: str) -> tuple[dict[str, list[Waiting]], bool]:
        """Search what workers have not committed; gives the places by intent."""
        committed = await committed_offsets(self._settings, self._settings.worker_group)
        lines = [tp for tp in self._all() if tp.topic not in self._topics.recorded]
        places = await places_behind(self._reader, lines, committed)
        found: dict[str, list[Waiting]] = {}
        needle = json.dumps(identifier, ensure_ascii=False)[1:-1].encode()

        def take(record: ConsumerRecord) -> None:
            texts = (record.value or b"", record.key or b"", *(raw for _, raw in record.headers))
            derived = len(identifier) in DERIVED
            if not derived and not any(needle in raw for raw in texts):
                return
            who, place = self._waiting(record)
            if identifier in who:
                found.setdefault(who[0], []).append(place)

        whole = await read_places(self._reader, places, take, limit_s=self._limit_s)
        return found, whole

    async def intent_at(self, topic: str, partition: int, offset: int) -> str | None:
        """Give whose record stands at a place; None where none does, or none of ours."""
        tps = await partitions_of(self._reader, topic)
        tp = TopicPartition(topic, partition)
        if tp not in tps:
            return None
        begin, end = (
            await self._reader.beginning_offsets([tp]),
            await self._reader.end_offsets([tp]),
        )
        if not begin[tp] <= offset < end[tp]:
            return None
        record = await record_at(self._reader, tp, offset)
        if record is None:
            return None
        if topic in self._known and topic not in self._topics.recorded:
            return self._waiting(record)[0][0]
        return next(iter(_ids(_document(record.value), names=("intent_id",))), None)

    def _waiting(self, record: ConsumerRecord) -> tuple[tuple[str, ...], Waiting]:
        """Give the ids of a record that workers read, the intent's first, and its place."""
        incoming = incoming_of(record)
        limit = self._settings.hybrid_max_intent_bytes
        who = identify(incoming, max_bytes=limit).who
        deferral, intent = who.deferral, who.intent
        place = Waiting(
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            since=_moment(record.timestamp),
            accepted_at=who.source.timestamp,
            tenant=intent.tenant if intent else "",
            type=intent.type if intent else "",
            replay_count=who.replay_count,
            due_at=None if deferral is None else _moment(deferral.until_ms),
            reason="" if deferral is None else deferral.reason,
        )
        stated = intent.deduplication_id if intent else None
        trace = (who.trace_context and who.trace_context.trace_id) or None
        return tuple(one for one in (who.intent_id, stated, trace) if one), place

    async def _places(self, begins: Begins) -> dict[TopicPartition, tuple[int, int]]:
        mine = [tp for tp in self._all() if tp.topic in self._topics.recorded]
        return await places_behind(self._reader, mine, begins)

    def _all(self) -> list[TopicPartition]:
        return [tp for tps in self._known.values() for tp in tps]

    def _partition_by_topic(self, intent_id: str) -> dict[str, int]:
        """Say where a topic's records of an intent are: by their key, as producers choose it."""
        choose, key = DefaultPartitioner(), intent_id.encode("utf-8", "surrogatepass")
        found = {}
        for topic in self._topics.recorded:
            numbers = [tp.partition for tp in self._known[topic]]
            if numbers:
                found[topic] = choose(key, numbers, numbers)
        return found

    def _cut_short(self) -> str:
        return f"Kafka was read for {self._limit_s:g} s and not to its end: newer records may lack"


@dataclass
class _Parts:
    """Takes records and keeps the parts of those that are meant."""

    settings: Settings
    is_meant: Callable[[dict[str, object]], bool]
    needle: bytes = b""

    def __post_init__(self) -> None:
        self.named: set[str] = set()
        self._calls: list[Call] = []
        self._endings: list[Ending] = []
        self._events: list[Event] = []

    def take(self, record: ConsumerRecord) -> None:
        """Keep what a record says; raises ValidationError for one that is none of ours."""
        value = record.value or b""
        if self.needle and self.needle not in value:
            return
        document = _document(value)
        if not self.is_meant(document):
            return
        topics = self.settings.topics
        self.named.update(_ids(document, names=("intent_id",)))
        place = f"{record.topic}:{record.partition}:{record.offset}"
        written = _moment(record.timestamp)
        match record.topic:
            case topics.attempts:
                self._calls.append(Call.of(ProviderAttempt.model_validate_json(value)))
            case topics.results:
                result = WorkflowResult.model_validate_json(value)
                self._endings.append(Ending.of_result(result, place=place, written_at=written))
            case topics.dead_letters:
                letter = DeadLetter.model_validate_json(value)
                self._endings.append(Ending.of_letter(letter, place=place, written_at=written))
            case _:
                self._events.append(Event.of(WorkflowEvent.model_validate_json(value)))

    def record(self, intent_id: str, *, notes: tuple[str, ...]) -> Record:
        """Give all that was kept."""
        where = f"Kafka at {self.settings.kafka_bootstrap_servers}"
        return Record(
            intent_id,
            tuple(self._calls),
            tuple(self._endings),
            tuple(self._events),
            sources=(where,),
            notes=notes,
        )


#: The fields by which a record of ours is named.
NAMES = (
    "intent_id", "attempt_id", "execution_id", "provider_request_id", "result_id",
    "dead_letter_id", "deduplication_id",
)  # fmt: skip


def _ids(document: dict[str, object], *, names: tuple[str, ...] = NAMES) -> set[str]:
    found = {str(document[name]) for name in names if document.get(name)}
    trace = document.get("trace_context")
    if names is NAMES and isinstance(trace, dict) and trace.get("trace_id"):
        found.add(str(trace["trace_id"]))
    return found


def _document(value: bytes | None) -> dict[str, object]:
    try:
        document = json.loads(value or b"{}")
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(max(0, milliseconds) / 1000, UTC)

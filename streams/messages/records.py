"""The shapes of records: as they were read, whose they are, as they are written; pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from schemas.base import Headers
from schemas.budgets import SpendRecord
from schemas.events import (
    DeferralState,
    LedgerRecord,
    StartRecord,
    WorkflowEvent,
)
from schemas.intent import WorkflowIntent
from schemas.outcome import RecordSource
from schemas.topics import Topics
from schemas.vocabulary import EventName

__all__ = [
    "DEFERRAL_HEADER",
    "DELIVERY_HEADER",
    "START_PREFIX",
    "Decided",
    "Identity",
    "Incoming",
    "OutRecord",
    "duplicate_records",
    "header",
    "spend_record",
    "start_record",
]

#: Keys of starts; a deduplication id that begins so only shares their fate of being counted.
START_PREFIX = "\x00start/"

DEFERRAL_HEADER = "hybrid-deferral"
#: On a result that is to be delivered: to whom and where, as JSON.
DELIVERY_HEADER = "hybrid-delivery"
REPLAY_COUNT_HEADER = "replay-count"
REPLAYED_HEADER = "replayed-dead-letter-id"
INTENT_ID_HEADER = "intent-id"

#: Headers of ours that are rewritten, not passed through, when an intent is written again.
OWN_HEADERS = frozenset({DEFERRAL_HEADER, DELIVERY_HEADER})


@dataclass(frozen=True, slots=True)
class Incoming:
    """A record as it was read."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers

    @property
    def traceparent(self) -> str | None:
        """The W3C header, as it came."""
        raw = header(self.headers, "traceparent")
        return None if raw is None else raw.decode("ascii", "replace")

    @property
    def source(self) -> RecordSource:
        """Where it was read, as messages say it."""
        return RecordSource(
            topic=self.topic,
            partition=self.partition,
            offset=self.offset,
            timestamp=datetime.fromtimestamp(self.timestamp_ms / 1000, UTC),
        )


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose outcome it is."""

    key: str
    intent_id: str
    replay_count: int
    intent: WorkflowIntent | None
    deferral: DeferralState | None
    source: RecordSource


@dataclass(frozen=True, slots=True)
class OutRecord:
    """A record to be written; `partition` None = by key."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    partition: int | None = None

    @property
    def size(self) -> int:
        """Bytes of key, value and headers."""
        named = sum(len(name) + len(value) for name, value in self.headers)
        return len(self.key or b"") + len(self.value or b"") + named


@dataclass(frozen=True, slots=True)
class Decided:
    """Everything that one transaction writes about one outcome."""

    outcome_id: str
    ledger: LedgerRecord
    records: tuple[OutRecord, ...] = field(default_factory=tuple)

    @property
    def size(self) -> int:
        """Bytes of all values, for bounding a batch."""
        return sum(record.size for record in self.records)


def header(headers: Iterable[tuple[str, bytes]], name: str) -> bytes | None:
    """Give the last value of a header, or None."""
    found = None
    for key, value in headers:
        if key == name:
            found = value
    return found


def duplicate_records(
    topics: Topics, incoming: Incoming, who: Identity, *, event_id: str, worker: str, now: datetime
) -> OutRecord:
    """Build the event that makes a repeated intent visible."""
    event = WorkflowEvent(
        event_id=event_id,
        name=EventName.DUPLICATE_IGNORED,
        intent_id=who.intent_id,
        tenant=who.intent.tenant if who.intent else "default",
        type=who.intent.type if who.intent else None,
        worker=worker,
        details={
            "deduplication_id": who.key,
            "topic": incoming.topic,
            "partition": incoming.partition,
            "offset": incoming.offset,
        },
        occurred_at=now,
    )
    return OutRecord(topics.events, who.intent_id.encode(), event.to_json())


def spend_record(topics: Topics, record: SpendRecord) -> OutRecord:
    """Build the record of what a lane has spent for a tenant."""
    key = f"{record.lane}/{record.tenant}".encode()
    return OutRecord(topics.spend, key, record.to_json(), partition=record.lane)


def start_record(topics: Topics, key: str, count: int | None, *, lane: int) -> OutRecord:
    """Build the record that counts a start, or with None the tombstone that ends the count."""
    value = None if count is None else StartRecord(count=count).to_json()
    raw_key = (START_PREFIX + key).encode("utf-8", "surrogatepass")
    return OutRecord(topics.ledger, raw_key, value, partition=lane)

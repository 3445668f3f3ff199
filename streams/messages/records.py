"""The shapes of records: as they were read, whose they are, as they are written; pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache

from schemas.base import Headers
from schemas.events import (
    DeferralState,
    KeptCall,
    LedgerRecord,
    ReplayRecord,
    StartRecord,
)
from schemas.intent import TraceContext, WorkflowIntent, context_of
from schemas.outcome import RecordSource
from schemas.topics import Topics
from schemas.tracing import traceparent_of
from schemas.versions import RECORD_VERSION, VERSION_HEADER
from schemas.vocabulary import WorkflowStatus
from streams.messages.cloud_events import CloudEvent, body_of
from streams.messages.moments import LATEST_MS
from streams.messages.orders import Named
from streams.messages.sealed import UnreadableError

__all__ = [
    "BATCH_ANSWER_HEADER",
    "BATCH_LINE_HEADER",
    "DEFERRAL_HEADER",
    "DELIVERY_HEADER",
    "START_PREFIX",
    "VERSION",
    "Decided",
    "Identity",
    "Incoming",
    "OutRecord",
    "header",
    "readable_headers",
    "replay_record",
    "start_record",
    "writable_headers",
]

#: Keys of starts; a deduplication id that begins so only shares their fate of being counted.
START_PREFIX = "\x00start/"

DEFERRAL_HEADER = "hybrid-deferral"
#: Of an intent that waits in a batch: its line; and of one that comes back: what came of it.
BATCH_LINE_HEADER, BATCH_ANSWER_HEADER = "hybrid-batch-line", "hybrid-batch-answer"
#: On a result that is to be delivered: to whom and where, as JSON.
DELIVERY_HEADER = "hybrid-delivery"
REPLAY_COUNT_HEADER = "replay-count"
REPLAYED_HEADER = "replayed-dead-letter-id"
REPLAYED_TRACE_HEADER = "replayed-trace-id"  # of its dead letter; its own may be another
REPLAY_PLAN_HEADER = "replay-plan"  # whose run sent a replay
INTENT_ID_HEADER = "intent-id"
#: Before the hexadecimal bytes of a header's name that is not UTF-8.
RAW_NAME_PREFIX = "hybrid-raw-name/"

#: Headers of ours that are rewritten, not passed on, when an intent is written again.
OWN_HEADERS = frozenset(
    {DEFERRAL_HEADER, DELIVERY_HEADER, VERSION_HEADER, BATCH_LINE_HEADER, BATCH_ANSWER_HEADER}
)
#: On every record of ours.
VERSION = (VERSION_HEADER, str(RECORD_VERSION).encode())
VERSION_BYTES = len(VERSION_HEADER) + len(str(RECORD_VERSION))


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
    #: The timestamp as the record has it, which may be no moment at all.
    written_ms: int | None = None
    unreadable: UnreadableError | None = None  # why its content, which is sealed, stays so

    @property
    def traceparent(self) -> str | None:
        """The caller's W3C header; None where it is not valid."""
        return traceparent_of(self.headers)

    @property
    def body(self) -> bytes | None:
        """The intent: the value, or what a CloudEvent holds."""
        return body_of(self.headers, self.value)

    def fits(self, max_bytes: int) -> bool:
        """Whether its value is no larger than an intent may be."""
        return len(self.value or b"") <= max_bytes

    @property
    def source(self) -> RecordSource:
        """Where it was read, as messages say it; a moment that is no date is 1970's first."""
        sane = self.timestamp_ms if 0 <= self.timestamp_ms <= LATEST_MS else 0
        return RecordSource(
            topic=self.topic,
            partition=self.partition,
            offset=self.offset,
            timestamp=datetime.fromtimestamp(sane / 1000, UTC),
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
    #: Of a replayed record: the dead letter that it was.
    dead_letter_id: str | None = None
    #: Fields of the record that mean nothing here.
    unknown: tuple[str, ...] = ()
    #: Its trace: of its header, of the ids that it states, or made.
    traceparent: str | None = None
    event: CloudEvent | None = None  # that it came in
    plan_id: str = ""  # of a replayed record: whose run sent it

    @property
    def trace_context(self) -> TraceContext | None:
        """The trace as messages say it: what the intent states, where it does."""
        stated = self.intent.trace_context if self.intent else None
        return stated or context_of(self.traceparent)

    @property
    def tenant(self) -> str:
        """For whom it is; empty where that cannot be read."""
        return self.intent.tenant if self.intent else ""

    @property
    def subject(self) -> str:
        """What it is about, also where it cannot be read: the same for every replay of it."""
        return self.key if self.intent else self.intent_id

    @property
    def named(self) -> Named:
        """Whose work it is, as far as an order asks."""
        kind = self.intent.type if self.intent else ""
        at = self.source.timestamp
        return Named(self.intent_id, self.tenant, kind, at, is_replay=self.replay_count > 0)

    @property
    def stated_key(self) -> str:
        """The deduplication id as the sender knows it, without the tenant."""
        return (self.intent and self.intent.deduplication_id) or self.intent_id


@dataclass(frozen=True, slots=True)
class OutRecord:
    """A record to be written; `partition` None = by key."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    partition: int | None = None

    @property
    def written_headers(self) -> list[tuple[str, bytes]]:
        """Its headers as they are written: with the version of the record."""
        return [*self.headers, VERSION]

    @property
    def size(self) -> int:
        """Bytes of key, value and headers."""
        size = len(self.key or b"") + len(self.value or b"") + VERSION_BYTES
        for name, value in self.headers:
            size += len(name) + len(value)
        return size


@dataclass(frozen=True, slots=True)
class Decided:
    """Everything that one transaction writes about one outcome."""

    outcome_id: str
    ledger: LedgerRecord
    records: tuple[OutRecord, ...] = field(default_factory=tuple)

    @property
    def largest(self) -> int:
        """Bytes of the largest record."""
        return max((record.size for record in self.records), default=0)

    @property
    def size(self) -> int:
        """Bytes of all values, for bounding a batch."""
        return sum(record.size for record in self.records)


def readable_headers(raw: Iterable[tuple[str, bytes | None]]) -> Headers:
    """Take headers as Kafka gives them; a name that was written escaped is itself again."""
    return tuple((_unescaped(name), bytes(value or b"")) for name, value in raw)


def writable_headers(headers: Headers) -> Headers:
    """Escape the names that are not UTF-8: clients cannot write them, nor can JSON hold them."""
    return tuple((_escaped(name), value) for name, value in headers)


def _escaped(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        return RAW_NAME_PREFIX + name.encode("utf-8", "surrogateescape").hex()
    return name


def _unescaped(name: str) -> str:
    try:
        raw = bytes.fromhex(name.removeprefix(RAW_NAME_PREFIX))
    except ValueError:
        return name
    return raw.decode("utf-8", "surrogateescape") if name.startswith(RAW_NAME_PREFIX) else name


def header(headers: Iterable[tuple[str, bytes]], name: str) -> bytes | None:
    """Give the last value of a header, or None."""
    found = None
    for key, value in headers:
        if key == name:
            found = value
    return found


def replay_record(
    topics: Topics,
    who: Identity,
    *,
    lane: int,
    decided_at_ms: int,
    status: WorkflowStatus | None = None,
    cost_usd: Decimal | None = None,
) -> OutRecord | None:
    """Build the record that a replay has been decided; None where it is none."""
    letter = who.dead_letter_id
    if letter is None:
        return None
    record = ReplayRecord(
        dead_letter_id=letter,
        tenant=who.tenant,
        subject=who.subject,
        decided_at_ms=decided_at_ms,
        status=status,
        cost_usd=cost_usd,
        plan_id=who.plan_id,
    )
    key = f"{letter}/{who.subject}".encode()
    return OutRecord(topics.replays, key, record.to_json(), partition=lane)


@lru_cache(16)
def _start_value(count: int) -> bytes:
    return StartRecord(count=count).to_json()


def start_record(
    topics: Topics, key: str, count: int | None, *, lane: int, kept: Iterable[KeptCall] = ()
) -> OutRecord:
    """Build the record that counts a start, or with None the tombstone that ends the count.

    `kept`: the calls whose answers their providers keep, for who has the lane next.
    """
    value = None if count is None else _start_value(count)
    if count is not None and (calls := list(kept)):
        value = StartRecord(count=count, kept=calls).to_json()
    raw_key = (START_PREFIX + key).encode("utf-8", "surrogatepass")
    return OutRecord(topics.ledger, raw_key, value, partition=lane)

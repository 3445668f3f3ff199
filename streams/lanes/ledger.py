"""What has been decided about each deduplication id of one partition number.

Beside the decisions, it counts how often an intent was started without an end: one that kills its
worker again and again is taken out of circulation. Starts are kept under keys of their own, so that
a late one of a worker that lost its lane can never hide a decision.

Read from `workflow.ledger` to its end, read_committed, after the lane's producer has started (so
that no earlier owner can still write) and before any intent of the lane runs. The end is where that
producer wrote; a broker that is asked for it may be one that does not lead any more (ADR 18).

An entry is kept until its window is over *and* no record that is not committed can bring its intent
again: what is older than the ledger's horizon is forgotten, and nothing else (docs/adr/0013).
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from schemas.events import KeptCall, LedgerRecord, StartRecord
from schemas.settings import Settings
from schemas.versions import require_known
from schemas.vocabulary import WorkflowStatus
from streams.kafka.clients import consumer, started
from streams.kafka.ends import Ends, OnForeign, read_to_ends
from streams.lanes.replays import Replays, forget_oldest
from streams.messages.digests import digest
from streams.messages.records import START_PREFIX

__all__ = ["CLOCKS_DIFFER_MS", "Entry", "Ledger", "read_ledger", "read_whole"]

#: Workers' clocks may differ by so much; so may a producer's be ahead of them.
CLOCKS_DIFFER_MS = 3_600_000

NO_START: tuple[int, int, tuple[KeptCall, ...]] = (0, 0, ())

_STATUSES = tuple(WorkflowStatus)
#: status, replays, deferrals, topic, offset, decided at, digest of the outcome's id
_LAYOUT = struct.Struct(">BBIHqq16s")


@dataclass(frozen=True, slots=True)
class Entry:
    """One decision about an identity: what was decided, when, and for which record."""

    status: WorkflowStatus
    replay_count: int
    deferrals: int
    topic_index: int
    offset: int
    decided_at_ms: int
    outcome_digest: bytes


class Ledger:
    """Decisions by deduplication id, packed: two short byte strings an entry."""

    def __init__(self, *, sources: tuple[str, ...], window_ms: int) -> None:
        """Begin empty; `window_ms` is the time in which a repeat is the same intent."""
        #: In the order in which they were decided, so that the oldest are found without a search.
        self._entries: dict[bytes, bytes] = {}
        self._deferred: dict[bytes, bytes] = {}  # these have no end of their own
        #: count, moment, and what providers keep, in the order in which they were noted
        self._starts: dict[bytes, tuple[int, int, tuple[KeptCall, ...]]] = {}
        self._sources = sources
        self.window_ms = window_ms
        self.replays = Replays()
        self.next_offset = 0
        #: No record that may come again was written before this moment, in ms since 1970.
        self.horizon_ms = 0

    def __len__(self) -> int:
        """Count the entries kept in memory."""
        return len(self._entries) + len(self._deferred)

    def get(self, key: str) -> Entry | None:
        """Find the decision about a deduplication id, however old it is."""
        packed = self._packed(key)
        if packed is None:
            return None
        status, *rest = _LAYOUT.unpack(packed)
        return Entry(_STATUSES[status], *rest)

    def is_over(self, entry: Entry, *, at_ms: int) -> bool:
        """Whether a record that was written at `at_ms` is a new intent, and no repeat any more.

        The moment is the record's, not ours: a repeat that waits for long, or is read again, stays
        the repeat that it was.
        """
        return self._is_over(entry.status, entry.decided_at_ms, at_ms=at_ms)

    def _is_over(self, status: WorkflowStatus, decided_at_ms: int, *, at_ms: int) -> bool:
        waits = status is WorkflowStatus.DEFERRED  # it has no end of its own
        return not waits and at_ms - decided_at_ms >= self.window_ms

    def advance(self, horizon_ms: int) -> None:
        """Learn that whatever may come again was written at `horizon_ms` or later."""
        self.horizon_ms = max(self.horizon_ms, horizon_ms)

    def put(self, key: str, record: LedgerRecord) -> None:
        """Keep a decision that a transaction has committed."""
        topic = self._sources.index(record.topic) if record.topic in self._sources else 255
        name = self._forget(key)
        waits = record.status is WorkflowStatus.DEFERRED
        (self._deferred if waits else self._entries)[name] = _LAYOUT.pack(
            _STATUSES.index(record.status),
            min(record.replay_count, 255),
            min(record.deferrals, 0xFFFFFFFF),
            topic,
            record.offset,
            record.decided_at_ms,
            digest(record.outcome_id),
        )

    def holds(self, key: str, outcome_id: str) -> bool:
        """Whether exactly this outcome has been committed."""
        packed = self._packed(key)
        return packed is not None and packed.endswith(digest(outcome_id))

    def _packed(self, key: str) -> bytes | None:
        name = digest(key)
        return self._entries.get(name) or self._deferred.get(name)

    def _forget(self, key: str) -> bytes:
        name = digest(key)
        self._entries.pop(name, None)
        self._deferred.pop(name, None)
        return name

    def note_start(
        self, key: str, count: int, *, at_ms: int, kept: Sequence[KeptCall] = ()
    ) -> None:
        """Keep that an intent was started for the `count`-th time without an end, and when.

        `kept`: its calls whose answers their providers keep.
        """
        self.forget_starts(key)
        self._starts[digest(key)] = (count, at_ms, tuple(kept))

    def forget_starts(self, key: str) -> None:
        """Forget the starts of an intent that has been decided."""
        self._starts.pop(digest(key), None)

    def starts(self, key: str) -> int:
        """Give how often an intent was started without an end."""
        return self._starts.get(digest(key), NO_START)[0]

    def kept(self, key: str) -> tuple[KeptCall, ...]:
        """Give the calls of those starts whose answers their providers keep."""
        return self._starts.get(digest(key), NO_START)[2]

    def load(self, raw_key: bytes | None, value: bytes | None, *, at_ms: int = 0) -> None:
        """Take in a record of the ledger topic, of `at_ms`; raises ValueError for one not ours."""
        if raw_key is None:
            message = "a record of the ledger has a key"
            raise ValueError(message)
        key = raw_key.decode("utf-8", "surrogatepass")
        if key.startswith(START_PREFIX):
            intent_key = key.removeprefix(START_PREFIX)
            if value is None:
                self.forget_starts(intent_key)
            else:
                start = StartRecord.model_validate_json(value)
                self.note_start(intent_key, start.count, at_ms=at_ms, kept=start.kept)
        elif value is not None:
            self._load_decision(key, LedgerRecord.model_validate_json(value))

    def _load_decision(self, key: str, record: LedgerRecord) -> None:
        """Keep what may be asked for; what was decided before it about the same id goes anyway."""
        if self._is_over(record.status, record.decided_at_ms, at_ms=self.horizon_ms):
            self._forget(key)
        else:
            self.put(key, record)

    def prune(self) -> bool:
        """Forget what is older than the horizon by the window, a slice of it.

        Gives whether there may be more: the loop is not held up by a million of them.
        """
        last_ms = self.horizon_ms - self.window_ms
        # Deferrals are not among them: they have no end of their own.
        more = forget_oldest(self._entries, lambda packed: _LAYOUT.unpack(packed)[5] <= last_ms)
        # An intent that may still come is younger than the horizon, and so are its starts.
        starts = forget_oldest(self._starts, lambda noted: noted[1] <= last_ms)
        return self.replays.prune(now_ms=self.horizon_ms) or starts or more


async def read_ledger(
    settings: Settings,
    partition: int,
    ledger: Ledger,
    end: int,
    *,
    on_progress: Callable[[int, int], None],
    on_foreign: OnForeign,
) -> int:
    """Read a partition of the ledger topic from `ledger.next_offset` to `end`.

    Gives the number of records read; raises KafkaError, TimeoutError when the end stays away.
    `on_progress` is told the offset reached and the end, after each batch; `on_foreign` a record
    that somebody else wrote, which is passed over.
    """
    tp = TopicPartition(settings.topics.ledger, partition)
    async with started(consumer(settings)) as reader:
        reader.assign([tp])
        begin = (await reader.beginning_offsets([tp]))[tp]
        needed = await _needed_from(reader, tp, ledger)
        reader.seek(tp, max(begin, ledger.next_offset, needed))
        count = await read_to_ends(
            reader,
            {tp: end},
            lambda record: _load(ledger, record),
            what=f"the ledger of partition {partition} cannot be read to its end",
            on_progress=on_progress,
            on_foreign=on_foreign,
        )
        ledger.next_offset = end
    return count


async def _needed_from(reader: AIOKafkaConsumer, tp: TopicPartition, ledger: Ledger) -> int:
    """Give the offset before which everything is older than what the ledger has to know."""
    moment = ledger.horizon_ms - ledger.window_ms - CLOCKS_DIFFER_MS
    if moment <= 0:
        return 0
    found = (await reader.offsets_for_times({tp: moment})).get(tp)
    # Who finds none has not heard of what we have just written: it is believed in nothing.
    return found.offset if found else 0


async def read_whole(
    settings: Settings,
    takes: Mapping[TopicPartition, Callable[[bytes], None]],
    ends: Ends,
    *,
    on_foreign: OnForeign,
) -> None:
    """Give whole partitions to those who take them, each to its end.

    Raises KafkaError, and TimeoutError where an end stays away; what nobody can take is told.
    """
    tps = list(takes)
    async with started(consumer(settings)) as reader:
        reader.assign(tps)
        await reader.seek_to_beginning(*tps)
        await read_to_ends(
            reader,
            {tp: ends[tp] for tp in tps},
            lambda record: _give(takes, record),
            what=f"what a lane has to know cannot be read to its end: {tps}",
            on_foreign=on_foreign,
        )


def _load(ledger: Ledger, record: ConsumerRecord) -> None:
    require_known(record.topic, record.partition, record.offset, record.headers)
    ledger.load(record.key, record.value, at_ms=record.timestamp)


def _give(takes: Mapping[TopicPartition, Callable[[bytes], None]], record: ConsumerRecord) -> None:
    require_known(record.topic, record.partition, record.offset, record.headers)
    takes[TopicPartition(record.topic, record.partition)](record.value or b"")

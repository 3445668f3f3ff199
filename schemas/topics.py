"""All topics: names, keys, retention, compaction."""

from dataclasses import dataclass
from functools import cached_property

__all__ = [
    "DAY_MS",
    "DEAD_LETTERS_KEPT_MS",
    "REPLAYS_KEPT_MS",
    "SEGMENTS",
    "TopicSpec",
    "Topics",
    "duration_name",
]

HOUR_MS = 60 * 60 * 1000
DAY_MS = 24 * 60 * 60 * 1000
#: Dead letters are kept so long.
DEAD_LETTERS_KEPT_MS = 30 * DAY_MS
#: A replay is remembered a little longer than its dead letter can be replayed.
REPLAYS_KEPT_MS = DEAD_LETTERS_KEPT_MS + 2 * DAY_MS
#: A person's key seals for a week, and is kept for longer than the last dead letter of it.
KEYS_KEPT_MS = DEAD_LETTERS_KEPT_MS + 10 * DAY_MS
#: A compacted topic is cut into so many segments over its retention.
SEGMENTS = 24


def duration_name(seconds: float) -> str:
    """Name a delay as the deferred topics do: `10s`, `600s`, `0.5s`."""
    return f"{seconds:g}s"


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """One topic as `hybrid topics ensure` creates and checks it."""

    name: str
    holds: str
    retention_ms: int
    compact: bool = False
    dead_letters: bool = False
    #: Of a compacted topic: its newest records, so long, are neither compacted nor deleted.
    segment_ms: int = 0
    #: Of a compacted topic: what a tombstone ends is gone from the disks so soon after it; 0 = when
    #: the broker comes to it.
    gone_within_ms: int = 0


@dataclass(frozen=True)
class Topics:
    """All topic names under one prefix, each put together once: they are asked for all the time."""

    prefix: str
    defer_delays: tuple[float, ...]
    deduplication_window_s: int

    @cached_property
    def intents(self) -> str:
        """WorkflowIntent, written by upstream systems."""
        return f"{self.prefix}.intents"

    @cached_property
    def urgent(self) -> str:
        """The same for priority high and critical; never waits behind the other."""
        return f"{self.prefix}.intents.urgent"

    @cached_property
    def results(self) -> str:
        """WorkflowResult."""
        return f"{self.prefix}.results"

    @cached_property
    def dead_letters(self) -> str:
        """DeadLetter."""
        return f"{self.prefix}.dead-letters"

    @cached_property
    def deferred(self) -> tuple[str, ...]:
        """The delayed-retry topics, shortest delay first."""
        return tuple(f"{self.prefix}.deferred.{duration_name(s)}" for s in self.defer_delays)

    @cached_property
    def attempts(self) -> str:
        """ProviderAttempt."""
        return f"{self.prefix}.attempts"

    @cached_property
    def events(self) -> str:
        """WorkflowEvent."""
        return f"{self.prefix}.events"

    @cached_property
    def state(self) -> str:
        """HybridWorkflowState, compacted."""
        return f"{self.prefix}.state"

    @cached_property
    def ledger(self) -> str:
        """LedgerRecord, compacted."""
        return f"{self.prefix}.ledger"

    @cached_property
    def deliveries(self) -> str:
        """Delivery."""
        return f"{self.prefix}.deliveries"

    @cached_property
    def alerts(self) -> str:
        """Alert."""
        return f"{self.prefix}.alerts"

    @cached_property
    def cache(self) -> str:
        """CachedAnswer (internal), compacted."""
        return f"{self.prefix}.cache"

    @cached_property
    def spend(self) -> str:
        """SpendRecord (internal), compacted."""
        return f"{self.prefix}.spend"

    @cached_property
    def replays(self) -> str:
        """ReplayRecord (internal), compacted."""
        return f"{self.prefix}.replays"

    @cached_property
    def operations(self) -> str:
        """OperationRecord (internal), compacted: all of them in partition 0, in their order."""
        return f"{self.prefix}.operations"

    @cached_property
    def batches(self) -> str:
        """BatchLine and BatchRecord (internal), compacted: intents that wait in a batch."""
        return f"{self.prefix}.batches"

    @cached_property
    def keys(self) -> str:
        """KeyRecord (internal), compacted: persons' keys to their content at rest."""
        return f"{self.prefix}.keys"

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """The topics that workers consume; a lane is one partition number of all of them."""
        return (self.intents, self.urgent, *self.deferred)

    @cached_property
    def written_by_lanes(self) -> tuple[str, ...]:
        """The topics that a lane's transactions write to."""
        return (
            self.results,
            self.dead_letters,
            *self.deferred,
            self.attempts,
            self.events,
            self.state,
            self.ledger,
            self.cache,
            self.spend,
            self.replays,
            self.batches,
            self.keys,
        )

    @cached_property
    def recorded(self) -> tuple[str, ...]:
        """The topics that the recorder moves into ClickHouse."""
        return (self.attempts, self.results, self.dead_letters, self.events)

    def specs(self) -> tuple[TopicSpec, ...]:
        """Every topic with its key, its content, and how long it keeps records."""
        week = 7 * DAY_MS
        # What Kafka may deliver again must be known: decisions are kept as long as intents are.
        window = self.deduplication_window_s * 1000
        return (
            TopicSpec(self.intents, "WorkflowIntent", week),
            TopicSpec(self.urgent, "WorkflowIntent", week),
            TopicSpec(self.results, "WorkflowResult", week),
            TopicSpec(self.dead_letters, "DeadLetter", DEAD_LETTERS_KEPT_MS, dead_letters=True),
            *(TopicSpec(name, "WorkflowIntent", week) for name in self.deferred),
            TopicSpec(self.attempts, "ProviderAttempt", week),
            TopicSpec(self.events, "WorkflowEvent", 3 * DAY_MS),
            TopicSpec(self.state, "HybridWorkflowState", week, compact=True),
            TopicSpec(
                self.ledger,
                "LedgerRecord",
                max(window, week),
                compact=True,
                segment_ms=window // SEGMENTS,
            ),
            TopicSpec(self.deliveries, "Delivery", week),
            TopicSpec(self.alerts, "Alert", 30 * DAY_MS),
            TopicSpec(self.cache, "CachedAnswer", DAY_MS, compact=True),
            TopicSpec(self.spend, "SpendRecord", 40 * DAY_MS, compact=True),
            TopicSpec(self.replays, "ReplayRecord", REPLAYS_KEPT_MS, compact=True),
            TopicSpec(self.operations, "OperationRecord", REPLAYS_KEPT_MS, compact=True),
            TopicSpec(self.batches, "BatchRecord", week, compact=True),
            TopicSpec(self.keys, "KeyRecord", KEYS_KEPT_MS, compact=True, gone_within_ms=HOUR_MS),
        )

"""All topics: names, keys, retention, compaction."""

from dataclasses import dataclass

__all__ = ["DAY_MS", "TopicSpec", "Topics", "duration_name"]

DAY_MS = 24 * 60 * 60 * 1000
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


@dataclass(frozen=True, slots=True)
class Topics:
    """All topic names under one prefix."""

    prefix: str
    defer_delays: tuple[float, ...]
    deduplication_window_s: int

    @property
    def intents(self) -> str:
        """WorkflowIntent, written by upstream systems."""
        return f"{self.prefix}.intents"

    @property
    def urgent(self) -> str:
        """The same for priority high and critical; never waits behind the other."""
        return f"{self.prefix}.intents.urgent"

    @property
    def results(self) -> str:
        """WorkflowResult."""
        return f"{self.prefix}.results"

    @property
    def dead_letters(self) -> str:
        """DeadLetter."""
        return f"{self.prefix}.dead-letters"

    @property
    def deferred(self) -> tuple[str, ...]:
        """The delayed-retry topics, shortest delay first."""
        return tuple(f"{self.prefix}.deferred.{duration_name(s)}" for s in self.defer_delays)

    @property
    def attempts(self) -> str:
        """ProviderAttempt."""
        return f"{self.prefix}.attempts"

    @property
    def events(self) -> str:
        """WorkflowEvent."""
        return f"{self.prefix}.events"

    @property
    def state(self) -> str:
        """HybridWorkflowState, compacted."""
        return f"{self.prefix}.state"

    @property
    def ledger(self) -> str:
        """LedgerRecord, compacted."""
        return f"{self.prefix}.ledger"

    @property
    def deliveries(self) -> str:
        """Delivery."""
        return f"{self.prefix}.deliveries"

    @property
    def alerts(self) -> str:
        """Alert."""
        return f"{self.prefix}.alerts"

    @property
    def cache(self) -> str:
        """CachedAnswer (internal), compacted."""
        return f"{self.prefix}.cache"

    @property
    def spend(self) -> str:
        """SpendRecord (internal), compacted."""
        return f"{self.prefix}.spend"

    @property
    def sources(self) -> tuple[str, ...]:
        """The topics that workers consume; a lane is one partition number of all of them."""
        return (self.intents, self.urgent, *self.deferred)

    @property
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
        )

    @property
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
            TopicSpec(self.dead_letters, "DeadLetter", 30 * DAY_MS, dead_letters=True),
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
        )

"""A story: what became of one intent, as spans of time that each say why; pure."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from streams.stories.parts import Call, Ending
from streams.stories.record import Record

__all__ = ["Bill", "Span", "SpanKind", "Status", "Story", "Turns"]


class SpanKind(StrEnum):
    """What a part of the time was spent on."""

    QUEUE = "queue"  # in line, before an execution
    LIMITER = "limiter"  # for a provider's limits
    BACKOFF = "backoff"  # between two calls of one provider
    CALL = "call"  # a provider at work
    FALLBACK = "fallback"  # on to the next provider; takes no time
    DEFERRAL = "deferral"  # on a delayed-retry topic
    CACHE = "cache"  # answered from the cache; takes no time
    COMMIT = "commit"  # from the last answer to the record of the outcome
    DEAD = "dead letter"  # ended without a result, until it was replayed
    DELIVERY = "delivery"  # from the result to its turn for the recipient


class Status(StrEnum):
    """Where an intent stands."""

    WAITING = "waiting"  # no worker has begun it
    RUNNING = "running"  # a worker has
    DEFERRED = "deferred"  # put off until later
    LOST = "lost"  # a call has no end, and its time is over: the worker may have died
    COMPLETED = "completed"  # has its result
    FAILED = "failed"  # is a dead letter


@dataclass(frozen=True, slots=True)
class Span:
    """A part of the time; `end` None = it goes on."""

    kind: SpanKind
    label: str
    because: str
    begin: datetime
    end: datetime | None
    call: Call | None = None
    #: Of a call: success, failed, cancelled, running or orphaned.
    state: str = ""

    def length(self, now: datetime) -> timedelta:
        """Give how long it took, or takes so far."""
        return max(timedelta(0), (now if self.end is None else self.end) - self.begin)


@dataclass(frozen=True, slots=True)
class Bill:
    """What the calls cost, in dollars."""

    #: Of the calls whose cost is known.
    usd: Decimal = Decimal(0)
    #: What may come on top: calls of which no answer was read.
    uncertain_usd: Decimal = Decimal(0)
    #: Calls whose price nobody knows.
    unpriced: int = 0


@dataclass(frozen=True, slots=True)
class Turns:
    """How often it was put off, lost with a worker, replayed."""

    deferrals: int = 0
    orphans: int = 0
    replays: int = 0


@dataclass(frozen=True, slots=True)
class Story:
    """What became of one intent, as of `now`."""

    record: Record
    now: datetime
    status: Status
    accepted_at: datetime | None
    spans: tuple[Span, ...]
    headline: str = ""
    ending: Ending | None = None
    due_at: datetime | None = None
    bill: Bill = Bill()
    turns: Turns = Turns()
    cached: bool = False
    notes: tuple[str, ...] = field(default=())

    @property
    def is_over(self) -> bool:
        """Whether it has its outcome."""
        return self.status in {Status.COMPLETED, Status.FAILED}

    @property
    def ended_at(self) -> datetime | None:
        """Give when it had its outcome; None = not yet."""
        return self.ending.at if self.ending is not None and self.is_over else None

    @property
    def total(self) -> timedelta | None:
        """Give the time from the intent's record to its outcome, or until now."""
        if self.accepted_at is None:
            return None
        return max(timedelta(0), (self.ended_at or self.now) - self.accepted_at)

    def spent_on(self, kind: SpanKind) -> timedelta:
        """Give the time of all spans of a kind."""
        lengths = (span.length(self.now) for span in self.spans if span.kind is kind)
        return sum(lengths, timedelta(0))

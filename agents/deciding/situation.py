"""What a decision is made of: the numbers of the policy, and where an execution stands; pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from schemas.vocabulary import FailureKind

__all__ = ["REMEMBERED_MS", "Limits", "Override", "Past", "RetryPolicy", "Situation"]

#: So long after it was last seen an outage still explains what fails: a weekend, with room. Beyond
#: it an intent that provokes failures of its own would be tried for ever where nobody else calls.
REMEMBERED_MS = 72 * 3_600_000


@dataclass(frozen=True, slots=True)
class Override:
    """A user's own line of the table: another provider, or a deferral."""

    provider: str | None = None
    defer_s: float | None = None


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The numbers of the policy; delays in seconds."""

    retry_delays: tuple[float, ...] = (1.0, 2.0, 5.0)
    defer_delays: tuple[float, ...] = (10.0, 60.0, 600.0)
    jitter: float = 0.10
    #: A provider's Retry-After up to this is waited for in the process.
    inline_wait_s: float = 5.0
    #: Tries of one provider after an answer that was not what was asked for.
    repair_tries: int = 1
    #: Calls of one provider that may end for a parameter that its model does not take.
    drops: int = 3
    #: Refusals of the request itself after which another provider may still be asked.
    fallback_on: frozenset[FailureKind] = frozenset()
    #: (provider, failure) → what follows at once, in place of the table.
    overrides: Mapping[tuple[str, FailureKind], Override] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Limits:
    """What the intent itself allows."""

    deadline_at_ms: int | None = None
    max_cost_usd: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Past:
    """What is known from before this execution; moments in milliseconds since 1970."""

    #: How often providers made the intent wait.
    deferrals: int = 0
    #: When an outage was last seen for which the intent was put aside; None = for none.
    outage_ms: int | None = None
    #: When a provider of the route last answered this worker, whoever asked; None = never yet.
    answered_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Situation:
    """Where an execution stands after a failed call."""

    providers: tuple[str, ...]
    position: int
    #: Calls of this provider, but those that another key was there for.
    calls_here: int
    now_ms: int
    limits: Limits
    spent_usd: Decimal
    repairs_here: int = 0
    earlier: tuple[FailureKind, ...] = ()
    #: Seconds until each provider can be called (breaker, rest, pace); empty = all of them now.
    waits_s: tuple[float, ...] = ()
    #: Which providers do not answer anybody, in this worker's eyes; empty = none.
    out: tuple[bool, ...] = ()
    #: Seconds already waited for this provider's turn.
    waited_s: float = 0.0
    past: Past = Past()

    def wait_s(self, position: int) -> float:
        """Seconds until a provider can be called."""
        return self.waits_s[position] if self.waits_s else 0.0

    def is_out(self, position: int) -> bool:
        """Whether a provider does not answer anybody."""
        return bool(self.out) and self.out[position]

    @property
    def outage(self) -> bool:
        """Whether a provider that was tried does not answer others either."""
        return any(self.out[: self.position + 1])

    @property
    def same_outage_ms(self) -> int | None:
        """When the outage was last seen that the intent waited for, if nobody was answered since.

        It begins with a breaker only: what fails alone is the intent's own failure. A worker that
        has just started, or has called nobody meanwhile, knows less than the intent remembers.
        """
        seen_ms, answered_ms = self.past.outage_ms, self.past.answered_ms
        if seen_ms is None or self.now_ms - seen_ms > REMEMBERED_MS:
            return None
        return None if answered_ms is not None and answered_ms >= seen_ms else seen_ms

"""What a worker has committed and called since its start, as counts; `/metrics` shows them."""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from itertools import accumulate
from typing import assert_never

from agents.task import Completed, Deferred, Failed, Outcome
from schemas.attempt import ProviderAttempt
from schemas.intent import TraceContext
from schemas.vocabulary import AttemptStatus

__all__ = ["CALL_BOUNDS_S", "RESULT_BOUNDS_S", "Seen", "Spread", "Tallies"]

#: What OpenTelemetry's conventions for calls of models advise: 0.01 s to 81.92 s, each twice.
CALL_BOUNDS_S = tuple(0.01 * 2**step for step in range(14))
#: An exemplar's names and values have 128 signs at most (OpenMetrics).
MOST_TRACE_ID = 64
#: An intent also waits: for its turn, for retries, for hours.
RESULT_BOUNDS_S = (*CALL_BOUNDS_S, 300.0, 900.0, 3600.0, 4 * 3600.0, 24 * 3600.0)


@dataclass(frozen=True, slots=True)
class Seen:
    """One of those that a bucket counts: the newest."""

    trace_id: str
    value: float
    #: Seconds since 1970.
    at: float


class Spread:
    """How often a time was within which bounds, and one trace to look at for each of them."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        """Begin with none; the bounds are in seconds, ascending."""
        self.bounds = bounds
        self.sum = 0.0
        self._counts = [0] * (len(bounds) + 1)
        self._seen: list[Seen | None] = [None] * (len(bounds) + 1)

    def note(self, seconds: float, *, trace_id: str, at: float) -> None:
        """Count one; `at` is when it ended, in seconds since 1970."""
        place = bisect_left(self.bounds, seconds)
        self.sum += seconds
        self._counts[place] += 1
        if trace_id:
            self._seen[place] = Seen(trace_id, seconds, at)

    def buckets(self) -> list[tuple[float, int, Seen | None]]:
        """Give each bound, the last one being infinite, with how many were within it."""
        bounds = (*self.bounds, float("inf"))
        return list(zip(bounds, accumulate(self._counts), self._seen, strict=True))


class Tallies:
    """All counts of one worker."""

    def __init__(self) -> None:
        """Begin with nothing."""
        #: `completed`, `failed`, `deferred`
        self.outcomes = Counter[str]()
        #: By reason.
        self.deferrals, self.dead_letters = Counter[str](), Counter[str]()
        #: From the record's timestamp to the result.
        self.results = Spread(RESULT_BOUNDS_S)
        #: By provider and outcome, and by provider and class of tokens.
        self.attempts, self.tokens = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
        #: Dollars by provider, and how many calls have no price.
        self.usd: dict[str, Decimal] = {}
        self.unpriced = Counter[str]()
        self.calls: dict[str, Spread] = {}
        #: Seconds by what was waited for: `queue`, `limiter`, `backoff`.
        self.waited_s = {"queue": 0.0, "limiter": 0.0, "backoff": 0.0}

    def note_outcome(self, outcome: Outcome) -> None:
        """Count an outcome that was committed, and the call that it ended with."""
        match outcome:
            case Completed():
                self.outcomes["completed"] += 1
                result = outcome.result
                self.results.note(
                    result.timings.total_ms / 1000,
                    trace_id=_trace_of(result.trace_context),
                    at=result.completed_at.timestamp(),
                )
            case Failed():
                self.outcomes["failed"] += 1
                self.dead_letters[outcome.reason.value] += 1
            case Deferred():
                self.outcomes["deferred"] += 1
                self.deferrals[outcome.state.reason] += 1
            case _:
                assert_never(outcome)
        if outcome.last_attempt is not None:
            self.note_attempt(outcome.last_attempt)

    def note_attempt(self, attempt: ProviderAttempt) -> None:
        """Count a call that has ended; one that has begun is not counted."""
        if attempt.status is not AttemptStatus.FINISHED:
            return
        who, seconds = attempt.provider, attempt.call_ms / 1000
        self.attempts[who, attempt.outcome.value] += 1
        for name in ("uncached_input", "cached_input", "visible_output", "reasoning"):
            self.tokens[who, name] += getattr(attempt, f"{name}_tokens")
        if attempt.cost_usd is None:
            self.unpriced[who] += 1
        else:
            self.usd[who] = self.usd.get(who, Decimal(0)) + attempt.cost_usd
        for name, waited_ms in (
            ("queue", attempt.queue_ms),
            ("limiter", attempt.limiter_ms),
            ("backoff", attempt.backoff_ms),
        ):
            self.waited_s[name] += waited_ms / 1000
        ended = attempt.finished_at or attempt.started_at
        self.calls.setdefault(who, Spread(CALL_BOUNDS_S)).note(
            seconds, trace_id=_trace_of(attempt.trace_context), at=ended.timestamp()
        )


def _trace_of(context: TraceContext | None) -> str:
    """Give a trace's id; an exemplar has room for the W3C's, and not for any text."""
    found = (context.trace_id or "") if context else ""
    return found if len(found) <= MOST_TRACE_ID else ""

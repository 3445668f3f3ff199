"""The running account of one execution: where it stands, what it spent, where its time went."""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from agents.deciding.failures import Failure
from agents.deciding.policy import Limits, Past, Situation
from agents.deciding.protecting import Mask
from agents.deciding.schedule import milliseconds
from agents.task import NOTHING, Paid, Task
from schemas.attempt import ProviderAttempt
from schemas.outcome import (
    AttemptSummary,
    FallbackStep,
    Timings,
)
from schemas.vocabulary import FailureKind

__all__ = ["Execution"]

#: A dead letter lists this many calls at most; ClickHouse holds them all.
MAX_SUMMARIES = 20
NO_USD = Decimal(0)


@dataclass
class Execution:
    """Mutable while it runs; everything that leaves it is a frozen message."""

    task: Task
    began: datetime
    #: What stands for what in the task's intent; None = nothing has been replaced in it.
    mask: Mask | None = None
    position: int = field(default=0, init=False)
    calls: int = field(default=0, init=False)
    calls_here: int = field(default=0, init=False)
    repairs: int = field(default=0, init=False)
    #: Of the calls here, those that failed for their key's sake while another key was there.
    key_changes: int = field(default=0, init=False)
    #: Dollars, earlier executions of the same intent included.
    spent: Decimal = field(default=Decimal(0), init=False)
    #: What this execution's calls cost.
    paid: Paid = field(default=NOTHING, init=False)
    unpriced: bool = field(default=False, init=False)
    #: What calls may have cost of which no answer was read.
    at_risk: Decimal = field(default=Decimal(0), init=False)
    limiter_ms: int = field(default=0, init=False)
    backoff_ms: int = field(default=0, init=False)
    provider_ms: int = field(default=0, init=False)
    fallbacks: list[FallbackStep] = field(default_factory=list, init=False)
    _pending_backoff_ms: int = field(default=0, init=False)
    _pending_limiter_ms: int = field(default=0, init=False)
    _waited_here_s: float = field(default=0.0, init=False)
    _earlier: list[FailureKind] = field(default_factory=list, init=False)
    #: The calls that have ended; only what does not succeed has to list them.
    _ended: list[tuple[ProviderAttempt, Failure | None]] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        """Take over what a deferral brought along."""
        before = self.task.deferral
        if before is not None:
            self.fallbacks = list(before.fallback_history)
            self.limiter_ms = before.limiter_ms
            self.backoff_ms = before.backoff_ms
            self.provider_ms = before.provider_ms
            if before.spent_usd is None:
                self.unpriced = True
            else:
                self.spent = before.spent_usd
            self.at_risk = max(Decimal(0), (before.exposure_usd or Decimal(0)) - self.spent)

    def answered(self, content: str) -> tuple[str, dict[str, Any] | None]:
        """Give an answer with what was replaced put back, and the schema that it is to follow."""
        if self.mask is None:
            return content, self.task.intent.response_schema
        return self.mask.reveal(content), self.mask.own.response_schema

    @property
    def summaries(self) -> list[AttemptSummary]:
        """The calls so far, earlier executions' first, as a dead letter lists them."""
        before = self.task.deferral.attempts if self.task.deferral else []
        return [*before, *(_summary(*one) for one in self._ended)][-MAX_SUMMARIES:]

    @property
    def limits(self) -> Limits:
        """What the intent itself allows."""
        intent = self.task.intent
        deadline = None
        if intent.deadline_ms is not None:
            deadline = int(self.task.source.timestamp.timestamp() * 1000) + intent.deadline_ms
        return Limits(deadline, intent.max_cost_usd)

    @property
    def outage_ms(self) -> int | None:
        """When an outage was last seen for which the intent was put aside; None = for none."""
        return self.task.deferral.outage_ms if self.task.deferral else None

    @property
    def not_before_ms(self) -> int:
        """When the intent may start, in milliseconds since 1970; 0 = at once."""
        moment = self.task.intent.not_before
        return 0 if moment is None else milliseconds(moment)

    @property
    def since(self) -> datetime:
        """From when on it could have been worked on: its time is no wait of ours."""
        asked, moment = self.task.source.timestamp, self.task.intent.not_before
        return asked if moment is None else max(asked, moment)

    @property
    def queue_ms(self) -> int:
        """Milliseconds from the record's timestamp, or its own time, to this execution."""
        return max(0, round((self.began - self.since).total_seconds() * 1000))

    @property
    def exposure(self) -> Decimal:
        """What was spent, and what may have been, in dollars."""
        return self.spent + self.at_risk

    @property
    def at_stake(self) -> Decimal:
        """What this execution's calls cost, and may have cost, in dollars."""
        return self.paid.usd + self.paid.uncertain_usd

    def left_s(self, now_ms: int) -> float | None:
        """Seconds until the intent's deadline; None when it has none."""
        deadline = self.limits.deadline_at_ms
        return None if deadline is None else max(0.001, (deadline - now_ms) / 1000)

    def situation(
        self,
        providers: tuple[str, ...],
        now_ms: int,
        *,
        waits_s: tuple[float, ...],
        out: tuple[bool, ...],
        answered_ms: int | None,
    ) -> Situation:
        """Describe the state for the policy."""
        return Situation(
            providers=providers,
            position=self.position,
            calls_here=self.calls_here - self.key_changes,
            now_ms=now_ms,
            limits=self.limits,
            spent_usd=self.exposure,
            waits_s=waits_s,
            out=out,
            past=Past(
                self.task.deferral.count if self.task.deferral else 0, self.outage_ms, answered_ms
            ),
            waited_s=self._waited_here_s,
            repairs_here=self.repairs,
            earlier=tuple(self._earlier),
        )

    def begin_call(self, *, hedge: bool = False) -> None:
        """Count a call; a hedge does not count against the current provider's tries."""
        self.calls += 1
        self.calls_here += not hedge

    def risk(self, bound: Decimal | None) -> None:
        """Book what a call may have cost of which no answer was read."""
        self.at_risk += bound or 0
        self._pay(uncertain_usd=bound or Decimal(0))

    def reserve(self, bound: Decimal | None) -> None:
        """Book what a line of a batch may cost while it waits there."""
        self._pay(uncertain_usd=bound or Decimal(0))

    def settle(self, bound: Decimal | None) -> None:
        """Take that back: it is known by now what it cost."""
        self._pay(uncertain_usd=-(bound or Decimal(0)))

    def take_over(self, bound: Decimal | None, orphans: int) -> None:
        """Book the calls of executions that had no end, each of which cost at most so much."""
        if bound is None:
            self._pay(unpriced=orphans)
        else:
            self.risk(orphans * bound)

    def end_call(self, attempt: ProviderAttempt, failure: Failure | None) -> None:
        """Book a finished call: its time, its cost, and its line in a dead letter."""
        self.provider_ms += attempt.call_ms
        if failure is not None and failure.another_key_s is not None:
            self.key_changes += not attempt.hedge
        if attempt.cost_usd is None:
            self.unpriced = True
            self._pay(unpriced=1)
        else:
            self.spent += attempt.cost_usd
            self._pay(usd=attempt.cost_usd)
        if not attempt.cost_usd:
            self.risk(attempt.cost_upper_usd)
        self._waited_here_s = 0.0
        self._ended.append((attempt, failure))
        del self._ended[:-MAX_SUMMARIES]

    def _pay(
        self,
        *,
        usd: Decimal = NO_USD,
        uncertain_usd: Decimal = NO_USD,
        unpriced: int = 0,
    ) -> None:
        paid = self.paid
        self.paid = Paid(
            paid.usd + usd, paid.uncertain_usd + uncertain_usd, paid.unpriced + unpriced
        )

    def add_backoff_ms(self, waited: int) -> None:
        """Book a wait between calls; it is shown on the attempt that follows."""
        self.backoff_ms += waited
        self._pending_backoff_ms += waited

    def add_limiter_s(self, waited: float) -> None:
        """Book a wait for a provider's turn; it is shown on the attempt that follows."""
        self.limiter_ms += round(waited * 1000)
        self._pending_limiter_ms += round(waited * 1000)
        self._waited_here_s += waited

    def take_limiter_ms(self) -> int:
        """Give the wait for its turn of the attempt that is about to start."""
        waited, self._pending_limiter_ms = self._pending_limiter_ms, 0
        return waited

    def take_backoff_ms(self) -> int:
        """Give the wait before the attempt that is about to start."""
        waited, self._pending_backoff_ms = self._pending_backoff_ms, 0
        return waited

    def move_to(self, position: int, step: FallbackStep, kind: FailureKind | None) -> None:
        """Go on to another provider, after a failure or because this one cannot be called."""
        self.position = position
        self.calls_here = self.key_changes = 0
        self.repairs = 0
        self._waited_here_s = 0.0
        self.fallbacks.append(step)
        if kind is not None:
            self._earlier.append(kind)

    def stand_at(self, position: int, *, calls: int) -> None:
        """Go on where an earlier execution stood: at a provider, after so many calls there."""
        self.position, self.calls_here = position, calls

    def known_spend(self) -> Decimal | None:
        """Give the sum of all calls' costs; None when one of them has no known price."""
        return None if self.unpriced else self.spent

    def log_fields(self) -> dict[str, object]:
        """Identify the execution in a log line."""
        trace = self.task.intent.trace_context
        traceparent = (self.task.traceparent or "").split("-")
        from_header = traceparent if len(traceparent) == 4 else None  # noqa: PLR2004 - W3C format
        return {
            "intent_id": self.task.intent_id,
            "trace_id": (trace and trace.trace_id) or (from_header and from_header[1]) or None,
            "span_id": (trace and trace.span_id) or (from_header and from_header[2]) or None,
        }

    def timings(self, now: datetime) -> Timings:
        """Split the time since it could start; the parts add up to the total."""
        total = max(0, round((now - self.since).total_seconds() * 1000))
        return Timings(
            queued_ms=max(0, total - self.limiter_ms - self.backoff_ms - self.provider_ms),
            limiter_ms=self.limiter_ms,
            backoff_ms=self.backoff_ms,
            provider_ms=self.provider_ms,
            total_ms=total,
        )


def _summary(attempt: ProviderAttempt, failure: Failure | None) -> AttemptSummary:
    return AttemptSummary(
        attempt_id=attempt.attempt_id,
        provider=attempt.provider,
        attempt=attempt.attempt,
        error_class=failure.error_class if failure else None,
        http_status=attempt.http_status,
        duration_ms=attempt.call_ms,
        cost_usd=attempt.cost_usd,
    )

"""What the executor takes in and gives back; frozen values."""

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property

from schemas.attempt import ProviderAttempt
from schemas.base import Headers
from schemas.batches import BatchAnswer, BatchLine
from schemas.events import CachedAnswer, DeferralState, KeptCall
from schemas.intent import TraceContext, WorkflowIntent, context_of
from schemas.outcome import AttemptSummary, FallbackStep, RecordSource, WorkflowResult
from schemas.tracing import traceparent_of, tracestate_of
from schemas.vocabulary import DeadLetterReason, ErrorClass

__all__ = ["NOTHING", "Completed", "Deferred", "Failed", "Outcome", "Paid", "Task"]


def nobody() -> None:
    """Say that nobody wants an execution to end."""


@dataclass(frozen=True)
class Task:
    """One consumption of one intent; its trace is read once, and asked for at each step."""

    intent: WorkflowIntent
    intent_id: str
    execution_id: str
    source: RecordSource
    headers: Headers = ()
    replay_count: int = 0
    deferral: DeferralState | None = None
    #: Executions before this one that had no end: workers died with them, maybe during a call.
    orphans: int = 0
    #: Calls of those executions whose answers their providers keep.
    kept: tuple[KeptCall, ...] = ()
    #: What came of its line in a batch; None = it was in none, or it is over.
    batch: BatchAnswer | None = None
    #: Says why an operator wants it to end, from the moment on when one does; None = nobody does.
    why_called_off: Callable[[], str | None] = nobody

    @cached_property
    def traceparent(self) -> str | None:
        """The caller's W3C header; None where it is not valid."""
        return traceparent_of(self.headers)

    @cached_property
    def trace_context(self) -> TraceContext | None:
        """The trace as messages say it: what the intent states, where it does."""
        return self.intent.trace_context or context_of(self.traceparent)

    @property
    def tracestate(self) -> str | None:
        """What goes with the traceparent; None without a valid one."""
        return tracestate_of(self.headers)

    @cached_property
    def trace_headers(self) -> dict[str, str]:
        """Both of them, as they go out with a call."""
        if self.traceparent is None:
            return {}
        state = self.tracestate
        return {"traceparent": self.traceparent, **({"tracestate": state} if state else {})}


@dataclass(frozen=True, slots=True)
class Paid:
    """What calls cost: known, what may be charged beside it (bounds), and calls without a price."""

    usd: Decimal = Decimal(0)
    uncertain_usd: Decimal = Decimal(0)
    unpriced: int = 0


NOTHING = Paid()


@dataclass(frozen=True, slots=True)
class Completed:
    """The intent has its result."""

    result: WorkflowResult
    last_attempt: ProviderAttempt | None
    fallbacks: tuple[FallbackStep, ...] = ()
    #: The answer for the cache, under the name of its request.
    cached: tuple[str, CachedAnswer] | None = None
    #: What the calls of this execution cost.
    paid: Paid = NOTHING


@dataclass(frozen=True, slots=True)
class Failed:
    """The intent ends with a dead letter."""

    reason: DeadLetterReason
    error_class: ErrorClass
    code: str
    message: str
    retriable: bool
    suggested_action: str
    last_attempt: ProviderAttempt | None = None
    attempts: tuple[AttemptSummary, ...] = ()
    fallbacks: tuple[FallbackStep, ...] = ()
    spent_usd: Decimal | None = field(default=Decimal(0))
    paid: Paid = NOTHING
    #: The model's own words where it refused.
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class Deferred:
    """The intent waits on a delayed-retry topic."""

    topic_index: int
    state: DeferralState
    last_attempt: ProviderAttempt | None = None
    paid: Paid = NOTHING
    #: The line that it is to be in a batch; then it waits there, and not for a time.
    line: BatchLine | None = None


Outcome = Completed | Failed | Deferred

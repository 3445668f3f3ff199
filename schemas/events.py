"""All other messages: events, state, ledger entries, deferrals, deliveries, alerts."""

from typing import Any

from pydantic import Field

from schemas.attempt import ProviderAttempt
from schemas.base import Message, Timestamp, Usd
from schemas.intent import TraceContext
from schemas.outcome import AttemptSummary, FallbackStep, RecordSource
from schemas.vocabulary import EventName, WorkflowStatus

__all__ = [
    "Alert",
    "CachedAnswer",
    "DeferralState",
    "Delivery",
    "HybridWorkflowState",
    "KeptCall",
    "LedgerRecord",
    "ReplayRecord",
    "StartRecord",
    "WorkflowEvent",
]


class WorkflowEvent(Message):
    """Something that happened to an intent, for audit and dashboards."""

    event_id: str
    name: EventName
    intent_id: str
    tenant: str = "default"
    type: str | None = None
    worker: str = ""
    details: dict[str, Any] = Field(default_factory=dict)
    trace_context: TraceContext | None = None
    occurred_at: Timestamp


class HybridWorkflowState(Message):
    """The newest state of one workflow; compacted by `intent_id`."""

    intent_id: str
    status: WorkflowStatus
    tenant: str = "default"
    type: str | None = None
    outcome_id: str | None = None
    provider: str | None = None
    deferred_until: Timestamp | None = None
    replay_count: int = 0
    updated_at: Timestamp


class LedgerRecord(Message):
    """What has been decided about one deduplication id (internal)."""

    outcome_id: str
    status: WorkflowStatus
    replay_count: int = 0
    deferrals: int = 0
    topic: str
    offset: int
    decided_at_ms: int


class KeptCall(Message):
    """A call whose answer its provider keeps (internal)."""

    attempt: ProviderAttempt = Field(
        description="provider_request_id is the answer's; empty = nothing was heard of its making"
    )
    key: str = Field(default="", description="what the log calls the key it is seen by")


class StartRecord(Message):
    """How often an intent was started without an end (internal); a tombstone when it ended."""

    count: int
    kept: list[KeptCall] = Field(default_factory=list, description="calls that have no end yet")


class ReplayRecord(Message):
    """That the replay of a dead letter has been decided (internal)."""

    dead_letter_id: str
    tenant: str = ""
    #: What was replayed: the intent's name in the ledger, or the id of what cannot be read.
    subject: str = ""
    decided_at_ms: int
    #: How it ended; None = the record is of before that was written.
    status: WorkflowStatus | None = None
    #: What the replay has cost, all its calls together; None = not known.
    cost_usd: Usd | None = None
    #: The plan whose run sent it; empty = none did, or the record is of before that was written.
    plan_id: str = ""


class CachedAnswer(Message):
    """An answer that was paid for, kept for the same request (internal)."""

    provider: str
    served_model: str
    content: str
    finish_reason: str = ""
    refusal: str | None = None
    annotations: list[dict[str, Any]] | None = None
    logprobs: list[dict[str, Any]] | None = None
    reasoning_summary: str | None = None
    embeddings: list[str] | None = Field(default=None, description="base64 of float32")
    stored_at_ms: int


class DeferralState(Message):
    """What a deferred intent carries with it, in the header `hybrid-deferral`."""

    due_at_ms: int
    not_before_ms: int = 0
    count: int = Field(description="how often providers made the intent wait")
    hop: int = Field(description="how often it was written to a deferred topic")
    reason: str
    outage_ms: int | None = Field(
        default=None, description="when the outage that it waits for was last seen; null = none"
    )
    intent_id: str
    key: str = Field(default="", description="its name in the ledger; empty = of an older version")
    source: RecordSource
    limiter_ms: int = 0
    backoff_ms: int = 0
    provider_ms: int = 0
    attempts: list[AttemptSummary] = Field(default_factory=list)
    fallback_history: list[FallbackStep] = Field(default_factory=list)
    spent_usd: Usd | None = None
    exposure_usd: Usd | None = Field(
        default=None, description="known costs, and what calls without one may have cost"
    )

    @property
    def until_ms(self) -> int:
        """When it is worked on again; what waits for longer than a topic holds hops until then."""
        return max(self.due_at_ms, self.not_before_ms)


class Delivery(Message):
    """Content due to be sent to a recipient."""

    delivery_id: str
    intent_id: str
    user_id: str
    recipient_id: str | None = None
    platforms: list[str] = Field(default_factory=list)
    content: str
    due_at: Timestamp


class Alert(Message):
    """Something an operator should look at; once for each cause and window."""

    alert_id: str = Field(description="name, subject and hour: several that see it agree on it")
    name: str
    subject: str = Field(default="", description="what it is about; name and subject are the cause")
    tenant: str = "default"
    severity: str = "warning"
    message: str
    resolved: bool = False
    raised_at: Timestamp

"""ProviderAttempt: one provider call, on record at its start and at its end."""

from pydantic import Field

from schemas.base import Message, Timestamp, Usd
from schemas.intent import TraceContext
from schemas.vocabulary import AttemptOutcome, AttemptStatus, UsageSource

__all__ = ["ProviderAttempt"]


class ProviderAttempt(Message):
    """One provider call; `attempt_id` is its only identity, token classes are disjoint."""

    attempt_id: str = Field(description="UUIDv7, minted before the call")
    execution_id: str = Field(description="one consumption of one intent")
    intent_id: str
    status: AttemptStatus
    tenant: str = "default"
    type: str = ""
    user_id: str = ""
    priority: str = ""
    provider: str
    deployment: str = ""
    requested_model: str = ""
    served_model: str = ""
    attempt: int = Field(default=1, description="1-based, on this provider")
    provider_sequence: int = Field(default=0, description="0 = first choice, 1.. = fallback")
    hedge: bool = False
    replay_count: int = 0
    trace_context: TraceContext | None = None
    outcome: AttemptOutcome = AttemptOutcome.UNKNOWN
    http_status: int | None = None
    error_code: str = ""
    finish_reason: str = ""
    retry_after_ms: int | None = None
    uncached_input_tokens: int = 0
    cached_input_tokens: int = 0
    visible_output_tokens: int = 0
    reasoning_tokens: int = 0
    cache_write_tokens: int = Field(default=0, description="of the uncached input tokens")
    audio_input_tokens: int = Field(default=0, description="of the uncached input tokens")
    audio_output_tokens: int = Field(default=0, description="of the visible output tokens")
    usage_source: UsageSource = UsageSource.NONE
    cost_usd: Usd | None = None
    input_cost_usd: Usd | None = Field(default=None, description="of cost_usd, the prompt's part")
    cost_upper_usd: Usd | None = None
    price_id: str = ""
    used_result: bool = False
    queue_ms: int = 0
    limiter_ms: int = 0
    backoff_ms: int = 0
    call_ms: int = 0
    provider_request_id: str = ""
    worker: str = ""
    started_at: Timestamp
    deadline_at: Timestamp | None = Field(
        default=None, description="when a call of which nothing was heard counts as orphaned"
    )
    finished_at: Timestamp | None = None

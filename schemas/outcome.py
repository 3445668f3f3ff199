"""How an intent ends: WorkflowResult or DeadLetter, never both."""

from typing import Any, Literal

from pydantic import AliasChoices, Field, SerializerFunctionWrapHandler, model_serializer

from schemas.base import Message, Timestamp, Usd
from schemas.intent import TraceContext
from schemas.vocabulary import DeadLetterReason, ErrorClass

__all__ = [
    "AttemptSummary",
    "AzureExecutionResult",
    "CostInfo",
    "DeadLetter",
    "FallbackStep",
    "OpenAIExecutionResult",
    "OriginalRecord",
    "RecordSource",
    "ResultMetadata",
    "Timings",
    "WorkflowResult",
]


class CostInfo(Message):
    """Tokens, money and time of the successful attempt."""

    tokens: int = 0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: Usd | None = None
    estimated: bool = False
    duration_ms: int = 0


class ResultMetadata(Message):
    """How the result came about."""

    attempt: int = Field(ge=0, description="1-based, on the provider that served")
    total_retries: int = Field(ge=0)
    success: Literal[True] = True
    cached: bool = False
    fallback: bool = False


class FallbackStep(Message):
    """One move from a provider to the next."""

    from_: str = Field(validation_alias=AliasChoices("from", "from_"))
    to: str
    reason: str
    timestamp: Timestamp

    @model_serializer(mode="wrap")
    def _public_names(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Write `from`, a keyword in Python, under its public name."""
        fields = handler(self)
        return {("from" if name == "from_" else name): value for name, value in fields.items()}


class Timings(Message):
    """Where the time went, in milliseconds; the parts do not overlap."""

    queued_ms: int = 0
    limiter_ms: int = 0
    backoff_ms: int = 0
    provider_ms: int = 0
    total_ms: int = 0


class WorkflowResult(Message):
    """The one result of an intent that succeeded."""

    result_id: str
    intent_id: str
    deduplication_id: str | None = None
    type: str
    tenant: str = "default"
    user_id: str
    provider: str
    model: str
    content: str
    structured: Any = None
    tool_calls: list[dict[str, Any]] | None = Field(
        default=None, description="what the model wants done, in OpenAI's form"
    )
    refusal: str | None = Field(default=None, description="the model's words where it refused")
    annotations: list[dict[str, Any]] | None = Field(
        default=None, description="citations and the like, as the provider gave them"
    )
    dropped_parameters: list[str] | None = Field(
        default=None, description="what the intent asked for and the model does not take"
    )
    logprobs: list[dict[str, Any]] | None = Field(
        default=None, description="of the content's tokens, where the intent asked for them"
    )
    reasoning_summary: str | None = Field(
        default=None, description="what the model says of its reasoning, where it was asked to"
    )
    finish_reason: str | None = None
    cost_info: CostInfo
    total_cost_usd: Usd | None = None
    metadata: ResultMetadata
    fallback_history: list[FallbackStep] = Field(default_factory=list)
    timings: Timings
    trace_context: TraceContext | None = None
    request_metadata: dict[str, Any] | None = None
    completed_at: Timestamp


class OpenAIExecutionResult(WorkflowResult):
    """A result that provider `openai` served."""

    provider: Literal["openai"]


class AzureExecutionResult(WorkflowResult):
    """A result that provider `azure` served."""

    provider: Literal["azure"]


class AttemptSummary(Message):
    """One provider call in short, as a dead letter carries it."""

    attempt_id: str
    provider: str
    attempt: int
    error_class: ErrorClass | None = None
    http_status: int | None = None
    duration_ms: int = 0
    cost_usd: Usd | None = None


class RecordSource(Message):
    """Where the record was read."""

    topic: str
    partition: int
    offset: int
    timestamp: Timestamp


class OriginalRecord(Message):
    """The record as it came: exact bytes in base64, `null` where there were none."""

    key: str | None = None
    value: str | None = None
    headers: list[tuple[str, str]] = Field(
        default_factory=list, description="name and base64 of the bytes, in order"
    )


class DeadLetter(Message):
    """The one end of an intent that has no result."""

    dead_letter_id: str
    intent_id: str
    reason: DeadLetterReason
    error_class: ErrorClass
    error_code: str
    error_message: str
    retriable: bool
    suggested_action: str
    refusal: str | None = Field(default=None, description="the model's words where it refused")
    attempts: list[AttemptSummary] = Field(default_factory=list)
    fallback_history: list[FallbackStep] = Field(default_factory=list)
    spent_usd: Usd | None = None
    replay_count: int = 0
    source: RecordSource
    original: OriginalRecord
    tenant: str = "default"
    type: str | None = None
    trace_context: TraceContext | None = None
    failed_at: Timestamp

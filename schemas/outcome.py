"""How an intent ends: WorkflowResult or DeadLetter, never both."""

from typing import Any, Literal

from pydantic import AliasChoices, Field, SerializerFunctionWrapHandler, model_serializer

from schemas.base import Message, Timestamp, Usd
from schemas.embeddings import unpacked
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
    "SealedContent",
    "Timings",
    "WorkflowResult",
]


class CostInfo(Message):
    """Tokens, money and time of the successful attempt."""

    tokens: int = Field(default=0, description="of prompt and answer together")
    input_tokens: int = Field(default=0, description="of the prompt, cached ones included")
    cached_input_tokens: int = Field(
        default=0, description="of the prompt, those that the provider had cached"
    )
    output_tokens: int = Field(default=0, description="of the answer, reasoning included")
    reasoning_tokens: int = Field(
        default=0, description="of the answer, those that were only thought"
    )
    cost_usd: Usd | None = Field(default=None, description="null where the price is not known")
    estimated: bool = Field(
        default=False,
        description="whether the tokens were counted here, for want of the provider's count",
    )
    duration_ms: int = Field(default=0, description="of the call, waiting not included")


class ResultMetadata(Message):
    """How the result came about."""

    attempt: int = Field(ge=0, description="1-based, on the provider that served")
    total_retries: int = Field(ge=0, description="attempt - 1")
    success: Literal[True] = True
    cached: bool = Field(default=False, description="whether the answer had been paid for before")
    fallback: bool = Field(
        default=False, description="whether another provider than the first served"
    )


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
    """Where the time went, in milliseconds; the parts do not overlap.

    They begin with the record's timestamp, or with `not_before` where that is later.
    """

    queued_ms: int = Field(
        default=0, description="from the record's timestamp to the start of its execution"
    )
    limiter_ms: int = Field(default=0, description="waiting until the provider might be called")
    backoff_ms: int = Field(default=0, description="waiting before retries")
    provider_ms: int = Field(default=0, description="in calls")
    total_ms: int = Field(default=0, description="from the record's timestamp to the result")


class WorkflowResult(Message):
    """The one result of an intent that succeeded."""

    result_id: str = Field(description="of this record")
    intent_id: str = Field(
        description="whose result it is; the record's key, and its header `intent-id`"
    )
    deduplication_id: str | None = Field(default=None, description="the intent's")
    type: str = Field(description="the intent's")
    tenant: str = Field(default="default", description="the intent's")
    user_id: str = Field(description="the intent's")
    provider: str = Field(
        description="who served: it tells OpenAIExecutionResult from AzureExecutionResult"
    )
    model: str = Field(description="the model that served, as the reply names it")
    content: str = Field(description="the answer's text; empty for task embedding")
    embeddings: list[str] | list[list[float]] | None = Field(
        default=None,
        description="of task embedding: a vector for each input, in their order, as base64 of "
        "little-endian float32, or of numbers with `encoding_format` float",
    )
    structured: Any = Field(
        default=None, description="the answer as JSON, where there was a `response_schema`"
    )
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
    finish_reason: str | None = Field(
        default=None, description="as the provider gave it: `stop`, `length`, `tool_calls`, …"
    )
    cost_info: CostInfo = Field(description="of the call that was answered")
    total_cost_usd: Usd | None = Field(
        default=None, description="of all calls for the intent; null where one of them has no price"
    )
    metadata: ResultMetadata
    fallback_history: list[FallbackStep] = Field(
        default_factory=list, description="each move to another provider"
    )
    timings: Timings
    trace_context: TraceContext | None = Field(default=None, description="the intent's")
    request_metadata: dict[str, Any] | None = Field(
        default=None, description="the intent's `metadata`"
    )
    completed_at: Timestamp = Field(description="when it was answered")

    @property
    def vectors(self) -> list[list[float]]:
        """The embeddings as numbers, however they are written; raises ValueError for others'."""
        found = self.embeddings or []
        return [unpacked(one).tolist() if isinstance(one, str) else one for one in found]


class OpenAIExecutionResult(WorkflowResult):
    """A result that provider `openai` served."""

    provider: Literal["openai"]


class AzureExecutionResult(WorkflowResult):
    """A result that provider `azure` served."""

    provider: Literal["azure"]


class AttemptSummary(Message):
    """One provider call in short, as a dead letter carries it."""

    attempt_id: str = Field(description="of its record on `workflow.attempts`")
    provider: str
    attempt: int = Field(description="1-based, on this provider")
    error_class: ErrorClass | None = Field(default=None, description="null where it was answered")
    http_status: int | None = Field(default=None, description="null without an answer")
    duration_ms: int = 0
    cost_usd: Usd | None = Field(default=None, description="null where it is not known")


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


class SealedContent(Message):
    """A dead letter's content, encrypted: its original value, and the model's refusal."""

    data_key: str = Field(description="id of the person's key, on `workflow.keys`")
    key_id: str = Field(description="of the tenant's key that opens that one")
    tenant: str
    content: str = Field(description="nonce and content, encrypted: AES-256-GCM, base64")


class DeadLetter(Message):
    """The one end of an intent that has no result."""

    dead_letter_id: str = Field(description="of this record")
    intent_id: str = Field(
        description="whose end it is; derived from the record's place where it had none"
    )
    reason: DeadLetterReason = Field(description="why it ended, for programs to branch on")
    error_class: ErrorClass = Field(description="what went wrong with the last call")
    error_code: str = Field(description="stable, for programs")
    error_message: str = Field(description="for people; no content, no secrets")
    retriable: bool = Field(description="whether a replay can succeed")
    suggested_action: str = Field(description="what an operator should do")
    refusal: str | None = Field(default=None, description="the model's words where it refused")
    attempts: list[AttemptSummary] = Field(default_factory=list, description="every call, in order")
    fallback_history: list[FallbackStep] = Field(
        default_factory=list, description="each move to another provider"
    )
    spent_usd: Usd | None = Field(
        default=None, description="of all calls; null where one of them has no price"
    )
    replay_count: int = Field(default=0, description="how often the intent had been replayed")
    source: RecordSource = Field(description="where the record was read")
    original: OriginalRecord = Field(description="the record as it came, byte for byte")
    sealed: SealedContent | None = Field(
        default=None, description="with `HYBRID_CONTENT_KEYS`: the original's value, encrypted"
    )
    by_reference: bool = Field(
        default=False, description="whether the original's value stands at `source` only"
    )
    tenant: str = Field(default="default", description="the intent's")
    type: str | None = Field(default=None, description="null where it could not be read")
    trace_context: TraceContext | None = Field(default=None, description="the intent's")
    deduplication_id: str | None = Field(default=None, description="the intent's")
    failed_at: Timestamp = Field(description="when it ended")

    @property
    def is_without_content(self) -> bool:
        """Whether the intent stands elsewhere or is encrypted, and was not read from there."""
        return self.sealed is not None or (self.by_reference and self.original.value is None)

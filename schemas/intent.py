"""WorkflowIntent: what an upstream system asks for."""

from decimal import Decimal
from typing import Annotated, Any

from pydantic import AliasChoices, Field, StringConstraints, field_validator

from schemas.base import Message, Usd
from schemas.parameters import checked_parameters
from schemas.vocabulary import Priority

__all__ = ["ProviderName", "TraceContext", "WorkflowIntent"]

#: The name of a configured provider; who is configured is known where it is published and run.
ProviderName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]

#: 100 years: a moment that far away can still be written as a date.
MAX_DEADLINE_MS = 100 * 366 * 24 * 60 * 60 * 1000
#: More than any intent can cost, and few enough digits for every sum with it.
MAX_COST_USD = Decimal(10) ** 12
#: What providers read as an integer of 32 bits.
MAX_OUTPUT_TOKENS = 2**31 - 1

#: Identifiers travel in Kafka keys and headers, ClickHouse columns and logs.
Identifier = Annotated[str, StringConstraints(min_length=1, max_length=512)]


class TraceContext(Message):
    """The caller's trace: W3C ids as hexadecimal text."""

    trace_id: str | None = Field(default=None, max_length=128)
    span_id: str | None = Field(default=None, max_length=128)
    parent_span_id: str | None = Field(default=None, max_length=128)


class WorkflowIntent(Message):
    """One piece of work: `type` says which prompt, `data` is the task's input."""

    type: Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,63}$")]
    user_id: Identifier
    data: dict[str, Any] = Field(
        description="The task's input; with a `messages` list those are sent as they are."
    )
    intent_id: Identifier | None = None
    deduplication_id: Identifier | None = None
    tenant: Identifier = "default"
    platforms: list[str] = Field(default_factory=list)
    content_type: str | None = None
    send_to_onlyfans: bool = Field(
        default=False,
        validation_alias=AliasChoices("send_to_onlyfans", "sendToOnlyfans", "sendToOnlyFans"),
    )
    recipient_id: str | None = None
    requires_multi_platform: bool = False
    force_provider: ProviderName | None = None
    priority: Priority = Priority.MEDIUM
    model: Identifier | None = None
    max_output_tokens: int | None = Field(default=None, ge=1, le=MAX_OUTPUT_TOKENS)
    temperature: float | None = Field(default=None, ge=0, le=2)
    response_schema: dict[str, Any] | None = None
    parameters: dict[str, Any] = Field(
        default_factory=dict,
        description="What the provider's request takes beside the fields here: reasoning_effort, "
        "verbosity, top_p, stop, seed, tools, tool_choice, logprobs, metadata and the like.",
    )
    deadline_ms: int | None = Field(
        default=None,
        ge=1,
        le=MAX_DEADLINE_MS,
        description="Milliseconds after the record's timestamp.",
    )
    max_cost_usd: Usd | None = None
    cache: bool | dict[str, Any] | None = None
    trace_context: TraceContext | None = None
    metadata: dict[str, Any] | None = None

    @field_validator("parameters")
    @classmethod
    def _sendable(cls, value: dict[str, Any]) -> dict[str, Any]:
        return checked_parameters(value)

    @field_validator("max_cost_usd")
    @classmethod
    def _positive(cls, value: Decimal | None) -> Decimal | None:
        if value is not None and not (value.is_finite() and 0 < value <= MAX_COST_USD):
            message = f"must be a positive amount of US dollars, at most {MAX_COST_USD:,f}"
            raise ValueError(message)
        return value

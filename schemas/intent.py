"""WorkflowIntent: what an upstream system asks for."""

import re
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, StringConstraints, field_validator

from schemas.base import Message, Timestamp, Usd
from schemas.parameters import checked_parameters
from schemas.vocabulary import Priority

__all__ = ["ProviderName", "TraceContext", "WorkflowIntent", "context_of"]

#: The name of a configured provider; who is configured is known where it is published and run.
ProviderName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]

#: 100 years: a moment that far away can still be written as a date.
MAX_DEADLINE_MS = 100 * 366 * 24 * 60 * 60 * 1000
#: More than any intent can cost, and few enough digits for every sum with it.
MAX_COST_USD = Decimal(10) ** 12
#: RFC 3339: a date, a time with seconds, and a zone.
MOMENT = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:[Zz]|[+-]\d{2}:\d{2})", re.ASCII
)
#: What every zone of the world can write.
YEARS = range(1970, 9999)
#: What providers read as an integer of 32 bits.
MAX_OUTPUT_TOKENS = 2**31 - 1
#: Traces whose ids are remembered: those of what is in flight are asked for some times in a row.
LAST_TRACES = 1024

#: Identifiers travel in Kafka keys and headers, ClickHouse columns and logs.
Identifier = Annotated[str, StringConstraints(min_length=1, max_length=512)]


class TraceContext(Message):
    """The caller's trace: W3C ids as hexadecimal text."""

    trace_id: str | None = Field(default=None, max_length=128)
    span_id: str | None = Field(default=None, max_length=128)
    parent_span_id: str | None = Field(default=None, max_length=128)


@lru_cache(LAST_TRACES)
def context_of(traceparent: str | None) -> TraceContext | None:
    """Give the ids of a valid `traceparent`; None where there is none."""
    if traceparent is None:
        return None
    _, trace, span, _ = traceparent.split("-")
    return TraceContext(trace_id=trace, span_id=span)


class WorkflowIntent(Message):
    """One piece of work: `type` says which prompt, `data` is the task's input."""

    type: Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,63}$")] = Field(
        description="What is to be done: it chooses the prompt and the route."
    )
    user_id: Identifier = Field(description="For which of the sender's users.")
    data: dict[str, Any] = Field(
        description="The task's input; with a `messages` list those are sent as they are."
    )
    intent_id: Identifier | None = Field(
        default=None,
        description="The sender's name of this work; without it, one that follows from the "
        "record's place.",
    )
    deduplication_id: Identifier | None = Field(
        default=None, description="Two intents of a tenant with the same one are the same work."
    )
    tenant: Identifier = Field(
        default="default", description="For whom the work is done, and who is charged."
    )
    platforms: list[str] = Field(
        default_factory=list, description="Told to the model, and to deliveries."
    )
    content_type: str | None = Field(default=None, description="Told to the model.")
    send_to_onlyfans: bool = Field(
        default=False,
        validation_alias=AliasChoices(
            "send_to_onlyfans", "sendToOnlyfans", "sendToOnlyFans", "deliver"
        ),
        description="Paced delivery: the content also goes to `workflow.deliveries`, one message "
        "for a user at a time. The name is the original's; `deliver` is read as the same.",
    )
    recipient_id: str | None = Field(
        default=None,
        description="Whom the delivery is for, beside `user_id`, by which it is paced.",
    )
    requires_multi_platform: bool = Field(
        default=False,
        description="Of `campaign_execution`: azure is asked first, without routes of your own.",
    )
    force_provider: ProviderName | None = Field(
        default=None, description="This provider and no other: no fallback."
    )
    task: Literal["chat", "embedding"] = Field(
        default="chat",
        description="`embedding`: the texts in `input` of the data become vectors, `embeddings` of "
        "the result; `chat`: a model answers.",
    )
    processing: Literal["auto", "realtime", "batch"] = Field(
        default="auto",
        description="`batch`: it may wait in a provider's batch, at that price, until a day, or "
        "its deadline, is over; `realtime`: never. `auto`: so does one of priority low, or whose "
        "deadline is more than a day away.",
    )
    priority: Priority = Field(
        default=Priority.MEDIUM,
        description="`low` may be served in a cheap tier; `high`, `critical` have a topic apart.",
    )
    model: Identifier | None = Field(
        default=None,
        description="A model, or a group of `[[models]]`, in place of the provider's own.",
    )
    max_output_tokens: int | None = Field(
        default=None, ge=1, le=MAX_OUTPUT_TOKENS, description="The longest answer, in tokens."
    )
    temperature: float | None = Field(
        default=None,
        ge=0,
        le=2,
        description="As the provider takes it; left out where the model does not.",
    )
    response_schema: dict[str, Any] | None = Field(
        default=None,
        description="JSON Schema that the answer must follow; it is then in `structured`.",
    )
    parameters: dict[str, Any] = Field(
        default_factory=dict,
        description="What the provider's request takes beside the fields here: reasoning_effort, "
        "verbosity, top_p, stop, seed, tools, tool_choice, logprobs, metadata and the like; of an "
        "embedding: dimensions, encoding_format.",
    )
    not_before: Timestamp | None = Field(
        default=None,
        description="It is not started before this moment (RFC 3339, with its zone); at most 366 "
        "days after the record's timestamp, and before the deadline.",
    )
    deadline_ms: int | None = Field(
        default=None,
        ge=1,
        le=MAX_DEADLINE_MS,
        description="Milliseconds after the record's timestamp, whatever `not_before` says.",
    )
    max_cost_usd: Usd | None = Field(
        default=None,
        description="All calls together never cost more; else the intent ends (`budget`).",
    )
    cache: bool | dict[str, Any] | None = Field(
        default=None,
        description='true, or `{"ttl_seconds": …}`: an answer that was paid for before will do.',
    )
    trace_context: TraceContext | None = Field(
        default=None,
        description="The sender's trace, passed on; the header `traceparent` is the standard way.",
    )
    metadata: dict[str, Any] | None = Field(
        default=None, description="Comes back in the result as `request_metadata`."
    )

    @field_validator("parameters")
    @classmethod
    def _sendable(cls, value: dict[str, Any]) -> dict[str, Any]:
        return checked_parameters(value)

    @field_validator("not_before", mode="before")
    @classmethod
    def _a_moment(cls, value: object) -> object:
        """Take a moment that says its zone; Python's own is a datetime already."""
        found = value
        if isinstance(value, str) and MOMENT.fullmatch(value):
            try:
                found = datetime.fromisoformat(value.upper())
            except ValueError:  # no day of the calendar, no hour of the day
                found = None
        if found is None and value is None:
            return None
        if isinstance(found, datetime) and found.tzinfo is not None and found.year in YEARS:
            return found
        message = "must be a moment with its zone as RFC 3339 writes it: 2026-01-31T09:00:00Z"
        raise ValueError(message)

    @field_validator("max_cost_usd")
    @classmethod
    def _positive(cls, value: Decimal | None) -> Decimal | None:
        if value is not None and not (value.is_finite() and 0 < value <= MAX_COST_USD):
            message = f"must be a positive amount of US dollars, at most {MAX_COST_USD:,f}"
            raise ValueError(message)
        return value

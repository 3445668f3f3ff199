"""Outcomes as the client gives them: typed, each with the place that it was read at; pure."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime

from aiokafka import ConsumerRecord
from pydantic import ValidationError

from schemas.outcome import (
    AzureExecutionResult,
    DeadLetter,
    OpenAIExecutionResult,
    WorkflowResult,
)
from schemas.topics import Topics
from schemas.tracing import traceparent_of
from schemas.vocabulary import DeadLetterReason, ErrorClass
from streams.messages.moments import LATEST_MS

__all__ = ["OutcomeRecord", "outcome_of"]

VAGUE = {"reason": DeadLetterReason.INTERNAL, "error_class": ErrorClass.UNKNOWN}
TYPED = {"openai": OpenAIExecutionResult, "azure": AzureExecutionResult}


@dataclass(frozen=True, slots=True)
class OutcomeRecord:
    """One outcome, and where it stands: topic, partition and offset name it for ever."""

    outcome: WorkflowResult | DeadLetter
    topic: str
    partition: int
    offset: int
    timestamp: datetime
    trace_id: str | None = None

    @property
    def intent_id(self) -> str:
        """Whose outcome it is."""
        return self.outcome.intent_id

    @property
    def result(self) -> WorkflowResult | None:
        """The result, None where it is a dead letter."""
        return self.outcome if isinstance(self.outcome, WorkflowResult) else None

    @property
    def dead_letter(self) -> DeadLetter | None:
        """The dead letter, None where it is a result."""
        return self.outcome if isinstance(self.outcome, DeadLetter) else None


def _typed(result: WorkflowResult) -> WorkflowResult:
    kind = TYPED.get(result.provider)
    return result if kind is None else kind.model_construct(result.model_fields_set, **dict(result))


def _letter(value: bytes) -> DeadLetter:
    """Read a dead letter; words that only a newer worker knows become the vaguest that we know.

    Raises ValidationError.
    """
    try:
        return DeadLetter.model_validate_json(value)
    except ValidationError as error:
        unknown = {str(one["loc"][0]): one["type"] for one in error.errors() if one["loc"]}
        vague = {name: word for name, word in VAGUE.items() if unknown.get(name) == "enum"}
        if not vague:
            raise
        return DeadLetter.model_validate({**json.loads(value), **vague})


def outcome_of(topics: Topics, record: ConsumerRecord) -> OutcomeRecord | None:
    """Read a record of an outcome topic; None for what somebody else has written there."""
    value = record.value or b""
    outcome: WorkflowResult | DeadLetter
    try:
        if record.topic == topics.results:
            outcome = _typed(WorkflowResult.model_validate_json(value))
        else:
            outcome = _letter(value)
    except ValidationError:
        return None
    trace = traceparent_of((name, raw or b"") for name, raw in record.headers)
    moment = min(max(record.timestamp, 0), LATEST_MS) / 1000
    return OutcomeRecord(
        outcome=outcome,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp=datetime.fromtimestamp(moment, UTC),
        trace_id=trace.split("-")[1] if trace else None,
    )

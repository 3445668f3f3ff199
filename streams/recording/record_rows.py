"""The row of a recorded topic's record."""

from collections.abc import Callable

from aiokafka import ConsumerRecord

from schemas.attempt import ProviderAttempt
from schemas.events import WorkflowEvent
from schemas.outcome import DeadLetter, WorkflowResult
from schemas.rows import Row, attempt_row, dead_letter_row, event_row, result_row
from schemas.settings import Settings

__all__ = ["row_of"]


def row_of(settings: Settings, record: ConsumerRecord) -> Row:
    """Give the row of a record; raises anything for one that is none of ours."""
    topics = settings.topics
    builders: dict[str, Callable[[bytes], Row]] = {
        topics.attempts: lambda raw: attempt_row(ProviderAttempt.model_validate_json(raw)),
        topics.results: lambda raw: result_row(WorkflowResult.model_validate_json(raw)),
        topics.dead_letters: lambda raw: dead_letter_row(DeadLetter.model_validate_json(raw)),
        topics.events: lambda raw: event_row(WorkflowEvent.model_validate_json(raw)),
    }
    return builders[record.topic](record.value or b"")

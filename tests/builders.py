"""Builders: what a test does not name has a sensible value."""

from datetime import UTC, datetime
from typing import Any

from agents.task import Task
from schemas.attempt import ProviderAttempt
from schemas.intent import WorkflowIntent
from schemas.outcome import (
    CostInfo,
    DeadLetter,
    RecordSource,
    ResultMetadata,
    Timings,
    WorkflowResult,
)
from streams.messages.records import Incoming

NOW = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)


def an_intent(**changes: Any) -> WorkflowIntent:
    return WorkflowIntent.model_validate(
        {"type": "message_generation", "user_id": "u-1", "data": {"topic": "autumn"}, **changes}
    )


def a_task(**changes: Any) -> Task:
    source = RecordSource(topic="workflow.intents", partition=3, offset=7, timestamp=NOW)
    values: dict[str, Any] = {
        "intent": an_intent(),
        "intent_id": "i-1",
        "execution_id": "01900000-0000-7000-8000-000000000000",
        "source": source,
    }
    return Task(**{**values, **changes})


def an_incoming(value: bytes | None = b"{}", **changes: Any) -> Incoming:
    values: dict[str, Any] = {
        "topic": "workflow.intents",
        "partition": 3,
        "offset": 7,
        "timestamp_ms": NOW_MS,
        "key": b"k",
        "value": value,
        "headers": (),
        "written_ms": NOW_MS,
    }
    return Incoming(**{**values, **changes})


def a_result(task: Task) -> WorkflowResult:
    return WorkflowResult(
        result_id=f"r-{task.execution_id}",
        intent_id=task.intent_id,
        type=task.intent.type,
        user_id="u",
        provider="openai",
        model="m",
        content="c",
        cost_info=CostInfo(),
        metadata=ResultMetadata(attempt=1, total_retries=0),
        timings=Timings(),
        completed_at=NOW,
    )


def an_attempt(task: Task) -> ProviderAttempt:
    return ProviderAttempt.model_validate(
        {
            "attempt_id": "a",
            "execution_id": task.execution_id,
            "intent_id": task.intent_id,
            "status": "finished",
            "provider": "openai",
            "started_at": NOW,
        }
    )


def a_letter(**changes: Any) -> DeadLetter:
    call = {"attempt_id": "a", "provider": "openai", "attempt": 1, "error_class": "timeout"}
    return DeadLetter.model_validate(
        {
            "dead_letter_id": "01900000-0000-7000-8000-000000000001",
            "intent_id": "i-1",
            "reason": "exhausted",
            "error_class": "timeout",
            "error_code": "timeout",
            "error_message": "no answer within 30 s",
            "retriable": True,
            "suggested_action": "replay when the provider answers in time again",
            "attempts": [call],
            "spent_usd": "0.001",
            "source": {
                "topic": "workflow.intents", "partition": 3, "offset": 7, "timestamp": NOW,
            },
            "original": {},
            "type": "message_generation",
            "failed_at": NOW,
            **changes,
        }
    )  # fmt: skip

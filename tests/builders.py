"""Builders: what a test does not name has a sensible value."""

from datetime import UTC, datetime
from typing import Any

from agents.work import Task
from schemas.intent import WorkflowIntent
from schemas.outcome import RecordSource
from streams.records import Incoming

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
    }
    return Incoming(**{**values, **changes})

"""JSON Schemas of every message and the AsyncAPI 3.1 document."""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from schemas.attempt import ProviderAttempt
from schemas.batches import BatchRecord
from schemas.budgets import SpendRecord
from schemas.events import (
    Alert,
    CachedAnswer,
    Delivery,
    HybridWorkflowState,
    LedgerRecord,
    ReplayRecord,
    WorkflowEvent,
)
from schemas.intent import WorkflowIntent
from schemas.operations import OperationRecord
from schemas.outcome import DeadLetter, WorkflowResult
from schemas.sealing import KeyRecord
from schemas.topics import Topics

__all__ = ["ENVELOPE", "MESSAGES", "asyncapi", "json_schema", "write_all"]

MESSAGES: dict[str, type[BaseModel]] = {
    model.__name__: model
    for model in (
        WorkflowIntent,
        WorkflowResult,
        DeadLetter,
        ProviderAttempt,
        WorkflowEvent,
        HybridWorkflowState,
        LedgerRecord,
        Delivery,
        Alert,
        CachedAnswer,
        SpendRecord,
        ReplayRecord,
        OperationRecord,
        BatchRecord,
        KeyRecord,
    )
}

#: An intent as the `data` of a CloudEvent.
ENVELOPE = "WorkflowIntentEvent"
_OUTCOME = {
    "intent-id": "whose outcome it is",
    "intent-type": "the intent's type, where it could be read",
    "tenant": "the intent's, where it could be read",
    "ce_specversion": "1.0; this and the other ce_ headers where the intent came as a CloudEvent",
    "ce_id": "the outcome's own id",
    "ce_source": "`/hybrid/` and the prefix of the topics",
    "ce_type": "`hybrid.workflow.result` or `hybrid.workflow.dead-letter`",
    "ce_subject": "the intent's id",
    "ce_time": "when it ended",
    "ce_causationid": "`id` of the CloudEvent that the intent was",
    "ce_causationsource": "`source` of it",
}
#: Message → headers of its records → what they say.
HEADERS: dict[str, dict[str, str]] = {
    "all": {
        "traceparent": "the trace, as W3C Trace Context has it",
        "tracestate": "what goes with it",
    },
    "WorkflowIntent": {
        "content-type": "`application/cloudevents+json`: the value is the envelope of a CloudEvent",
        "ce_specversion": "1.0; with ce_id, ce_source and ce_type the record is a CloudEvent",
        "ce_id": "the `intent_id` of an intent that has none",
        "ce_source": "with ce_id its `deduplication_id`, where it has neither",
        "ce_type": "its last part is the `type` of an intent that has none",
        "ce_subject": "the `user_id` of an intent that has none",
        "ce_traceparent": "the trace, where there is no `traceparent`",
    },
    "WorkflowResult": _OUTCOME,
    "DeadLetter": _OUTCOME
    | {
        f"__dlq.errors.{name}": about
        for name, about in {
            "topic": "where the record was read",
            "partition": "the same",
            "offset": "the same",
            "group": "the consumer group of the workers",
            "message": "for people",
            "delivery.count": "calls that were made",
            "timestamp": "of the record that was read, in milliseconds since 1970",
            "reason": "as `reason`",
            "class": "as `error_class`",
            "replay.count": "as `replay_count`",
        }.items()
    },
}

#: Messages that upstream systems write: their schema is what we read.
WRITTEN_BY_OTHERS = frozenset({"WorkflowIntent"})


def json_schema(name: str) -> dict[str, Any]:
    """Give a message's JSON Schema (draft 2020-12), with its names as they are written."""
    mode = "validation" if name in WRITTEN_BY_OTHERS else "serialization"
    schema = MESSAGES[name].model_json_schema(by_alias=False, mode=mode)  # type: ignore[arg-type]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def asyncapi(topics: Topics) -> dict[str, Any]:
    """Give the AsyncAPI 3.1 document of all topics."""
    channels, operations = {}, {}
    for spec in topics.specs():
        key = spec.name.replace(".", "_").replace("-", "_")
        held = (spec.holds, ENVELOPE) if spec.holds == "WorkflowIntent" else (spec.holds,)
        channels[key] = {
            "address": spec.name,
            "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in held},
        }
        action = "receive" if spec.name in topics.sources[:2] else "send"
        operations[f"{action}_{key}"] = {
            "action": action,
            "channel": {"$ref": f"#/channels/{key}"},
        }
    return {
        "asyncapi": "3.1.0",
        "info": {
            "title": "Hybrid Orchestrator",
            "version": "1.0.0",
            "description": "Durable, cost-accounted execution of language-model work over Kafka. "
            "Consumers read with isolation.level=read_committed.",
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": {
                name: {
                    "name": name,
                    "contentType": "application/json",
                    "headers": _headers(name),
                    "payload": {"$ref": f"./{name}.schema.json"},
                }
                for name in MESSAGES
            }
            | {ENVELOPE: _envelope()}
        },
    }


def _headers(name: str) -> dict[str, Any]:
    """Give the headers of a message's records; others may be beside them."""
    said = {
        name: about
        for about_group in (HEADERS["all"], HEADERS.get(name, {}))
        for name, about in about_group.items()
    }
    fields = {one: {"type": "string", "description": about} for one, about in said.items()}
    return {"type": "object", "properties": fields}


def _envelope() -> dict[str, Any]:
    """Describe the structured form of an intent."""
    text = {"type": "string", "minLength": 1}
    return {
        "name": ENVELOPE,
        "title": "A CloudEvent that holds a WorkflowIntent",
        "contentType": "application/cloudevents+json",
        "headers": _headers("WorkflowIntent"),
        "payload": {
            "type": "object",
            "required": ["specversion", "id", "source", "type"],
            "properties": {
                "specversion": {"type": "string", "pattern": r"^1\.\d+$"},
                **dict.fromkeys(("id", "source", "type", "subject"), text),
                "data": {
                    "type": "object",
                    "description": "a WorkflowIntent; what it does not say the envelope does",
                },
                "data_base64": {"type": "string", "description": "the same as base64 of JSON"},
            },
        },
    }


def write_all(folder: Path, topics: Topics) -> list[Path]:
    """Write every file into a folder; gives their paths; raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    documents = {f"{name}.schema.json": json_schema(name) for name in MESSAGES}
    documents["asyncapi.json"] = asyncapi(topics)
    written = []
    for name, document in documents.items():
        path = folder / name
        path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        written.append(path)
    return written

"""JSON Schemas of every message and the AsyncAPI 3 document."""

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

__all__ = ["MESSAGES", "asyncapi", "json_schema", "write_all"]

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

#: Messages that upstream systems write: their schema is what we read.
WRITTEN_BY_OTHERS = frozenset({"WorkflowIntent"})


def json_schema(name: str) -> dict[str, Any]:
    """Give a message's JSON Schema (draft 2020-12), with its names as they are written."""
    mode = "validation" if name in WRITTEN_BY_OTHERS else "serialization"
    schema = MESSAGES[name].model_json_schema(by_alias=False, mode=mode)  # type: ignore[arg-type]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def asyncapi(topics: Topics) -> dict[str, Any]:
    """Give the AsyncAPI 3.0 document of all topics."""
    channels, operations = {}, {}
    for spec in topics.specs():
        key = spec.name.replace(".", "_").replace("-", "_")
        channels[key] = {
            "address": spec.name,
            "messages": {spec.holds: {"$ref": f"#/components/messages/{spec.holds}"}},
        }
        action = "receive" if spec.name in topics.sources[:2] else "send"
        operations[f"{action}_{key}"] = {
            "action": action,
            "channel": {"$ref": f"#/channels/{key}"},
        }
    return {
        "asyncapi": "3.0.0",
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
                    "payload": {"$ref": f"./{name}.schema.json"},
                }
                for name in MESSAGES
            }
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

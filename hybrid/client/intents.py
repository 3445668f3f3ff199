"""From what a caller gives to the record that is published; pure but for the id."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from agents.clock import SystemClock, SystemDice, uuid7
from hybrid.client.errors import IntentRefusedError
from hybrid.errors import UsageError
from schemas.codec import IntentError, read_intent
from schemas.intent import WorkflowIntent
from schemas.settings import Settings
from schemas.tracing import traceparent_of
from streams.messages.addressing import addressed

__all__ = ["Headers", "Intent", "IntentRecord", "record_of"]

#: What a caller may give: the fields of an intent, in snake_case or camelCase, or the model.
Intent = Mapping[str, Any] | WorkflowIntent
Headers = Mapping[str, str | bytes]

#: Namespace of ids that follow from a deduplication id (a fixed random UUID).
SAME_WORK = uuid.UUID("b3a1d3b5-0f0c-5c1e-9d0c-7c2b8f3f6f57")
DICE = SystemDice()


@dataclass(frozen=True, slots=True)
class IntentRecord:
    """An intent as it is written to Kafka, by this client or by any other producer."""

    topic: str
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    intent_id: str
    tenant: str
    #: Whether the id was made here, so that nobody can have published it before.
    is_fresh: bool = False

    @property
    def trace_id(self) -> str | None:
        """The trace of the `traceparent` header, where there is a valid one."""
        found = traceparent_of(self.headers)
        return found.split("-")[1] if found else None


def record_of(
    settings: Settings, intent: Intent | IntentRecord, headers: Headers | None = None
) -> IntentRecord:
    """Check an intent and give its record; raises IntentRefusedError, UsageError.

    Without `intent_id` it gets one: the same for every repeat of a `deduplication_id`, else one of
    its own. A record is given back as it is.
    """
    if isinstance(intent, IntentRecord):
        if headers:
            message = "a record has its headers already: give them to client.record()"
            raise UsageError(message)
        return intent
    document = _document(intent)
    checked = _checked(settings, _json(document))
    is_fresh = checked.intent_id is None and checked.deduplication_id is None
    if checked.intent_id is None:
        checked = checked.model_copy(update={"intent_id": _id_for(checked)})
        document = {"intent_id": checked.intent_id, **_without_id(document)}
        _checked(settings, _json(document))  # with its id it must still be small enough
    value = _json(document)
    topic, key = addressed(settings.topics, checked)
    return IntentRecord(
        topic=topic,
        key=key or b"",
        value=value,
        headers=_headers(headers or {}),
        intent_id=checked.intent_id or "",
        tenant=checked.tenant,
        is_fresh=is_fresh,
    )


def _document(intent: object) -> dict[str, Any]:
    if isinstance(intent, WorkflowIntent):
        return intent.model_dump(by_alias=False, exclude_unset=True)
    if isinstance(intent, Mapping):
        return dict(intent)
    message = f"an intent is a dict or a WorkflowIntent, not {type(intent).__name__}"
    raise UsageError(message)


def _json(document: dict[str, Any]) -> bytes:
    try:
        return to_json(document, inf_nan_mode="constants")
    except (PydanticSerializationError, ValueError) as error:
        code, message = "not_json", f"it cannot be written as JSON: {error}"
        raise IntentRefusedError(code, message) from None


def _checked(settings: Settings, value: bytes) -> WorkflowIntent:
    refuse = settings.hybrid_unknown_fields == "refuse"
    try:
        return read_intent(
            value, max_bytes=settings.hybrid_max_intent_bytes, refuse_unknown=refuse
        )[0]
    except IntentError as error:
        raise IntentRefusedError(error.code, error.message) from None


def _id_for(intent: WorkflowIntent) -> str:
    if intent.deduplication_id is None:
        return uuid7(SystemClock().now_ms(), DICE)
    whose = f"{len(intent.tenant)}/{intent.tenant}/{intent.deduplication_id}"
    return str(uuid.uuid5(SAME_WORK, whose))


def _without_id(document: dict[str, Any]) -> dict[str, Any]:
    """Leave out an id that is null, in either spelling."""
    return {name: one for name, one in document.items() if name not in {"intent_id", "intentId"}}


def _headers(given: Headers) -> tuple[tuple[str, bytes], ...]:
    try:
        return tuple(
            (name, value if isinstance(value, bytes) else value.encode())
            for name, value in given.items()
        )
    except AttributeError:
        message = "headers are texts or bytes by name"
        raise UsageError(message) from None

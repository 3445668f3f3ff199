"""CloudEvents 1.0 on Kafka: what a record's envelope says of its intent, and of its outcome; pure.

By the Kafka protocol binding. *Structured* is a record whose header `content-type` begins with
`application/cloudevents`: its value is the envelope, and `data` the intent. *Binary* is one that
has all of `ce_specversion`, `ce_id`, `ce_source` and `ce_type`: its value is the intent. Any other
record is plain JSON, whatever else its headers say. What the intent says itself always holds.
"""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

from schemas.base import Headers, format_time, to_camel
from schemas.codec import MAX_ID, IntentError, InvalidIntentError, refuse_deep

__all__ = [
    "DEAD_LETTER",
    "RESULT",
    "CloudEvent",
    "body_of",
    "described",
    "is_structured",
    "opened",
    "without_envelope",
]

CONTENT_TYPE = "content-type"
#: How the media types of envelopes begin, in either case.
STRUCTURED = b"application/cloudevents"
#: The one format of them that is read; a charset may stand behind it.
JSON_FORMAT = re.compile(rb"application/cloudevents\+json\s*(;.*)?", re.IGNORECASE | re.DOTALL)
REQUIRED = ("specversion", "id", "source", "type")
READ = (*REQUIRED, "subject")
VERSION = re.compile(r"1\.\d+")
#: At the end of a type: `com.example.message_generation.v2`.
TYPE_VERSION = re.compile(r"v\d+")
#: Of an intent, and so not of its outcome.
REPLACED = frozenset(
    {
        CONTENT_TYPE,
        *(f"ce_{name}" for name in (*READ, "time", "dataschema", "datacontenttype")),
        "ce_causationid",
        "ce_causationsource",
    }
)
#: Types of the events that outcomes are.
RESULT, DEAD_LETTER = "hybrid.workflow.result", "hybrid.workflow.dead-letter"


@dataclass(frozen=True, slots=True)
class CloudEvent:
    """An event that holds an intent, and the intent with what the event says of it."""

    id: str
    source: str
    type: str
    body: bytes


def opened(headers: Headers, value: bytes | None) -> CloudEvent | None:
    """Read an event; None for a record that is none; raises IntentError for a bad one."""
    said = _said(headers)
    if not said:
        return None  # most are plain
    if is_structured(headers):
        return _of_envelope(said[CONTENT_TYPE], value)
    if value is None or not _is_binary(said):
        return None
    attributes = {name: _text(said.get(f"ce_{name}", b"")) for name in READ}
    return _event(attributes, _document(value), value)


def body_of(headers: Headers, value: bytes | None) -> bytes | None:
    """Give the intent of a record; of a bad envelope the envelope. Never raises."""
    try:
        event = opened(headers, value)
    except IntentError:
        return value
    return value if event is None else event.body


def is_structured(headers: Headers) -> bool:
    """Whether a record says that its value is an envelope."""
    raw = b""
    for name, one in headers:
        if name == CONTENT_TYPE:
            raw = one
    return raw[: len(STRUCTURED)].lower() == STRUCTURED


def _is_binary(said: Mapping[str, bytes]) -> bool:
    """Whether headers describe their value as an event, of a version that we know."""
    if not all(f"ce_{name}" in said for name in REQUIRED):
        return False
    return VERSION.fullmatch(_text(said["ce_specversion"]) or "") is not None


def without_envelope(headers: Headers, event: CloudEvent | None) -> Headers:
    """Leave out what headers say of an intent's envelope, and what is not so of its outcome."""
    if event is None and not (is_structured(headers) or _is_binary(_said(headers))):
        return headers
    return tuple(pair for pair in headers if pair[0] not in REPLACED)


def described(
    event: CloudEvent | None, *, kind: str, outcome_id: str, subject: str, prefix: str, at: datetime
) -> Headers:
    """Give the headers that make an outcome the event that follows another; none for none."""
    if event is None:
        return ()
    values = {
        CONTENT_TYPE: "application/json",
        "ce_specversion": "1.0",
        "ce_id": outcome_id,
        "ce_source": f"/hybrid/{prefix}",
        "ce_type": kind,
        "ce_subject": subject,
        "ce_time": format_time(at),
        "ce_causationid": event.id,
        "ce_causationsource": event.source,
    }
    return tuple((name, value.encode("utf-8", "replace")) for name, value in values.items())


def _said(headers: Headers) -> dict[str, bytes]:
    return {name: raw for name, raw in headers if name == CONTENT_TYPE or name.startswith("ce_")}


def _of_envelope(content_type: bytes, value: bytes | None) -> CloudEvent | None:
    if value is None:
        return None  # a tombstone, as any other
    if JSON_FORMAT.fullmatch(content_type.strip()) is None:
        _refuse("its format is not read: content-type must be application/cloudevents+json")
    envelope = _document(value)
    if envelope is None:
        return None  # no JSON: poison, as any other
    if not isinstance(envelope, dict):
        _refuse("it is JSON, but not an object")
    attributes = {name: envelope.get(name) for name in READ}
    for name in REQUIRED:
        if not isinstance(attributes[name], str) or not attributes[name]:
            _refuse(f"it has no `{name}`, which must be text")
    if VERSION.fullmatch(str(attributes["specversion"])) is None:
        _refuse("its `specversion` is not 1.0")
    data = _data(envelope)
    return _event(attributes, data, _written(data))


def _data(envelope: dict[str, Any]) -> object:
    """Give the data of an envelope as JSON, also where it is base64 of JSON."""
    if "data" in envelope:
        return envelope["data"]
    raw = envelope.get("data_base64")
    if not isinstance(raw, str):
        _refuse("it has no `data`: the intent")
    try:
        data = _document(base64.b64decode(raw, validate=True))
    except (binascii.Error, ValueError):
        data = None
    if data is None:
        _refuse("its `data_base64` is not base64 of JSON")
    return data


def _event(attributes: dict[str, Any], data: object, value: bytes) -> CloudEvent:
    """Put what an event says into an intent that does not say it."""
    event_id, source, kind = (str(attributes[name] or "") for name in ("id", "source", "type"))
    if not isinstance(data, dict):
        return CloudEvent(event_id, source, kind, value)
    missing = {name for name in ("intent_id", "deduplication_id", "type", "user_id")
               if name not in data and to_camel(name) not in data}  # fmt: skip
    given: dict[str, str] = {}
    if "intent_id" in missing:
        given["intent_id"] = _checked("id", event_id)
        if "deduplication_id" in missing:
            given["deduplication_id"] = _name(source, event_id)
    if "type" in missing:
        given["type"] = _checked("type", _type(kind))
    if "user_id" in missing and attributes.get("subject"):
        given["user_id"] = _checked("subject", str(attributes["subject"]))
    whole = _written(data | given) if given else value
    return CloudEvent(event_id, source, kind, whole)


def _written(document: object) -> bytes:
    """Write JSON, no longer than it came: by its bytes it is judged whether it is too large."""
    try:
        return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:  # half a surrogate pair: who reads the intent says so
        return json.dumps(document, separators=(",", ":")).encode()


def _name(source: str, event_id: str) -> str:
    """Name an event among all: source and id together are its own, by the specification."""
    name = f"{source}#{event_id}"
    if len(name) <= MAX_ID:
        return name
    return f"sha256:{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()}"


def _type(kind: str) -> str:
    """Give the last part of a type that is written as a reversed domain, its version left out."""
    parts = kind.split(".")
    while len(parts) > 1 and TYPE_VERSION.fullmatch(parts[-1]):
        parts.pop()
    return parts[-1]


def _checked(name: str, text: str) -> str:
    if not 0 < len(text) <= MAX_ID:
        _refuse(f"its `{name}` has not 1 to {MAX_ID} signs, and the intent has none of its own")
    return text


def _text(raw: bytes) -> str | None:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None


def _document(value: bytes) -> Any:  # noqa: ANN401 - any value of JSON
    """Read JSON; None where it is none, which is said by who reads the intent."""
    try:
        text = value.decode().removeprefix("\ufeff")
        refuse_deep(text)
        return json.loads(text)
    except ValueError:
        return None


def _refuse(why: str) -> NoReturn:
    code = "invalid_cloud_event"
    raise InvalidIntentError(code, f"the record is no CloudEvent that can be read: {why}")

"""Reads an intent from the bytes of a record, or says in which of two ways that fails.

IntentError
├── PoisonError         the bytes cannot be read as a JSON object
└── InvalidIntentError  they can, and are not a valid intent
"""

import json
import math
import re
import uuid
from typing import Any

from pydantic import ValidationError

from schemas.base import to_camel
from schemas.intent import WorkflowIntent
from schemas.vocabulary import DeadLetterReason

__all__ = [
    "IntentError",
    "InvalidIntentError",
    "PoisonError",
    "decode_intent",
    "derive_intent_id",
    "read_intent",
    "refuse_deep",
]

#: Namespace of derived intent ids (a fixed random UUID; changing it changes every derived id).
INTENT_NAMESPACE = uuid.UUID("6d0b7a8e-3f0e-5c52-9a55-3b1d6e1f9c21")

#: Deeper JSON is refused before it can exhaust a parser's stack.
MAX_DEPTH = 100
MAX_ID = 512
#: Names of fields that are read, in either case.
KNOWN_FIELDS = frozenset(
    {
        *WorkflowIntent.model_fields,
        *map(to_camel, WorkflowIntent.model_fields),
        "sendToOnlyfans",
        "sendToOnlyFans",
        "deliver",
    }
)
#: Unknown names of one intent that are reported.
MOST_NAMED = 20
STRINGS = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
BRACKETS = re.compile(r"[\[\]{}]")


class IntentError(Exception):
    """Raised when a record cannot become an intent."""

    reason: DeadLetterReason

    def __init__(self, code: str, message: str, *, intent_id: str | None = None) -> None:
        """Keep a stable code, a message without content, and the id where one could be read."""
        super().__init__(message)
        self.code = code
        self.message = message
        self.intent_id = intent_id


class PoisonError(IntentError):
    """Raised when the bytes cannot be read as a JSON object."""

    reason = DeadLetterReason.POISON


class InvalidIntentError(IntentError):
    """Raised when the object is not a valid intent."""

    reason = DeadLetterReason.INVALID_INTENT


def derive_intent_id(topic: str, partition: int, offset: int, written_ms: int | None) -> str:
    """Give an intent without an id one that is the same on every redelivery.

    The record's own timestamp is part of it, whatever it says: places are used again where a topic
    is deleted and made anew, and what stood there before has been decided.
    """
    return str(uuid.uuid5(INTENT_NAMESPACE, f"{topic}/{partition}/{offset}/{written_ms}"))


def decode_intent(value: bytes | None, *, max_bytes: int) -> WorkflowIntent:
    """Read a record's value; raises PoisonError or InvalidIntentError, never anything else."""
    return read_intent(value, max_bytes=max_bytes)[0]


def read_intent(
    value: bytes | None, *, max_bytes: int, refuse_unknown: bool = False
) -> tuple[WorkflowIntent, tuple[str, ...]]:
    """Read an intent, and the names of fields in it that mean nothing here.

    Raises PoisonError or InvalidIntentError; with `refuse_unknown` also for such a name.
    """
    if value is None:
        code, message = "null_value", "the record has no value"
        raise PoisonError(code, message)
    if len(value) > max_bytes:
        code = "too_large"
        message = f"the record is {len(value)} bytes long; at most {max_bytes} are allowed"
        raise InvalidIntentError(code, message)
    try:
        text = value.decode().removeprefix("\ufeff")  # a byte order mark, as Windows writes it
    except UnicodeDecodeError as error:
        code, message = "not_utf8", f"the value is not UTF-8 at byte {error.start}"
        raise PoisonError(code, message) from None
    refuse_deep(text)
    try:
        document = json.loads(text, parse_float=_finite, parse_constant=_finite)
    except _NotFiniteError:
        code, message = "not_finite", "the JSON holds NaN, Infinity or a number beyond all bounds"
        raise PoisonError(code, message) from None
    except (ValueError, RecursionError) as error:
        where = f" at character {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
        code, message = "not_json", f"the value is not JSON{where}"
        raise PoisonError(code, message) from None
    if "\\ud" in text.lower() and not _encodable(document):
        code, message = "not_unicode", "the JSON holds half of a surrogate pair"
        raise PoisonError(code, message)
    if not isinstance(document, dict):
        code, message = "not_an_object", "the value is JSON, but not an object"
        raise PoisonError(code, message)
    unknown = tuple(sorted(visible_name(name) for name in document if name not in KNOWN_FIELDS))
    unknown = unknown[:MOST_NAMED]
    if unknown and refuse_unknown:
        code, message = "unknown_fields", f"no field of an intent: {', '.join(unknown)}"
        raise InvalidIntentError(code, message, intent_id=_readable_id(document))
    try:
        return WorkflowIntent.model_validate(document), unknown
    except ValidationError as error:
        code, message = "invalid_fields", describe_validation(error)
        raise InvalidIntentError(code, message, intent_id=_readable_id(document)) from None


def visible_name(name: str) -> str:
    """Cut a foreign field's name to what can stand in an event or a message."""
    return "".join(sign if sign.isprintable() else "?" for sign in name[:64])


def describe_validation(error: ValidationError) -> str:
    """Say which fields are wrong and why, without their values."""
    problems = []
    for item in error.errors(include_input=False, include_url=False, include_context=False)[:5]:
        path = ".".join(str(part) for part in item["loc"]) or "the object"
        problems.append(f"{path}: {item['msg']}")
    return "; ".join(problems)


def _readable_id(document: dict[str, Any]) -> str | None:
    """Give the id that an invalid intent states, if it is one."""
    stated = document.get("intent_id", document.get("intentId"))
    return stated if isinstance(stated, str) and 0 < len(stated) <= MAX_ID else None


class _NotFiniteError(ValueError):
    """Raised for a number that JSON cannot write again."""


def _finite(text: str) -> float:
    """Read a number; NaN and Infinity are Python's, not JSON's, and no provider takes them."""
    number = float(text)
    if not math.isfinite(number):
        raise _NotFiniteError
    return number


def _encodable(document: object) -> bool:
    """Whether every string of the document can be written as UTF-8 again."""
    try:
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def refuse_deep(text: str) -> None:
    """Refuse JSON nested deeper than MAX_DEPTH (PoisonError); brackets in strings do not count."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = 0
    for bracket in BRACKETS.findall(STRINGS.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_DEPTH:
            code, message = "too_deep", f"the JSON is nested deeper than {MAX_DEPTH} levels"
            raise PoisonError(code, message)

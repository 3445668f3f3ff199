"""Lines of exported dead letters read again, each checked; pure.

BadLineError   a line that is no dead letter, or whose intent a worker would refuse again
"""

import base64
import json
from dataclasses import dataclass
from uuid import UUID

from pydantic import ValidationError

from schemas.codec import MAX_ID, describe_validation
from schemas.outcome import DeadLetter
from streams.publishing.originals import original_body
from streams.triage.changing import changed_value, is_same
from streams.triage.places import Place
from streams.triage.pricing import Refusal

__all__ = ["BadLineError", "Line", "read_line", "with_intent"]


class BadLineError(ValueError):
    """Raised for a line that cannot be published again; the message says why, without content."""


@dataclass(frozen=True, slots=True)
class Line:
    """A dead letter of a file."""

    letter: DeadLetter
    #: Where it stands on this cluster; None = it comes from another, or does not say it.
    place: Place | None = None
    #: The intent as it stands beside the letter; None = there is none.
    intent: dict[str, object] | None = None


def read_line(raw: bytes, *, cluster: str, topic: str) -> Line:
    """Read a line; `cluster` and `topic` say where dead letters of our own stand.

    Raises BadLineError.
    """
    try:
        document = json.loads(raw.decode())
    except UnicodeDecodeError:
        message = "it is not UTF-8"
        raise BadLineError(message) from None
    except (ValueError, RecursionError):
        message = "it is no JSON; JSON Lines have one whole JSON object on each line"
        raise BadLineError(message) from None
    if not isinstance(document, dict):
        message = "it is JSON, but no object"
        raise BadLineError(message)
    try:
        letter = DeadLetter.model_validate(document)
    except ValidationError as error:
        message = f"it is no dead letter: {describe_validation(error)}"
        raise BadLineError(message) from None
    _check_ids(letter)
    _check_base64(letter)
    intent = document.get("intent")
    if intent is not None and not isinstance(intent, dict):
        message = "intent is no object: leave it out, or write the whole intent"
        raise BadLineError(message)
    is_ours = bool(cluster) and document.get("cluster") == cluster
    place = _place(document.get("place"), topic) if is_ours else None
    return Line(letter, place, intent)


def _check_ids(letter: DeadLetter) -> None:
    """Refuse ids that workers would not take for a dead letter's; raises BadLineError."""
    try:
        is_id = str(UUID(letter.dead_letter_id)) == letter.dead_letter_id
    except ValueError:
        is_id = False
    if not is_id:
        message = "dead_letter_id is no id of a dead letter (a UUID, in small letters)"
        raise BadLineError(message)
    if not 0 < len(letter.intent_id) <= MAX_ID:
        message = f"intent_id must have 1 to {MAX_ID} signs"
        raise BadLineError(message)


def _check_base64(letter: DeadLetter) -> None:
    original = letter.original
    coded = [original.key, original.value, *(value for _, value in original.headers)]
    try:
        for text in coded:
            base64.b64decode(text or "", validate=True)
    except ValueError:
        message = "original: key, value or headers are no base64"
        raise BadLineError(message) from None


def _place(text: object, topic: str) -> Place | None:
    if not isinstance(text, str):
        return None
    named, _, rest = text.partition(":")
    partition, _, offset = rest.partition(":")
    if named != topic or not (partition.isdecimal() and offset.isdecimal()):
        return None
    return int(partition), int(offset)


def with_intent(line: Line) -> DeadLetter:
    """Give a line's dead letter with the intent that stands beside it, where that is another.

    One that was not touched leaves the exact bytes as they are. Raises BadLineError.
    """
    letter, intent = line.letter, line.intent
    if intent is None:
        return letter
    try:
        same = is_same(json.loads(original_body(letter) or b""), intent)
    except (ValueError, RecursionError):
        same = False
    if same:
        return letter
    found = changed_value(letter, intent)
    if isinstance(found, Refusal):
        raise BadLineError(found.message)
    return found

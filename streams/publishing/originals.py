"""The intent that a dead letter carries, as it was."""

import base64

from schemas.base import Headers
from schemas.outcome import DeadLetter
from streams.messages.cloud_events import body_of, is_structured

__all__ = ["is_wrapped", "original_body", "original_value"]


def original_value(letter: DeadLetter) -> bytes | None:
    """Give the exact bytes of the intent."""
    return None if letter.original.value is None else base64.b64decode(letter.original.value)


def original_body(letter: DeadLetter) -> bytes | None:
    """Give the intent, out of the CloudEvent that it came in, where it did."""
    return body_of(_headers(letter), original_value(letter))


def is_wrapped(letter: DeadLetter) -> bool:
    """Whether the intent is not the whole of the value: an envelope is, or adds to it."""
    return is_structured(_headers(letter)) or original_body(letter) != original_value(letter)


def _headers(letter: DeadLetter) -> Headers:
    return tuple((name, base64.b64decode(raw)) for name, raw in letter.original.headers)

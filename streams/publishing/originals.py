"""The intent that a dead letter carries, as it was."""

import base64

from schemas.outcome import DeadLetter
from streams.messages.cloud_events import body_of

__all__ = ["original_body", "original_value"]


def original_value(letter: DeadLetter) -> bytes | None:
    """Give the exact bytes of the intent."""
    return None if letter.original.value is None else base64.b64decode(letter.original.value)


def original_body(letter: DeadLetter) -> bytes | None:
    """Give the intent, out of the CloudEvent that it came in, where it did."""
    headers = tuple((name, base64.b64decode(raw)) for name, raw in letter.original.headers)
    return body_of(headers, original_value(letter))

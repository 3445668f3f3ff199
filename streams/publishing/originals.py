"""The intent that a dead letter carries, as it was."""

import base64

from schemas.outcome import DeadLetter

__all__ = ["original_value"]


def original_value(letter: DeadLetter) -> bytes | None:
    """Give the exact bytes of the intent."""
    return None if letter.original.value is None else base64.b64decode(letter.original.value)

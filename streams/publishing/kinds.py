"""What tells one cause of dead letters from another; pure."""

import hashlib
import re
from dataclasses import astuple, dataclass
from functools import lru_cache

from pydantic_core import from_json

from schemas.outcome import DeadLetter
from streams.publishing.originals import original_body

__all__ = ["Kind", "kind_of", "normalised", "stated_model"]

#: A message longer than this differs in its end only by content.
MOST_CHARACTERS = 200
#: So many messages are remembered: most letters of a cause say the same.
MOST_KNOWN = 4_096
#: A name of a model that is longer is none.
MOST_MODEL = 100
#: Digits of a cause's id: of a thousand causes two have the same one once in 280 million times.
ID_DIGITS = 12

# What differs between two letters of one cause, the widest first.
_VARYING = (
    (re.compile(r"https?://\S+"), "<url>"),
    (re.compile(r"(['\"`])(?:(?!\1).)*\1"), "<text>"),
    (re.compile(r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"), "<id>"),
    (re.compile(r"\b(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[\w-]{8,}\b"), "<id>"),
    (re.compile(r"\d+(?:[.,:]\d+)*"), "<n>"),
)


@lru_cache(MOST_KNOWN)
def normalised(message: str) -> str:
    """Take what differs out of a message: addresses, quoted text, ids, numbers."""
    text = " ".join(message[: 4 * MOST_CHARACTERS].split())
    for pattern, word in _VARYING:
        text = pattern.sub(word, text)
    return text[:MOST_CHARACTERS]


@dataclass(frozen=True, slots=True)
class Kind:
    """By what a cause is told from others."""

    reason: str
    #: The code of the last failure.
    failure: str
    provider: str
    #: As the intent names it; empty = the provider's own.
    model: str
    type: str
    message: str

    @property
    def id(self) -> str:
        """Name it for filters: `c-` and the first digits of the SHA-256 of its parts."""
        parts = "\0".join(astuple(self))
        return f"c-{hashlib.sha256(parts.encode('utf-8', 'replace')).hexdigest()[:ID_DIGITS]}"


def kind_of(letter: DeadLetter, model: str) -> Kind:
    """Give the kind of a dead letter; `model` is what its intent asked for."""
    return Kind(
        reason=letter.reason.value,
        failure=letter.error_code,
        provider=letter.attempts[-1].provider if letter.attempts else "",
        model=model,
        type=letter.type or "",
        message=normalised(letter.error_message),
    )


def stated_model(letter: DeadLetter) -> str:
    """Name the model that the intent asked for; empty where it leaves that to the provider.

    Of a letter that says only where its intent stands it is empty too: most readers do not look.
    """
    if letter.by_reference:
        return ""
    value = original_body(letter) or b"{}"
    if b'"model"' not in value:  # which most leave to the provider
        return ""
    try:
        model = from_json(value).get("model")
    except (ValueError, AttributeError):  # no JSON, or no object: a poison pill
        return ""
    return model[:MOST_MODEL] if isinstance(model, str) else ""

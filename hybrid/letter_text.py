"""One dead letter as a document, with its intent decoded, and content only when it is asked for."""

from typing import Any

from schemas.codec import IntentError, decode_intent
from schemas.outcome import DeadLetter
from schemas.settings import Settings
from streams.publishing.originals import original_body, original_value

__all__ = ["letter_document"]


def letter_document(
    settings: Settings, letter: DeadLetter, *, content: bool = False
) -> dict[str, Any]:
    """Give a letter with its intent; content is replaced by its size unless it is asked for."""
    document, value = letter.to_dict(), original_value(letter)
    document["intent"], document["intent_problem"] = None, None
    if letter.is_without_content:
        return document | {"intent_problem": letter.suggested_action}
    try:
        intent = decode_intent(original_body(letter), max_bytes=settings.hybrid_max_intent_bytes)
        document["intent"] = intent.to_dict()
    except IntentError as error:
        document["intent_problem"] = error.message
    if content:
        return document
    if value is not None:
        document["original"]["value"] = f"({len(value)} bytes; --content shows them)"
    if document["refusal"] is not None:
        document["refusal"] = "(--content shows it)"
    if document["intent"] is not None:
        named = ", ".join(sorted(document["intent"]["data"]))
        document["intent"]["data"] = f"(fields {named}; --content shows them)"
    return document

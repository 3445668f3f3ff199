"""How many tokens a text is, for replies that do not say: the model's tokenizer, else 4 characters.

A tokenizer takes some 50 MB of memory, so it is loaded when the first such reply comes.
"""

import json
import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from agents.pricing.limits import base_of
from agents.pricing.usage import estimate_tokens

__all__ = ["count_messages", "counter_of", "encoding_of", "text_in"]

#: Model or deployment names → encoding, newest first (OpenAI's own tables in tiktoken 0.14).
ENCODINGS = (
    (re.compile(r"^(gpt-4o|gpt-4\.1|gpt-4\.5|gpt-[5-9]|chatgpt-4o|o[134])"), "o200k_base"),
    (re.compile(r"^(gpt-4|gpt-3\.5|gpt-35|text-embedding-)"), "cl100k_base"),
)
#: What a chat adds to its texts: around each message, and before the answer (OpenAI's cookbook).
TOKENS_PER_MESSAGE, TOKENS_PER_CHAT = 3, 3

Counter = Callable[[str], int]


def encoding_of(models: Iterable[str]) -> str | None:
    """Give the encoding of the first model, of several names for it, that is known."""
    for model in models:
        for pattern, name in ENCODINGS:
            if pattern.match(base_of(model)):
                return name
    return None


def counter_of(models: Iterable[str]) -> Counter:
    """Give what counts the tokens of a text for a model; `models` holds its names, best first."""
    name = encoding_of(models)
    return _four_characters if name is None else _tokenizer(name)


def count_messages(count: Counter, messages: Iterable[dict[str, Any]]) -> int:
    """Count the tokens of a chat; parts that are not text as their JSON."""
    if count is _four_characters:
        return count("".join(text_in(message) for message in messages))
    return TOKENS_PER_CHAT + sum(
        TOKENS_PER_MESSAGE + count(str(message.get("role", ""))) + count(text_in(message))
        for message in messages
    )


def text_in(message: dict[str, Any]) -> str:
    """Give a message's content as text; parts that are not text as their JSON."""
    content = message.get("content") or ""
    return content if isinstance(content, str) else json.dumps(content)


def _four_characters(text: str) -> int:
    return estimate_tokens(len(text))


@cache
def _tokenizer(name: str) -> Counter:
    from bpe_openai import get_encoding  # noqa: PLC0415 - 74 MB, and mostly not needed

    encoding = get_encoding(name)

    def count(text: str) -> int:
        # Half a surrogate pair is no text; providers count what replaces it.
        return len(encoding.encode_ordinary(text.encode("utf-8", "replace").decode()))

    return count

"""What a call cannot exceed: how much a model writes, and how many tokens a prompt may be; pure.

The numbers are the vendors' own, of their pages on models and on images; where a vendor says none,
the larger one is taken: a bound that is too high costs patience, one that is too low costs money.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from agents.pricing.rates import Prompt

__all__ = ["MOST_OUTPUT", "base_of", "most_output", "prompt_of"]

#: Models → output tokens of one answer, reasoning included; the first that fits counts.
OUTPUT_LIMITS = tuple(
    (re.compile(pattern), tokens)
    for pattern, tokens in (
        (r"gpt-[5-9](\.\d)?-chat|chatgpt-4o|gpt-4\.5", 16_384),
        (r"gpt-5(\.\d)?-pro", 272_000),
        (r"gpt-[5-9]", 128_000),
        (r"gpt-4\.1", 32_768),
        (r"gpt-4o-2024-05-13", 4_096),
        (r"gpt-4o", 16_384),
        (r"gpt-4-32k", 32_768),
        (r"gpt-4-(turbo|1106|0125|vision)", 4_096),
        (r"gpt-4(?![\w.])", 8_192),
        (r"gpt-3\.?5-turbo-16k", 16_384),
        (r"gpt-3\.?5-turbo", 4_096),
        (r"o1-mini", 65_536),
        (r"o1-preview", 32_768),
        (r"o[134](?![\w.])", 100_000),
        (r"claude-3-5", 8_192),
        (r"claude-3-7", 128_000),
        (r"claude-3-", 4_096),
        (r"claude-", 128_000),
        (r"gemini-(1\.5|2\.0)", 8_192),
        (r"gemini-", 65_536),
    )
)
#: Where nobody says what a model writes at most.
MOST_OUTPUT = 131_072
#: Tokens of one image at the highest detail: gpt-4o-mini counts 2,833 and 5,667 for each of up to 8
#: tiles; others up to 1,536 patches with a factor, or 10,000 patches at their original size.
MOST_IMAGE_OF_MINI, MOST_IMAGE = 48_169, 16_384
#: Base64 characters of sound that a token stands for at least: vendors count 10 to 32 tokens a
#: second, and no codec for speech takes less than 750 bytes for one.
CHARACTERS_PER_AUDIO_TOKEN = 8
#: Kinds of parts that are text.
TEXTS = frozenset({"text", "refusal", "input_text", "output_text", "thinking"})
#: A part that does not say how long it is: a file that lies with the provider, a film.
MOST_UNSIZED = 1_048_576
_ENCODER = json.JSONEncoder(ensure_ascii=False)


def base_of(model: str) -> str:
    """Give the model that a fine-tuned one is made of: `ft:gpt-4o-mini:acme::id`; else itself."""
    return model.split(":")[1] if model.startswith("ft:") else model


def most_output(models: Iterable[str], *, window: int | None = None) -> tuple[int, bool]:
    """Bound the output tokens of one answer; and say whether the model's own limit is known.

    `models` holds the names of the model, best first; `window` is its context, where it is known.
    """
    for model in models:
        name = base_of(model).rpartition("/")[2].lower()
        for pattern, tokens in OUTPUT_LIMITS:
            if pattern.match(name):
                return tokens, True
    return window or MOST_OUTPUT, False


def prompt_of(
    messages: list[dict[str, Any]],
    *,
    models: Iterable[str],
    schema: Mapping[str, Any] | None = None,
    window: int | None = None,
) -> Prompt:
    """Bound the tokens of a prompt: no token is shorter than a byte; other parts by their kind."""
    image = MOST_IMAGE
    if any("4o-mini" in model for model in models):
        image = MOST_IMAGE_OF_MINI
    count = _Count(image=image, unsized=window or MOST_UNSIZED)
    said = [count.text(message) for message in messages]
    tokens = _bytes(said) + (0 if schema is None else _bytes(schema))
    return Prompt(tokens + count.other + count.audio, count.audio)


def _bytes(value: object) -> int:
    return len(_ENCODER.encode(value).encode("utf-8", "replace"))


class _Count:
    """Takes out of messages what is no text, and counts it by its kind."""

    def __init__(self, *, image: int, unsized: int) -> None:
        self._image = image
        self._unsized = unsized
        self.other = 0
        self.audio = 0

    def text(self, message: dict[str, Any]) -> dict[str, Any]:
        """Give a message with its text parts only."""
        content = message.get("content")
        if not isinstance(content, list):
            return message
        return {**message, "content": [part for part in content if self._is_text(part)]}

    def _is_text(self, part: object) -> bool:
        match part:
            case {"type": "image_url" | "input_image" | "image"}:
                self.other += self._image
            case {"type": "input_audio", "input_audio": {"data": str() as data}}:
                self.audio += len(data) // CHARACTERS_PER_AUDIO_TOKEN + 1
            case {"type": str() as kind} if kind not in TEXTS:
                self.other += self._unsized
            case _:
                return True
        return False

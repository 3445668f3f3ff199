"""Token counts in four classes that do not overlap; pure."""

import math
from dataclasses import dataclass
from typing import Any

from schemas.vocabulary import UsageSource

__all__ = ["NO_USAGE", "Usage", "estimate_tokens", "estimated_usage", "read_input_usage",
           "read_usage"]  # fmt: skip

#: Characters to a token, where no tokenizer is known.
CHARACTERS_PER_TOKEN = 4
#: No call has more; a count beyond it is a mistake of the sender's, and would not fit the record.
MOST_TOKENS = 1_000_000_000
#: Names of counts inside the details, first OpenAI's, then others' (DeepSeek, Moonshot, Anthropic).
CACHED = ("cached_tokens", "prompt_cache_hit_tokens", "cache_read_input_tokens")
CACHE_WRITE = ("cache_write_tokens", "cache_creation_tokens", "cache_creation_input_tokens")
REASONING, AUDIO = ("reasoning_tokens",), ("audio_tokens",)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call; no token is in two of the first four classes."""

    uncached_input: int = 0
    cached_input: int = 0
    visible_output: int = 0
    reasoning: int = 0
    source: UsageSource = UsageSource.NONE
    #: Of the uncached prompt tokens, those that were put into the provider's cache.
    cache_write: int = 0
    #: Of the uncached prompt tokens, and of the visible ones of the answer, those that are sound.
    audio_input: int = 0
    audio_output: int = 0

    @property
    def input(self) -> int:
        """All prompt tokens, those from the provider's cache included."""
        return self.uncached_input + self.cached_input

    @property
    def output(self) -> int:
        """All tokens of the answer, reasoning included."""
        return self.visible_output + self.reasoning

    @property
    def total(self) -> int:
        """All tokens."""
        return self.input + self.output


NO_USAGE = Usage()


def read_usage(body: object) -> Usage | None:
    """Read a chat completion's `usage`, of any shape; None when it is absent or makes no sense.

    OpenAI and Azure count cached tokens inside `prompt_tokens` and reasoning tokens inside
    `completion_tokens`; here they are taken out, so that nothing is priced twice. Others (xAI,
    Gemini) leave what the model thought out of `completion_tokens`: then the total is larger than
    both together, and the rest was thought, and is charged.
    """
    if not isinstance(body, dict):  # of JSON; an abstract class takes ten times as long to ask
        return None
    prompt = _count(body.get("prompt_tokens"))
    completion = _count(body.get("completion_tokens"))
    if prompt is None or completion is None or prompt + completion == 0:
        return None
    cached = min(_first(body, "prompt_tokens_details", CACHED), prompt)
    uncached = prompt - cached
    audio = min(_first(body, "prompt_tokens_details", AUDIO), uncached)
    written = min(_first(body, "prompt_tokens_details", CACHE_WRITE), uncached - audio)
    thought = _first(body, "completion_tokens_details", REASONING)
    outside = max(0, (_count(body.get("total_tokens")) or 0) - prompt - completion)
    inside = 0 if outside and outside == thought else min(thought, completion)
    visible = completion - inside
    return Usage(
        uncached,
        cached,
        visible,
        inside + outside,
        UsageSource.PROVIDER,
        cache_write=written,
        audio_input=audio,
        audio_output=min(_first(body, "completion_tokens_details", AUDIO), visible),
    )


def read_input_usage(body: object) -> Usage | None:
    """Read the `usage` of what has no answer in words, such as an embedding; None as above.

    OpenAI says `prompt_tokens` and the same as `total_tokens`; others only one of them.
    """
    if not isinstance(body, dict):
        return None
    prompt = body.get("prompt_tokens", body.get("total_tokens"))
    details = body.get("prompt_tokens_details")
    return read_usage(
        {"prompt_tokens": prompt, "completion_tokens": 0, "prompt_tokens_details": details}
    )


def estimate_tokens(characters: int) -> int:
    """Estimate tokens from characters, 4 to a token, rounded up."""
    return math.ceil(characters / CHARACTERS_PER_TOKEN)


def estimated_usage(*, prompt_tokens: int, content_tokens: int) -> Usage:
    """Give the usage of a call whose reply does not say, as it was counted here."""
    return Usage(
        uncached_input=prompt_tokens,
        visible_output=content_tokens,
        source=UsageSource.ESTIMATED,
    )


def _count(raw: object) -> int | None:
    """Give a count that can be one: whole, not negative, and not beyond what a call can have."""
    if not isinstance(raw, int | float) or isinstance(raw, bool) or not 0 <= raw <= MOST_TOKENS:
        return None
    return int(raw) if raw == int(raw) else None


def _first(body: dict[str, Any], group: str, names: tuple[str, ...]) -> int:
    """Give the first count, of several names for it, in the details or beside them."""
    details = body.get(group)
    for source in (details, body):
        if isinstance(source, dict):
            for name in names:
                if name in source and (count := _count(source[name])):
                    return count
    return 0

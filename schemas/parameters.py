"""What an intent's `parameters` may say: what a provider takes beside the intent's own fields.

Known names are checked here, so that a wrong value costs no call; others are a vendor's own
(`top_k`, `repetition_penalty`) and are sent as they are.
"""

import re
from collections.abc import Callable
from typing import Any

__all__ = ["chat_problem", "checked_parameters"]

NAME = re.compile(r"^[a-z][a-z0-9_]{0,63}$")
MOST_PARAMETERS = 64
#: Said by a field of the intent, or by the configuration.
ELSEWHERE = {
    "model": "the field model",
    "messages": "messages in data",
    "temperature": "the field temperature",
    "max_tokens": "the field max_output_tokens",
    "max_completion_tokens": "the field max_output_tokens",
    "max_output_tokens": "the field max_output_tokens",
    "response_format": "the field response_schema",
    "service_tier": "low_tier of the provider",
    "stream": "stream of the provider",
    "stream_options": "stream of the provider",
    "extra_body": "extra_body of the provider",
    "extra_headers": "headers of the provider",
    "extra_query": "the provider's address",
    "n": "one intent for each answer",
}
ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})


def _is_word(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 256  # noqa: PLR2004 - words, not texts


def _between(least: float, most: float) -> Callable[[object], bool]:
    def check(value: object) -> bool:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and least <= value <= most  # type: ignore[operator]

    return check


def _is_stop(value: object) -> bool:
    return _is_word(value) or (
        isinstance(value, list) and 0 < len(value) <= 16 and all(map(_is_word, value))  # noqa: PLR2004
    )


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def _are_typed(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(one, dict) and isinstance(one.get("type"), str) for one in value
    )


def _are_words(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(one, str) for one in value.values())


def _is_truth(value: object) -> bool:
    return isinstance(value, bool)


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _is_choice(value: object) -> bool:
    return _is_word(value) or _is_object(value)


#: name → check, and what is allowed.
KNOWN: dict[str, tuple[Callable[[object], bool], str]] = {
    "reasoning_effort": (_is_word, "a word, such as low, medium or high"),
    "verbosity": (_is_word, "a word, such as low, medium or high"),
    "top_p": (_between(0, 1), "a number from 0 to 1"),
    "presence_penalty": (_between(-2, 2), "a number from -2 to 2"),
    "frequency_penalty": (_between(-2, 2), "a number from -2 to 2"),
    "top_logprobs": (_between(0, 20), "a number from 0 to 20"),
    "stop": (_is_stop, "a text, or a list of texts"),
    "seed": (_is_whole, "a whole number"),
    "tools": (_are_typed, "a list of objects with a type"),
    "tool_choice": (_is_choice, "a word or an object"),
    "parallel_tool_calls": (_is_truth, "true or false"),
    "logprobs": (_is_truth, "true or false"),
    "store": (_is_truth, "true or false"),
    "metadata": (_are_words, "an object of texts"),
    "logit_bias": (_is_object, "an object"),
    "prediction": (_is_object, "an object"),
    "web_search_options": (_is_object, "an object"),
    "user": (_is_word, "a word"),
    "safety_identifier": (_is_word, "a word"),
    "prompt_cache_key": (_is_word, "a word"),
}


def checked_parameters(value: dict[str, Any]) -> dict[str, Any]:
    """Check an intent's parameters; raises ValueError with the name and what is allowed."""
    if len(value) > MOST_PARAMETERS:
        message = f"at most {MOST_PARAMETERS} parameters are taken"
        raise ValueError(message)
    for name, wanted in value.items():
        if name in ELSEWHERE:
            message = f"{name} is said by {ELSEWHERE[name]}"
            raise ValueError(message)
        if not NAME.match(name):
            message = "a parameter's name is in snake_case, 64 signs at most"
            raise ValueError(message)
        check, allowed = KNOWN.get(name, (lambda _value: True, ""))
        if not check(wanted):
            message = f"{name} must be {allowed}"
            raise ValueError(message)
    return value


def chat_problem(messages: list[Any]) -> str | None:
    """Say what is wrong with a chat that an intent brings; None where it can be sent."""
    for place, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            return f"data.messages.{place}: role must be one of {', '.join(sorted(ROLES))}"
        content = message.get("content")
        if isinstance(content, list):
            if not _are_typed(content):
                return f"data.messages.{place}: each part of the content is an object with a type"
        elif not (isinstance(content, str) or content is None):
            return f"data.messages.{place}: content must be a text or a list of parts"
    return None

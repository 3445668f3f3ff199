"""Which parameter an error answer says is not taken; nothing here raises.

OpenAI says so by a code and `param`, older Azure versions in words, xAI in its own camelCase,
Mistral and vLLM as pydantic's `extra_forbidden` (an object, a list, or such a text).
"""

import json
import re
from collections.abc import Collection, Mapping
from typing import Any

__all__ = ["refused_parameter"]

CODES = frozenset({"unsupported_parameter", "unsupported_value", "unknown_parameter"})
#: Characters of the answer that are looked at.
MOST = 4_000
#: With what lies inside it, as the Responses API says it: `reasoning.effort`.
NAME = r"['\"`]?([A-Za-z][A-Za-z_]{1,40}(?:\.[a-z_]{1,40})?)"
WORDS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"Unrecognized request arguments? supplied: {NAME}",
        rf"(?:Unsupported|Unknown) (?:parameter|value): {NAME}",
        rf"Argument not supported(?: on this model)?: {NAME}",
        rf"does not support (?:the )?parameter:? {NAME}",
        rf"property {NAME}['\"`]? is unsupported",
        rf"Unknown name {NAME}['\"`]?: Cannot find field",
        r"(response_format)(?: type|\.type `json_schema`) is unavailable",  # DeepSeek
        rf"{NAME}['\"`]? is not supported (?:with|by|for) this model",
    )
)
EXTRA = re.compile(rf"['\"]body['\"], ?{NAME}['\"][\])]")


def refused_parameter(error: Mapping[str, Any], codes: Collection[str], body: object) -> str:
    """Name the parameter, as it is sent; empty where the answer names none."""
    named = error.get("param")
    if isinstance(named, str) and CODES & {code.lower() for code in codes}:
        return _snake(named)
    try:
        text = json.dumps(body, ensure_ascii=False)[:MOST].replace("\\", "")
    except (TypeError, ValueError, RecursionError):
        return ""
    if "extra_forbidden" in text:
        found = EXTRA.search(text)
        return _snake(found[1]) if found else ""
    found = next((one for pattern in WORDS if (one := pattern.search(text))), None)
    return _snake(found[1]) if found else ""


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])([A-Z])", r"_\1", name).lower()

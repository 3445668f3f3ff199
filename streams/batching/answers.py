"""What a batch's files say of its lines; pure, and whatever they hold, nothing raises."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Told", "answers_of"]

#: Characters of a code that a provider gives a line.
MOST_CODE = 100


@dataclass(frozen=True, slots=True)
class Told:
    """What became of a line: an HTTP answer, or why there is none."""

    status: int | None = None
    body: Mapping[str, Any] = field(default_factory=dict)
    code: str = ""


def answers_of(content: bytes) -> dict[str, Told]:
    """Read an output file or an error file: `custom_id` → what became of that line."""
    found = {}
    for raw in content.split(b"\n"):
        try:
            line = json.loads(raw) if raw.strip() else None
        except (ValueError, RecursionError):
            continue
        if isinstance(line, dict) and isinstance(line.get("custom_id"), str):
            found[line["custom_id"]] = _told(line)
    return found


def _told(line: Mapping[str, Any]) -> Told:
    response, error = line.get("response"), line.get("error")
    if isinstance(response, dict):
        status, body = response.get("status_code"), response.get("body")
        if isinstance(status, int) and not isinstance(status, bool):
            return Told(status, body if isinstance(body, dict) else {})
    code = error.get("code") if isinstance(error, dict) else None
    return Told(code=code[:MOST_CODE] if isinstance(code, str) and code else "batch_unanswered")

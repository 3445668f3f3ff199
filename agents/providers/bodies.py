"""Reading the fields of foreign JSON: each is checked, none is trusted; nothing here raises."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from agents.deciding.failures import Failure, HttpAnswer, classify_http
from agents.providers.rate_headers import rest_asked_for
from agents.providers.unsupported import refused_parameter
from schemas.base import whole_text

__all__ = [
    "answer_of",
    "content_of",
    "document_of",
    "embedded_failure",
    "error_in",
    "fields_of",
    "text",
]

#: Characters of a name of a model or of a reason; a longer text is not taken for one.
MOST_NAME = 200
#: Characters of an error's text that are looked at; the rest of a long page is not.
MOST_WORDS = 4_000
#: Statuses that say that the request itself is wrong.
ABOUT_THE_REQUEST = frozenset({400, 422})
#: Types of content parts that are the answer; thinking is not.
SPOKEN = frozenset({"text", "output_text", "summary_text", ""})
DELAY = re.compile(r"(\d{1,6}(?:\.\d{1,9})?)s")


def document_of(body: bytes | str) -> Mapping[str, Any]:
    """Read an object, of a list its first; empty where it is neither."""
    try:
        return _unlisted(json.loads(body))
    except (ValueError, RecursionError):  # cut, not text, a number of 5,000 digits, a deep nest
        return {}


def _unlisted(value: object) -> Mapping[str, Any]:
    """Give an object's fields, of a list (Gemini wraps errors so) its first's; else none."""
    return fields_of(value[0] if isinstance(value, list) and value else value)


def fields_of(value: object) -> Mapping[str, Any]:
    """Give an object's fields; none where it is no object."""
    return value if isinstance(value, dict) else {}


def text(value: object) -> str:
    """Give a short text as it can be written; empty where it is no text."""
    return whole_text(value)[:MOST_NAME] if isinstance(value, str) else ""


def content_of(value: object) -> str:
    """Give an answer's content: a text, or the joined text parts of a list, without thinking."""
    match value:
        case str():
            return whole_text(value)
        case list():
            return "".join(content_of(part) for part in value if isinstance(part, str | dict))
        case {"text": str() as said, **rest}:
            kind = rest.get("type", "")
            return whole_text(said) if isinstance(kind, str) and kind in SPOKEN else ""
        case _:
            return ""


def answer_of(status: int, headers: Mapping[str, str], body: object) -> HttpAnswer:
    """Reduce an error answer, whatever its shape, to what decides."""
    lower = {name.lower(): value for name, value in headers.items()}
    codes, words, wait_ms = _facts(body)
    if "retry-after" not in lower and "retry-after-ms" not in lower:
        reset_ms = round(rest_asked_for(lower) * 1000)
        wait_ms = wait_ms or (reset_ms if status == 429 else 0)  # noqa: PLR2004 - RFC 6585 §4
        if wait_ms:
            lower["retry-after-ms"] = str(wait_ms)
    refused = ""
    if status in ABOUT_THE_REQUEST:
        refused = refused_parameter(_error_of(body), codes, body)
    code = codes[0] if codes else ""
    return HttpAnswer(status, lower, code, tuple(codes[1:]), words, refused)


def error_in(document: Mapping[str, Any]) -> object:
    """Give the error that a document or a chunk of a 200 is, or carries; None where it has none."""
    if document.get("error"):
        return document
    bare = "choices" not in document and any(document.get(name) for name in ("message", "detail"))
    return document if bare or "error" in (document.get("object"), document.get("type")) else None


def embedded_failure(error: object, *, now: datetime) -> Failure:
    """Classify an error that came inside a 200: by its own status or code, else the server's."""
    outer = fields_of(error)
    stated = [
        one.get(name)
        for one in (fields_of(outer.get("error")), outer)
        for name in ("code", "status", "status_code")
    ]
    status = next((number for one in stated if (number := _status(one))), 200)
    answer = replace(answer_of(status, {}, error), parameter="")
    return classify_http(answer, now=now, received=200)


def _status(value: object) -> int:
    raw = str(value) if isinstance(value, int | str) else ""
    return int(raw) if re.fullmatch(r"[45]\d\d", raw) else 0


def _facts(body: object) -> tuple[list[str], str, int]:
    """Give an error's codes, most telling first, its words, and the wait it asks for in ms."""
    if isinstance(body, str):
        return [], whole_text(body)[:MOST_WORDS].lower(), 0
    error = _error_of(body)
    codes = [_code(error.get(name)) for name in ("code", "type", "status")]
    inner = [fields_of(error.get(name)) for name in ("innererror", "inner_error")]
    codes += [_code(one.get("code")) for one in inner]
    metadata = fields_of(error.get("metadata"))
    if "flagged_input" in metadata or "reasons" in metadata:  # OpenRouter's moderation
        codes.append("moderation_blocked")
    codes += [_code(metadata.get(name)) for name in ("reason", "limit_source", "error_type")]
    wait_ms = 0
    details = error.get("details")
    for detail in map(fields_of, details if isinstance(details, list) else []):
        codes.append(_code(detail.get("reason")))
        delay = detail.get("retryDelay")
        found = DELAY.fullmatch(delay) if isinstance(delay, str) else None
        wait_ms = round(float(found[1]) * 1000) if found else wait_ms
    said = [error.get(name) for name in ("message", "detail", "msg")]
    words = " ".join(one for one in said if isinstance(one, str))
    return [code for code in codes if code], whole_text(words)[:MOST_WORDS].lower(), wait_ms


def _error_of(body: object) -> Mapping[str, Any]:
    """Give the error itself, whatever it is wrapped in."""
    error = _unlisted(body)
    nested = error.get("error")
    if isinstance(nested, str):
        return {**error, "message": error.get("message") or nested}
    return nested if isinstance(nested, dict) else error


def _code(value: object) -> str:
    """Give a code that is a word; a number says no more than the status does."""
    return "" if not isinstance(value, str) or value.isdigit() else text(value)

"""Answers as no documentation has them: well-formed ones, bent at random; what was billed is known."""

import copy
import json
import random
from dataclasses import dataclass
from typing import Any

__all__ = ["Odd", "odd_answer"]

ODD: list[Any] = [
    None, True, False, -1, 0, 7, 2**32 + 100, 2**70, 1.5, float("nan"), float("inf"), "", "x", "429",
    "\ud800", "a\0b", "caf\ud83d", [], {}, [[]], [{}], [None], {"code": {}}, {"content": []},
    {"text": 5}, {"message": None}, {"error": "x"}, "stop", "length", "tool_calls", "content_filter",
    "error", 503, "insufficient_quota", {"type": "text", "text": "hm"}, "9" * 5_000,
]  # fmt: skip
STATUSES = [400, 401, 402, 403, 404, 408, 409, 410, 413, 418, 422, 424, 429, 451, 498, 499, 500, 502, 503, 504, 520, 529, 204, 302, 304]  # fmt: skip
HEADERS = [
    "Retry-After: 2", "Retry-After: -1", "Retry-After: soon", "Retry-After: 1e999",
    "retry-after-ms: nan", "x-ratelimit-reset-requests: 1h", "x-request-id: \x7fbad", "Content-Type: text/html",
    "Content-Type: application/json; charset=utf-16", "Content-Encoding: gzip",
    "x-ratelimit-limit-tokens: 5", "x-ratelimit-remaining-tokens: 0", "x-ratelimit-reset-tokens: 9m",
]  # fmt: skip
ERRORS: list[Any] = [
    {"error": {"message": "m", "type": "t", "param": None, "code": "rate_limit_exceeded"}},
    {"error": {"code": 429, "message": "m", "metadata": {"raw": "{}", "reasons": ["x"]}}},
    [{"error": {"code": 400, "status": "X", "details": [{"reason": "Y", "retryDelay": "3s"}]}}],
    {"object": "error", "message": {"detail": [{"type": "extra_forbidden", "loc": ["body", "temperature"]}]}},
    {"detail": [{"loc": ["body", "x"], "msg": "m"}]},
    {"error": {"code": "unsupported_parameter", "param": "temperature", "message": "m"}},
    {"error": {"innererror": {"code": "ResponsibleAIPolicyViolation"}, "message": "m"}},
    {"code": "x", "error": "text"}, {"type": "error", "error": {"type": "overloaded_error"}},
]  # fmt: skip
NOISE = ["<html>", '{"choices": [{"del', "null", "5", "[]", ": keep-alive", "event: error", "{}", '{"choices": null}']  # fmt: skip


@dataclass(frozen=True)
class Odd:
    """One answer as it goes over the wire."""

    wire: bytes
    #: Tokens in and out that were billed and said so; None = it does not say.
    billed: tuple[int, int] | None


def odd_answer(dice: random.Random, *, stream: bool, responses: bool = False) -> Odd:
    """Make one of either API; a third of them are errors, the rest is bent or whole."""
    draw = dice.random()
    if draw < 0.05:  # nothing that anybody ever answered
        return Odd(_http(_any(dice), dice, dice.choice([200, 200, *STATUSES])), None)
    if draw < 0.3:
        return Odd(
            _http(_bent(dice, dice.choice(ERRORS)), dice, dice.choice([*STATUSES, 200])), None
        )
    billed = (dice.randrange(1, 5_000), dice.randrange(0, 5_000))
    names = (
        ("input_tokens", "output_tokens") if responses else ("prompt_tokens", "completion_tokens")
    )
    usage = dict(zip(names, billed, strict=True))
    known = dice.random() < 0.8
    if not known:
        usage = _bent(dice, usage) if dice.random() < 0.5 else {}
    if responses:
        body, whole = (_response_events if stream else _response)(dice, usage)
    elif stream:
        body, whole = _events(dice, usage)
    else:
        body, whole = _document(dice, usage)
    return Odd(_http(body, dice, 200, stream=stream), billed if known and whole else None)


def _any(dice: random.Random, depth: int = 0) -> Any:
    if depth > 3 or dice.random() < 0.3:
        return copy.deepcopy(dice.choice(ODD))
    names = ("choices", "message", "delta", "content", "error", "code", "type", "finish_reason",
             "model", "refusal", "innererror", "details", "tool_calls", "annotations")  # fmt: skip
    fields = {name: _any(dice, depth + 1) for name in dice.sample(names, 4)}
    return [fields] if dice.random() < 0.4 else fields


def _document(dice: random.Random, usage: Any) -> tuple[bytes, bool]:
    """Give a body, and whether its usage can be read."""
    message = {"role": "assistant", "content": "ok", "tool_calls": None, "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    document = _bent(
        dice, {"id": "c", "choices": [choice], "created": 1}, times=dice.choice([0, 1, 3])
    )
    document = document if isinstance(document, dict) else {"choices": [choice]}
    document |= {"model": "gpt-3.5-turbo", "usage": usage}
    body = json.dumps([document] if dice.random() < 0.05 else document).encode()
    if dice.random() < 0.1:
        return body[: dice.randrange(len(body))], False
    return body, True


def _events(dice: random.Random, usage: Any) -> tuple[bytes, bool]:
    """Give a stream, and whether its usage can be read."""
    chunks: list[Any] = [
        {"model": "gpt-3.5-turbo", "choices": [], "prompt_filter_results": [{}]},
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {"content": "o"}}]},
        {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{"}}]}}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    ]  # fmt: skip
    lines = [
        json.dumps(_bent(dice, one)) if dice.random() < 0.4 else json.dumps(one) for one in chunks
    ]
    for _ in range(dice.choice([0, 0, 1, 2])):
        lines.insert(dice.randrange(len(lines) + 1), dice.choice(NOISE))
    lines.append(json.dumps({"model": "gpt-3.5-turbo", "choices": [], "usage": usage}))
    if dice.random() < 0.15:
        lines.append(json.dumps(dice.choice(ERRORS)))
    if dice.random() < 0.8:
        lines.append("[DONE]")
    body = "".join(f"{'' if one[0] in ':e' else 'data: '}{one}\n\n" for one in lines).encode()
    if dice.random() < 0.1:
        return body[: body.rindex(b'"usage"')], False
    return body, True


def _bent_response(dice: random.Random, usage: Any, times: int) -> dict[str, Any]:
    """Bend all of a response but what says what it cost."""
    part = {"type": "output_text", "text": "ok", "annotations": [], "logprobs": []}
    output = [
        {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"type": "message", "role": "assistant", "content": [part]},
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
    ]
    ends: list[tuple[str, Any]] = [
        ("completed", None), ("incomplete", {"reason": "max_output_tokens"}), ("failed", None),
    ]  # fmt: skip
    status, details = dice.choice([ends[0], *ends])
    error = {"code": "server_error", "message": "m"} if status == "failed" else None
    whole = {
        "id": "r", "object": "response", "status": status, "incomplete_details": details,
        "error": error, "output": output[: dice.randrange(1, 4)], "created_at": 1,
    }  # fmt: skip
    bent = _bent(dice, whole, times=times)
    bent = bent if isinstance(bent, dict) else whole
    return {**bent, "object": "response", "model": "gpt-3.5-turbo", "usage": usage}


def _response(dice: random.Random, usage: Any) -> tuple[bytes, bool]:
    """Give a response, and whether its usage can be read."""
    body = json.dumps(_bent_response(dice, usage, dice.choice([0, 1, 3]))).encode()
    if dice.random() < 0.1:
        return body[: dice.randrange(len(body))], False
    return body, True


def _response_events(dice: random.Random, usage: Any) -> tuple[bytes, bool]:
    """Give a stream of a response, and whether its usage can be read."""
    last = _bent_response(dice, usage, dice.choice([0, 0, 1, 3]))
    call = {"type": "function_call", "call_id": "a", "name": "f", "arguments": ""}
    chunks: list[Any] = [
        {"type": "response.created", "response": {"status": "in_progress", "model": "gpt-3.5-turbo"}},
        {"type": "response.output_item.added", "output_index": 0, "item": {"type": "message", "content": []}},
        {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "o"},
        {"type": "response.refusal.delta", "output_index": 0, "delta": "n"},
        {"type": "response.output_item.added", "output_index": 1, "item": call},
        {"type": "response.function_call_arguments.delta", "output_index": 1, "delta": "{}"},
        {"type": "response.output_item.done", "output_index": 1, "item": {**call, "arguments": "{}"}},
        {"type": "response.reasoning_summary_text.delta", "output_index": 2, "delta": "hm"},
    ]  # fmt: skip
    kept = [one for one in chunks if dice.random() < 0.8]
    lines = [json.dumps(_bent(dice, one) if dice.random() < 0.4 else one) for one in kept]
    for _ in range(dice.choice([0, 0, 1, 2])):
        lines.insert(dice.randrange(len(lines) + 1), dice.choice(NOISE))
    if dice.random() < 0.1:
        error = {"type": "error", "code": "server_error", "message": "m", "param": None}
        lines.insert(dice.randrange(len(lines) + 1), json.dumps(_bent(dice, error)))
    status = last.get("status")
    ends = status if status in ("completed", "incomplete", "failed") else "completed"
    lines.append(json.dumps({"type": f"response.{ends}", "response": last}))
    if dice.random() < 0.1:
        lines.append(dice.choice(NOISE))
    body = "".join(f"{'' if one[0] in ':e' else 'data: '}{one}\n\n" for one in lines).encode()
    if dice.random() < 0.1:
        return body[: body.rindex(b'"usage"')], False
    return body, True


def _http(body: Any, dice: random.Random, status: int, *, stream: bool = False) -> bytes:
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = [one for one in HEADERS if dice.random() < 0.05]
    if status == 200:  # a body that cannot be decoded says nothing of what it cost
        headers = [one for one in headers if "Encoding" not in one]
    kind = "text/event-stream" if stream else "application/json"
    lines = [
        f"HTTP/1.1 {status} X", f"Content-Length: {len(payload)}", "Connection: close",
        *headers, *([] if any("Type" in one for one in headers) else [f"Content-Type: {kind}"]),
    ]  # fmt: skip
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + payload


def _bent(dice: random.Random, value: Any, times: int = 1) -> Any:
    """Replace, drop, double or wrap something in a value, at any depth."""
    bent = copy.deepcopy(value)
    for _ in range(times):
        bent = _once(dice, bent)
    return bent


def _once(dice: random.Random, value: Any) -> Any:
    if not isinstance(value, dict | list) or not value or dice.random() < 0.2:
        return copy.deepcopy(dice.choice(ODD))
    key = dice.choice(list(value)) if isinstance(value, dict) else dice.randrange(len(value))
    draw = dice.random()
    if draw < 0.15:
        del value[key]
    elif draw < 0.25:
        value[key] = [value[key]]
    else:
        value[key] = _once(dice, value[key])
    return value

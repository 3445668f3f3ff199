"""How the simulator reads requests and writes answers: chat completions and Responses; pure.

The same question has the same text by either, and so the same answer and usage.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Written", "chat_chunks", "chat_document", "is_answered", "response_document",
           "response_events", "text_of"]  # fmt: skip

INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


@dataclass(frozen=True)
class Written:
    """What a simulated model wrote; `usage` None where it does not say."""

    number: int
    created: int
    model: str
    content: str
    finish: str
    tier: str
    #: Prompt and completion tokens.
    usage: tuple[int, int] | None
    #: Name of the tool that it wants called; none = it answers.
    tool: str = ""

    @property
    def call_id(self) -> str:
        """The id of that call."""
        return f"call_{self.number}"

    @property
    def arguments(self) -> str:
        """What it wants the tool to be given."""
        return json.dumps({"about": self.content})


def text_of(body: Mapping[str, Any]) -> str:
    """Give all that is said in a request, without the form that it is said in."""
    messages = body.get("messages", body.get("input", []))
    if isinstance(messages, str):
        return messages
    return "".join(
        one if isinstance(one, str) else _said(one.get("content") or one.get("output") or "")
        for one in messages
    )


def is_answered(body: Mapping[str, Any]) -> bool:
    """Tell whether a tool that was to be called has been."""
    messages = body.get("messages", body.get("input", []))
    return any(
        one.get("role") == "tool" or one.get("type") == "function_call_output"
        for one in messages
        if isinstance(one, dict)
    )


def _said(value: object) -> str:
    """Give the texts inside a content, whatever they are wrapped in, but for names of forms."""
    match value:
        case str():
            return value
        case list():
            return "".join(map(_said, value))
        case dict():
            left = {name: one for name, one in value.items() if name not in {"type", "detail"}}
            return "".join(_said(left[name]) for name in sorted(left))
        case _:
            return ""


# ── chat completions ────────────────────────────────────────────────────────────────────────────


def chat_document(written: Written) -> dict[str, Any]:
    """Write a chat completion."""
    message: dict[str, Any] = {"role": "assistant", "content": written.content, "refusal": None}
    if written.tool:
        message |= {"content": None, "tool_calls": [_chat_call(written)]}
    choice = {"index": 0, "message": message, "finish_reason": _finish(written), "logprobs": None}
    return {
        "id": f"chatcmpl-{written.number}",
        "object": "chat.completion",
        "created": written.created,
        "model": written.model,
        "choices": [choice],
        "service_tier": written.tier,
        **({"usage": _chat_usage(written.usage)} if written.usage else {}),
    }


def chat_chunks(written: Written) -> Iterator[dict[str, Any] | str]:
    """Write the same as the events of a stream, each in one of two pieces."""
    document = chat_document(written)
    common = {name: document[name] for name in ("id", "created", "model", "service_tier")}
    common["object"] = "chat.completion.chunk"
    first, second = _halves(written.content)
    deltas: list[dict[str, Any]] = [{"content": first}, {"content": second}]
    if written.tool:
        call = _chat_call(written)
        first, second = _halves(written.arguments)
        call["function"]["arguments"] = first
        rest = {"index": 0, "function": {"arguments": second}}
        deltas = [{"tool_calls": [{"index": 0, **call}]}, {"tool_calls": [rest]}]
    for delta, reason in zip(deltas, (None, _finish(written)), strict=True):
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        yield {**common, "choices": [choice]}
    if "usage" in document:
        yield {**common, "choices": [], "usage": document["usage"]}
    yield "[DONE]"


def _finish(written: Written) -> str:
    return "tool_calls" if written.tool else written.finish


def _chat_call(written: Written) -> dict[str, Any]:
    function = {"name": written.tool, "arguments": written.arguments}
    return {"id": written.call_id, "type": "function", "function": function}


def _chat_usage(usage: tuple[int, int]) -> dict[str, Any]:
    return {
        "prompt_tokens": usage[0],
        "completion_tokens": usage[1],
        "total_tokens": sum(usage),
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _halves(text: str) -> tuple[str, str]:
    middle = len(text) // 2
    return text[:middle], text[middle:]


# ── Responses ───────────────────────────────────────────────────────────────────────────────────


def response_document(written: Written) -> dict[str, Any]:
    """Write a response."""
    reason = INCOMPLETE.get(written.finish)
    usage = written.usage
    return {
        "id": f"resp_{written.number}",
        "object": "response",
        "created_at": written.created,
        "status": "incomplete" if reason else "completed",
        "error": None,
        "incomplete_details": {"reason": reason} if reason else None,
        "model": written.model,
        "output": [_item(written)],
        "service_tier": written.tier,
        "store": False,
        "usage": usage and {
            "input_tokens": usage[0],
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": usage[1],
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": sum(usage),
        },
    }  # fmt: skip


def response_events(written: Written) -> Iterator[dict[str, Any]]:
    """Write the same as the events of a stream."""
    document = response_document(written)
    begun = {**document, "status": "in_progress", "output": [], "usage": None}
    begun["incomplete_details"] = None
    item = document["output"][0]
    if written.tool:
        empty, kind, said = {**item, "arguments": ""}, "function_call_arguments", written.arguments
    else:
        empty, kind, said = {**item, "content": []}, "output_text", written.content
    where = {"output_index": 0, "item_id": item["id"]}
    pieces = [
        {"type": f"response.{kind}.delta", **where, "content_index": 0, "delta": piece}
        for piece in _halves(said)
    ]
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": empty},
        *pieces,
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": f"response.{document['status']}", "response": document},
    ]
    for number, event in enumerate(events):
        yield {**event, "sequence_number": number}


def _item(written: Written) -> dict[str, Any]:
    done = {"id": f"item_{written.number}", "status": "completed"}
    if written.tool:
        call = {"call_id": written.call_id, "name": written.tool, "arguments": written.arguments}
        return {"type": "function_call", **done, **call}
    part = {"type": "output_text", "text": written.content, "annotations": [], "logprobs": []}
    return {"type": "message", **done, "role": "assistant", "content": [part]}

"""A chat's messages and tools as the Responses API has them: items, parts, flat tools; pure.

What is in neither form, such as parts and tools of the Responses API itself, goes out as it came.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from agents.providers.bodies import fields_of

__all__ = ["choice_of", "items_of", "tools_of"]

Fields = Mapping[str, Any]


def items_of(messages: Iterable[Fields]) -> list[dict[str, Any]]:
    """Give the items of `input`: messages, calls of tools, and what these gave."""
    items: list[dict[str, Any]] = []
    custom: set[str] = set()
    for message in messages:
        role, content = message.get("role"), message.get("content")
        if role in {"tool", "function"}:
            name = str(message.get("tool_call_id") or message.get("name") or "")
            kind = "custom_tool_call_output" if name in custom else "function_call_output"
            items.append({"type": kind, "call_id": name, "output": _content(content, "input_text")})
            continue
        own = role == "assistant"
        said = _content(content, "output_text" if own else "input_text")
        if own and message.get("refusal"):
            parts = [{"type": "output_text", "text": said}] if isinstance(said, str) else said
            refused = {"type": "refusal", "refusal": message["refusal"]}
            said = [*(parts if content else []), refused]
        if said or not own:
            items.append({"role": role, "content": said})
        calls = message.get("tool_calls")
        for call in map(fields_of, calls if isinstance(calls, list) else []):
            items.append(_call(call))
            if "custom" in call:
                custom.add(str(call.get("id")))
        if older := fields_of(message.get("function_call")):
            items.append(_call({"id": older.get("name"), "function": older}))
    return items


def tools_of(tools: object) -> object:
    """Give tools without the object that chat completions wrap their description in."""
    return [_tool(one) for one in tools] if isinstance(tools, list) else tools


def choice_of(choice: object) -> object:
    """Give a choice of tools without the same."""
    fields = fields_of(choice)
    allowed = fields_of(fields.get("allowed_tools"))
    if allowed:
        tools = allowed.get("tools")
        return {"type": "allowed_tools", **allowed, "tools": _flat_names(tools)}
    return _flat(fields) if fields else choice


def _flat_names(tools: object) -> object:
    return [_flat(fields_of(one)) for one in tools] if isinstance(tools, list) else tools


def _flat(fields: Fields) -> dict[str, Any]:
    """Put what stands under the name of a thing's type beside the type."""
    kind = fields.get("type")
    inner = fields.get(kind) if isinstance(kind, str) else None
    if not isinstance(inner, dict):
        return dict(fields)
    return {**{name: one for name, one in fields.items() if name != kind}, **inner}


def _tool(tool: object) -> object:
    fields = fields_of(tool)
    if not isinstance(fields.get(str(fields.get("type"))), dict):
        return tool
    flat = _flat(fields)
    if flat["type"] == "function":
        # There a function is strict unless it says otherwise; in a chat it is the other way round.
        return {**flat, "parameters": flat.get("parameters"), "strict": flat.get("strict", False)}
    if isinstance(flat.get("format"), dict):
        flat["format"] = _flat(flat["format"])
    return flat


def _call(call: Fields) -> dict[str, Any]:
    name = call.get("id") or ""
    if custom := fields_of(call.get("custom")):
        said = {"name": custom.get("name"), "input": custom.get("input")}
        return {"type": "custom_tool_call", "call_id": name, **said}
    function = fields_of(call.get("function"))
    said = {"name": function.get("name"), "arguments": function.get("arguments")}
    return {"type": "function_call", "call_id": name, **said}


def _content(content: object, text_type: str) -> Any:  # noqa: ANN401 - a text or parts
    if isinstance(content, list):
        return [_part(one, text_type) for one in content]
    return "" if content is None else content


def _part(part: object, text_type: str) -> object:
    fields = fields_of(part)
    match fields.get("type"):
        case "text":
            return {**fields, "type": text_type}
        case "image_url":
            image = fields_of(fields.get("image_url"))
            url = image.get("url") if image else fields.get("image_url")
            return {
                "type": "input_image", "image_url": url, "detail": image.get("detail") or "auto",
            }  # fmt: skip
        case "file":
            return {"type": "input_file", **fields_of(fields.get("file"))}
        case _:
            return part

"""The Responses API: what is sent, of the same request that a chat completion is made of; pure.

Names are the intent's where it said them, and those of the body, with a dot for what lies inside
(`reasoning.effort`), where a model refuses one.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

from agents.providers.arguments import CAPS, Manner, messages_of
from agents.providers.assembly import Assembly
from agents.providers.bodies import fields_of
from agents.providers.requests import ChatRequest
from agents.providers.response_assembly import ResponseAssembly
from agents.providers.response_items import choice_of, items_of, tools_of

__all__ = ["ResponsesApi"]

#: What an intent says by another name than the body, or inside an object of it.
PLACES = {
    "reasoning_effort": "reasoning.effort",
    "verbosity": "text.verbosity",
    "response_format": "text.format",
    "logprobs": "include",
    "web_search_options": "tools",
    **dict.fromkeys(CAPS, "max_output_tokens"),
}
#: What chat completions take, and this API has no place for.
LACKING = frozenset(
    {"stop", "seed", "presence_penalty", "frequency_penalty", "logit_bias", "prediction"}
)
#: Objects of the body whose fields are refused one by one.
NESTED = ("reasoning", "text")
LOGPROBS = "message.output_text.logprobs"


class ResponsesApi:
    """The Responses API; nothing is kept there unless the intent asks for it."""

    path = "/responses"
    #: What is said unless the request says otherwise.
    manners: Mapping[str, Any] = MappingProxyType({"store": False})

    def body(self, request: ChatRequest, manner: Manner) -> dict[str, Any]:
        """Give the whole body of a request."""
        gone, dialect = self._gone(manner), manner.dialect
        told = {"response_format"} if gone & {"text", "text.format"} else set()
        messages = messages_of(request, dialect, frozenset(told))
        body = {
            "model": manner.model,
            **({"stream": True} if manner.stream else {}),
            **self.manners,
            **({"service_tier": manner.tier} if manner.tier else {}),
            "input": items_of(messages),
            **_wanted(request, manner),
            **dialect.extra_body,
        }
        return _without(body, gone)

    def parameters(self, body: Mapping[str, Any]) -> Collection[str]:
        """Name what a body says and an error may refuse."""
        return {
            *body,
            *(f"{outer}.{name}" for outer in NESTED for name in fields_of(body.get(outer))),
        }

    def left_out(self, request: ChatRequest, manner: Manner) -> tuple[str, ...]:
        """Name what the request asks for and the body does not say, in the intent's words."""
        asked = {name for name, value in request.parameters.items() if value is not None}
        asked |= {"temperature"} if request.temperature is not None else set()
        if request.response_schema is not None and manner.dialect.structured != "none":
            asked.add("response_format")
        gone = self._gone(manner) | LACKING
        lost = {name for name in asked if _is_gone(PLACES.get(name, name), gone)}
        if any("name" in one and one.get("role") != "function" for one in request.messages):
            lost.add("messages.name")
        return tuple(sorted(lost))

    def assembly(self, now: datetime) -> Assembly:
        """Begin to read an answer; `now` is when it was asked for."""
        return ResponseAssembly(now)

    @staticmethod
    def _gone(manner: Manner) -> frozenset[str]:
        names = manner.dialect.drop | manner.learnt
        return frozenset(PLACES.get(name, name) for name in names)


def _is_gone(place: str, gone: Collection[str]) -> bool:
    return place in gone or place.partition(".")[0] in gone


def _without(body: dict[str, Any], gone: Collection[str]) -> dict[str, Any]:
    """Leave out what is not taken, at the top and one level below it."""
    left = {name: value for name, value in body.items() if name not in gone}
    for name in NESTED:
        if name in left and isinstance(left[name], dict):
            inner = {one: value for one, value in left[name].items() if f"{name}.{one}" not in gone}
            left = {**left, name: inner} if inner else {k: v for k, v in left.items() if k != name}
    return left


def _wanted(request: ChatRequest, manner: Manner) -> dict[str, Any]:
    """Give what the request asks for, in this API's form."""
    said = {name: value for name, value in request.parameters.items() if value is not None}
    effort, verbosity = said.pop("reasoning_effort", None), said.pop("verbosity", None)
    logprobs, search = said.pop("logprobs", None), said.pop("web_search_options", None)
    for name in LACKING:
        said.pop(name, None)
    if effort is not None:
        said["reasoning"] = {**fields_of(said.get("reasoning")), "effort": effort}
    text = _beside(verbosity=verbosity, format=_format(request.response_schema, manner))
    if text:
        said["text"] = {**fields_of(said.get("text")), **text}
    if logprobs:
        listed = said.get("include")
        said["include"] = [*(listed if isinstance(listed, list) else []), LOGPROBS]
    if "tools" in said:
        said["tools"] = tools_of(said["tools"])
    if search is not None:
        listed = said.get("tools")
        said["tools"] = [*(listed if isinstance(listed, list) else []), _search(fields_of(search))]
    if "tool_choice" in said:
        said["tool_choice"] = choice_of(said["tool_choice"])
    limits = {"temperature": request.temperature, "max_output_tokens": request.max_output_tokens}
    return {**said, **_beside(**limits)}


def _beside(**values: object) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _search(options: Mapping[str, Any]) -> dict[str, Any]:
    """Give a chat's search as the tool that it is here."""
    where = fields_of(options.get("user_location"))
    flat = {"type": "approximate", **fields_of(where.get("approximate") or where)}
    rest = {name: value for name, value in options.items() if name != "user_location"}
    return {"type": "web_search", **rest, **({"user_location": flat} if where else {})}


def _format(schema: dict[str, Any] | None, manner: Manner) -> dict[str, Any] | None:
    way = manner.dialect.structured
    if schema is None or way == "none":
        return None
    if way == "object":
        return {"type": "json_object"}
    return {"type": "json_schema", "name": "answer", "schema": schema, "strict": way == "strict"}

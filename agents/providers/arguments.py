"""What is sent, as one vendor and one model take it: in a chat completion, and beside it; pure."""

import json
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from agents.providers.requests import ChatRequest

__all__ = ["CAPS", "Dialect", "Lessons", "Manner", "body_of", "left_out", "messages_of"]

#: Both names of the limit of an answer's length; a model takes one or the other, or both.
CAPS = ("max_completion_tokens", "max_tokens")
#: Without these the answer would be to another question: they are never left out.
NEEDED = frozenset(
    {"model", "messages", "input", "dimensions", "tools", "tool_choice", "modalities", "audio"}
)
#: And these say what it may cost, and whether it is kept: only the configuration leaves them out.
PROMISED = frozenset({"max_output_tokens", "store", "background"})
#: Models whose lessons are remembered by one provider of a worker.
MOST_MODELS = 1_000
TOLD = "Answer with JSON that follows this JSON Schema, and with nothing else:"


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one vendor wants its requests."""

    max_tokens_field: str = "max_completion_tokens"
    #: Parameters that are never sent.
    drop: frozenset[str] = frozenset()
    #: How a wanted JSON Schema is sent; `none`: told in the instructions only.
    structured: Literal["strict", "schema", "object", "none"] = "schema"
    #: Sent with every request, over everything else.
    extra_body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Manner:
    """How one call is to be made: of which model, in which words, and how it is answered."""

    model: str
    dialect: Dialect
    #: Parameters that the model has refused.
    learnt: frozenset[str] = frozenset()
    stream: bool = False
    #: Service tier; none = the vendor's own choice.
    tier: str = ""


class Lessons:
    """Parameters that models have refused; the models asked last are remembered."""

    def __init__(self, most: int = MOST_MODELS) -> None:
        """Begin without any."""
        self._most = most
        self._learnt: OrderedDict[str, frozenset[str]] = OrderedDict()

    def of(self, model: str) -> frozenset[str]:
        """Give the parameters that a model does not take, as far as is known."""
        if model in self._learnt:
            self._learnt.move_to_end(model)
        return self._learnt.get(model, frozenset())

    def learn(self, model: str, parameter: str, *, sent: Collection[str]) -> bool:
        """Remember a refusal; False where leaving it out is no way out, or changes nothing."""
        known = self.of(model)
        if parameter in NEEDED | PROMISED or parameter not in sent:
            return False
        if parameter in CAPS and known & set(CAPS) - {parameter}:
            return False  # neither name is taken: without a limit nobody knows what it costs
        self._learnt[model] = known | {parameter}
        self._learnt.move_to_end(model)
        while len(self._learnt) > self._most:
            self._learnt.popitem(last=False)
        return True


def body_of(
    request: ChatRequest, dialect: Dialect, learnt: frozenset[str], manners: Mapping[str, Any]
) -> dict[str, Any]:
    """Give the parameters of a request beside model, messages and stream.

    `manners`, how the call is to be made, give way to what request and dialect say.
    """
    gone = dialect.drop | learnt
    wanted = _wanted(request, dialect)
    cap = wanted.pop("cap", None)
    names = (dialect.max_tokens_field, *CAPS)
    taken = next((name for name in names if name not in gone), "")
    if cap is not None and taken and dialect.max_tokens_field not in dialect.drop:
        wanted[taken] = cap
    body = {**manners, **wanted, **dialect.extra_body}
    return {name: value for name, value in body.items() if name not in gone}


def left_out(request: ChatRequest, dialect: Dialect, learnt: frozenset[str]) -> tuple[str, ...]:
    """Name what the request asked for and the model does not take."""
    gone = learnt | dialect.drop
    return tuple(sorted(set(_wanted(request, dialect)) & gone)) if gone else ()


def messages_of(
    request: ChatRequest, dialect: Dialect, learnt: frozenset[str]
) -> list[dict[str, Any]]:
    """Give the chat; a wanted schema that no parameter carries is told in the instructions."""
    schema = request.response_schema
    told = dialect.structured in {"object", "none"} or "response_format" in learnt | dialect.drop
    if schema is None or not told:
        return request.messages
    words = f"{TOLD}\n{json.dumps(schema, ensure_ascii=False, separators=(',', ':'))}"
    first = request.messages[0] if request.messages else {}
    if first.get("role") == "system" and isinstance(first.get("content"), str):
        return [{**first, "content": f"{first['content']}\n\n{words}"}, *request.messages[1:]]
    return [{"role": "system", "content": words}, *request.messages]


def _wanted(request: ChatRequest, dialect: Dialect) -> dict[str, Any]:
    """Give what the request asks for; `cap` is the limit of the answer's length."""
    wanted: dict[str, Any] = {
        **request.parameters,
        "cap": request.max_output_tokens,
        "temperature": request.temperature,
        "response_format": _format(request.response_schema, dialect),
    }
    return {name: value for name, value in wanted.items() if value is not None}


def _format(schema: dict[str, Any] | None, dialect: Dialect) -> dict[str, Any] | None:
    if schema is None or dialect.structured == "none":
        return None
    if dialect.structured == "object":
        return {"type": "json_object"}
    named: dict[str, Any] = {"name": "answer", "schema": schema}
    if dialect.structured == "strict":
        named["strict"] = True
    return {"type": "json_schema", "json_schema": named}

"""An answer of the Responses API put together, of one document or of a stream's events.

Each piece of a stream belongs to an output item by its index; the last event brings the whole,
which counts where it holds anything.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from agents.pricing.usage import read_usage
from agents.providers.assembly import Assembly, ChatReply
from agents.providers.bodies import content_of, embedded_failure, error_in, fields_of, text
from agents.providers.tool_calls import objects_of
from schemas.base import whole_text

__all__ = ["ResponseAssembly"]

#: The pieces of an answer, by the end of their event's name → what of an item they are.
PIECES = {
    "response.output_text.delta": "text",
    "response.refusal.delta": "refusal",
    "response.function_call_arguments.delta": "arguments",
    "response.custom_tool_call_input.delta": "input",
}
#: The events that bring the whole at its end.
ENDS = frozenset({"response.completed", "response.incomplete", "response.failed"})
#: Why an answer is incomplete → the finish reason of chat completions.
REASONS = {"max_output_tokens": "length", "content_filter": "content_filter"}
#: The names of usage here → those of chat completions.
COUNTS = {
    "input_tokens": "prompt_tokens",
    "output_tokens": "completion_tokens",
    "total_tokens": "total_tokens",
    "input_tokens_details": "prompt_tokens_details",
    "output_tokens_details": "completion_tokens_details",
}
CALLS = frozenset({"function_call", "custom_tool_call"})
#: Items of one answer that are kept.
MOST_ITEMS = 1_000


class ResponseAssembly(Assembly):
    """An answer of the Responses API."""

    what = "response"

    def __init__(self, now: datetime) -> None:
        """Begin empty; `now` is when it was asked for."""
        super().__init__(now)
        #: Items that are begun or whole, and what came of those that are not, by index.
        self._items: dict[int, dict[str, Any]] = {}
        self._pieces: dict[int, dict[str, list[str]]] = {}

    def add(self, chunk: Mapping[str, Any]) -> None:
        """Take what a document or an event says; what is odd in it is passed over."""
        kind = text(chunk.get("type"))
        if kind.startswith("response."):
            self._event(kind, chunk)
        elif isinstance(chunk.get("output"), list) or chunk.get("object") == "response":
            self._whole(chunk, ended="completed")
        elif error := error_in(chunk):
            self.broken(embedded_failure(error, now=self._now))

    def _event(self, kind: str, event: Mapping[str, Any]) -> None:
        index = event.get("output_index")
        place = index if isinstance(index, int) and not isinstance(index, bool) else 0
        if "response" in event:
            ends = kind in ENDS and not self.ended
            self._whole(fields_of(event["response"]), ended=kind.partition(".")[2] if ends else "")
            self.ended |= ends
        elif kind in PIECES:
            piece = event.get("delta")
            if isinstance(piece, str) and self._has_room(place):
                self._pieces.setdefault(place, {}).setdefault(PIECES[kind], []).append(piece)
                self.begun = bool(self.begun or piece)
        elif kind in {"response.output_item.added", "response.output_item.done"}:
            item = fields_of(event.get("item"))
            if item and self._has_room(place):
                self._items[place] = dict(item)
                if kind.endswith("done"):  # it is whole: what came of it before is in it
                    self._pieces.pop(place, None)
                self.begun |= text(item.get("type")) in CALLS
            self.thoughts += 1
        else:  # a summary of reasoning, a search: it is at work
            self.thoughts += 1

    def _has_room(self, place: int) -> bool:
        return (
            place in self._items
            or place in self._pieces
            or (len(self._items) + len(self._pieces) < MOST_ITEMS)
        )

    def _whole(self, response: Mapping[str, Any], *, ended: str) -> None:
        """Take a response; `ended` is how, where it does not say, empty where it is not yet."""
        self._model = text(response.get("model")) or self._model
        self._tier = text(response.get("service_tier")) or self._tier
        usage = fields_of(response.get("usage"))
        named = {COUNTS.get(name, name): value for name, value in usage.items()}
        self._usage = read_usage(named) or self._usage
        if response.get("error"):
            self.broken(embedded_failure(response, now=self._now))
        if not ended:
            return
        output = response.get("output")
        self._read(output if isinstance(output, list) else [])
        self._answered |= isinstance(output, list)
        reason = text(fields_of(response.get("incomplete_details")).get("reason"))
        match text(response.get("status")) or ended:
            case "completed":
                done = "tool_calls" if self._calls.whole() else "stop"
                self._finish = done if self._answered else ""
            case "incomplete":
                self._finish = REASONS.get(reason, reason or "incomplete")
            case "failed" | "cancelled":
                self._finish = self._finish if response.get("error") else "error"
            case _:
                self._answered = False  # it is still being written: there is nothing to read
        self.begun = bool(self.begun or self._finish)

    def reply(self) -> ChatReply:
        """Give the whole; where no end came, of its pieces."""
        if not (any(self._content) or any(self._refusal) or self._calls.whole()):
            self._read([self._joined(place) for place in sorted({*self._items, *self._pieces})])
            if self._finish == "stop" and self._calls.whole():
                self._finish = "tool_calls"
        return super().reply()

    def _joined(self, place: int) -> dict[str, Any]:
        """Give an item with the pieces that came of it."""
        item = self._items.get(place, {})
        pieces = {name: "".join(said) for name, said in self._pieces.get(place, {}).items()}
        parts = [
            {"type": kind, name: pieces[name]}
            for kind, name in (("output_text", "text"), ("refusal", "refusal"))
            if name in pieces
        ]
        if parts:
            return {"type": "message", "content": parts}
        return {**item, **pieces}

    def _read(self, output: list[Any]) -> None:
        """Read output items: what is said, what is to be done, what was thought."""
        for item in map(fields_of, output):
            kind = text(item.get("type"))
            if kind == "message":
                content = item.get("content")
                for part in objects_of(content) if isinstance(content, list) else []:
                    self._part(part)
                if isinstance(content, str):
                    self._content.append(whole_text(content))
            elif kind in CALLS:
                self._call(item, custom=kind == "custom_tool_call")
            elif kind == "reasoning":
                self._summary += map(content_of, objects_of(item.get("summary")))

    def _part(self, part: dict[str, Any]) -> None:
        self._content.append(content_of(part))
        self._refusal.append(content_of(part.get("refusal")))
        self._annotations += map(_annotation, objects_of(part.get("annotations")))
        self._logprobs += objects_of(part.get("logprobs"))

    def _call(self, item: Mapping[str, Any], *, custom: bool) -> None:
        name, said = ("custom", "input") if custom else ("function", "arguments")
        one = {"name": item.get("name"), said: item.get(said)}
        number = len(self._calls.whole())
        call = {"index": number, "id": item.get("call_id"), "type": name, name: one}
        self._calls.add([call])


def _annotation(one: dict[str, Any]) -> dict[str, Any]:
    """Give a citation of a page in the form that chat completions have."""
    if one.get("type") != "url_citation" or "url_citation" in one:
        return one
    inner = {name: value for name, value in one.items() if name != "type"}
    return {"type": "url_citation", "url_citation": inner}

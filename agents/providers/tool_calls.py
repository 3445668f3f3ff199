"""What a model wants done: tool calls, whole or in pieces, as plain data; nothing here raises."""

import json
from typing import Any

from agents.providers.bodies import fields_of
from schemas.base import writable

__all__ = ["ToolCalls", "objects_of"]

#: Calls of one answer, and levels of a foreign object, that are kept.
MOST_CALLS, MOST_LEVELS = 128, 20


class ToolCalls:
    """The tool calls of one answer; pieces of a stream are joined by their `index`."""

    def __init__(self) -> None:
        """Begin without any."""
        self._calls: dict[int, dict[str, Any]] = {}

    def add(self, calls: object, single: object = None) -> bool:
        """Take a list of calls, or pieces of them; `single` is the older `function_call`."""
        found = objects_of(calls)
        if isinstance(single, dict) and single.get("name"):
            found.append({"id": "", "type": "function", "function": writable(single, MOST_LEVELS)})
        for place, piece in enumerate(found):
            index = piece.pop("index", None)
            known = isinstance(index, int) and not isinstance(index, bool)
            self._join(index if known else self._place(piece, place), piece)
        return bool(found)

    def whole(self) -> tuple[dict[str, Any], ...]:
        """Give the calls in their order, with `arguments` as text."""
        return tuple(self._calls[index] for index in sorted(self._calls))[:MOST_CALLS]

    def _place(self, piece: dict[str, Any], place: int) -> int:
        """Find where a piece without index belongs: a new id is a new call."""
        return len(self._calls) if piece.get("id") else place

    def _join(self, index: int, piece: dict[str, Any]) -> None:
        call = self._calls.setdefault(index, {"id": "", "type": "function"})
        for name, value in piece.items():
            if name in {"function", "custom"} and isinstance(value, dict):
                self._join_function(call.setdefault(name, {}), value)
            elif value not in (None, ""):
                call[name] = value

    @staticmethod
    def _join_function(function: dict[str, Any], piece: dict[str, Any]) -> None:
        for name, value in piece.items():
            if name in {"arguments", "input"}:
                said = value if isinstance(value, str) else json.dumps(value)
                function[name] = function.get(name, "") + ("" if value is None else said)
            elif value not in (None, ""):
                function[name] = value


def objects_of(value: object) -> list[dict[str, Any]]:
    """Give the objects of a list, each as it can be written; none where it is no list."""
    listed = value if isinstance(value, list) else []
    return [writable(one, MOST_LEVELS) for one in listed if fields_of(one)]

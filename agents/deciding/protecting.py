"""What a provider does not get to see: replaced before a call, and put back into its answer; pure.

Each find becomes a placeholder, `[EMAIL_1]`; the same value of an intent always the same one. What
stands for what follows from the intent alone, so nothing of it is kept: who reads an answer later,
or at another worker, makes the same placeholders anew (ADR 26).
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from agents.deciding.patterns import FINDERS, Finder
from agents.deciding.structured import FENCE
from schemas.intent import WorkflowIntent
from schemas.outcome import WorkflowResult
from schemas.protection import ProtectSpec

__all__ = ["OFF", "Mask", "Protection"]

#: What a provider gets of an intent, as texts of whoever published it.
SENT = ("data", "platforms", "content_type", "response_schema", "parameters")
PLACEHOLDER = re.compile(r"\[[A-Z][A-Z0-9_]{0,31}_[1-9][0-9]{0,8}\]")
#: Content of a file: nothing in it can be told from chance.
BINARY = re.compile(r"data:[^,\s]{0,200};base64,[A-Za-z0-9+/=_\-]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Mask:
    """One intent as a provider may see it, and what its placeholders stand for."""

    #: As it goes out.
    intent: WorkflowIntent
    #: As it came.
    own: WorkflowIntent
    #: Placeholder → value.
    values: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name what the placeholders stand for: another name, other values; empty without any."""
        if not self.values:
            return ""
        text = json.dumps(list(self.values.items()), separators=(",", ":"))
        return blake2b(text.encode(), digest_size=32).hexdigest()

    def reveal(self, text: str) -> str:
        """Put the values back into a text; into one that is JSON as JSON writes them."""
        if not self.values or "[" not in text:
            return text
        fenced = FENCE.fullmatch(text)
        inside = _is_json(text if fenced is None else fenced[1])

        def value_of(found: re.Match[str]) -> str:
            value = self.values.get(found[0])
            if value is None:
                return found[0]
            return json.dumps(value, ensure_ascii=False)[1:-1] if inside else value

        return PLACEHOLDER.sub(value_of, text)

    def hidden(self, text: str) -> str:
        """Replace the values in a text that goes on record, or back to the model."""
        for placeholder, value in self.values.items():
            text = text.replace(value, placeholder)
        return text

    def revealed(self, result: WorkflowResult) -> WorkflowResult:
        """Put the values back into all that a model said."""
        if not self.values:
            return result
        return result.model_copy(
            update={
                "content": self.reveal(result.content),
                "refusal": result.refusal and self.reveal(result.refusal),
                "reasoning_summary": result.reasoning_summary
                and self.reveal(result.reasoning_summary),
                "tool_calls": result.tool_calls and _mapped(result.tool_calls, self.reveal),
                "annotations": result.annotations and _mapped(result.annotations, self.reveal),
            }
        )


class Protection:
    """Replaces what its patterns find; the same for all intents."""

    def __init__(self, kinds: Sequence[str], own: Sequence[ProtectSpec] = ()) -> None:
        """Look for built-in kinds, and first for patterns of one's own."""
        finders = [(one.name, _finder(one.pattern)) for one in own]
        finders += [(name, find) for name, find in FINDERS.items() if name in kinds]
        self._finders = [(name.upper(), find) for name, find in finders]

    def mask(self, intent: WorkflowIntent) -> Mask:
        """Give an intent as a provider may see it."""
        if not self._finders:
            return Mask(intent, intent)
        covering = _Covering(self._finders)
        parts = {name: getattr(intent, name) for name in SENT}
        covering.taken = {one for text in _texts(parts) for one in PLACEHOLDER.findall(text)}
        covered = {
            # A number among parameters is the provider's: a seed, a limit.
            name: _mapped(value, covering.cover, numbers=name == "data")
            for name, value in parts.items()
        }
        if not covering.values:
            return Mask(intent, intent)
        return Mask(intent.model_copy(update=covered), intent, covering.values)


#: Nothing is replaced.
OFF = Protection(())


class _Covering:
    """Gives each value of one intent its placeholder."""

    def __init__(self, finders: Sequence[tuple[str, Finder]]) -> None:
        self._finders = finders
        #: Placeholders that the intent itself writes: they stand for nothing.
        self.taken: set[str] = set()
        self.values: dict[str, str] = {}
        self._known: dict[tuple[str, str], str] = {}
        self._numbers: dict[str, int] = {}

    def cover(self, text: str) -> str:
        if BINARY.fullmatch(text):
            return text
        pieces: list[tuple[str, bool]] = [(text, False)]
        for name, find in self._finders:
            pieces = [one for piece in pieces for one in self._split(piece, name, find)]
        return "".join(piece for piece, _ in pieces)

    def _split(
        self, piece: tuple[str, bool], name: str, find: Finder
    ) -> Iterator[tuple[str, bool]]:
        """Take out what is found; what an earlier pattern has found is left alone."""
        text, is_done = piece
        begin = 0
        for start, end in () if is_done else find(text):
            if start < end:
                yield text[begin:start], False
                yield self._placeholder(name, text[start:end]), True
                begin = end
        yield text[begin:], is_done

    def _placeholder(self, name: str, value: str) -> str:
        known = self._known.get((name, value))
        while known is None or known in self.taken:
            self._numbers[name] = self._numbers.get(name, 0) + 1
            known = f"[{name}_{self._numbers[name]}]"
        self._known[name, value] = known
        self.values[known] = value
        return known


def _finder(pattern: str) -> Finder:
    compiled = re.compile(pattern)

    def find(text: str) -> Iterator[tuple[int, int]]:
        return (found.span() for found in compiled.finditer(text))

    return find


def _mapped(
    value: Any,  # noqa: ANN401 - any value of JSON
    change: Callable[[str], str],
    *,
    numbers: bool = False,
) -> Any:  # noqa: ANN401 - the same
    """Change all texts of a JSON value, names of fields too, and whole numbers as they are written.

    Different names stay different: so are their placeholders.
    """
    match value:
        case str():
            return change(value)
        case int() if numbers and not isinstance(value, bool):
            written = str(value)
            changed = change(written)
            return value if changed == written else changed
        case dict():
            return {
                change(name): _mapped(one, change, numbers=numbers) for name, one in value.items()
            }
        case list():
            return [_mapped(one, change, numbers=numbers) for one in value]
        case _:
            return value


def _texts(value: object) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for name, one in value.items():
                yield name
                yield from _texts(one)
        case list():
            for one in value:
                yield from _texts(one)


def _is_json(text: str) -> bool:
    if not text.lstrip().startswith(("{", "[")):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True

"""What differs between two JSON Schemas of one message, change by change; pure.

Of the keywords that pydantic writes; another one that differs is a change too, and refused.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

__all__ = ["Change", "Kind", "changes_of"]

Schema = Mapping[str, Any]
#: Keywords that bound a value: whether a larger number lets in more.
BOUNDS = {
    "maxLength": True, "maximum": True, "exclusiveMaximum": True, "maxItems": True,
    "minLength": False, "minimum": False, "exclusiveMinimum": False, "minItems": False,
}  # fmt: skip
#: Keywords that say nothing about the values.
WORDS_ONLY = {"$schema", "$defs", "title", "description", "examples"}
#: Keywords that are compared by rules of their own.
KNOWN = {
    "type", "anyOf", "enum", "const", "properties", "required", "items", "prefixItems",
    "additionalProperties", "default", "$ref", *BOUNDS,
}  # fmt: skip


class Kind(Enum):
    """Kinds of change: a name, whether it is refused of an intent, and of what we write."""

    FIELD_MAY_COME = ("may come", False, False)
    FIELD_MUST_COME = ("must come", True, True)
    FIELD_GONE = ("gone", True, True)
    NOW_REQUIRED = ("now required", True, True)
    NO_LONGER_REQUIRED = ("no longer required", False, True)
    WIDER = ("wider", False, True)
    NARROWER = ("narrower", True, True)
    DEFAULT = ("another default", True, True)
    OTHER = ("otherwise", True, True)

    def is_refused(self, *, written_by_others: bool) -> bool:
        """Whether it breaks readers or publishers of the last release."""
        return bool(self.value[1] if written_by_others else self.value[2])


@dataclass(frozen=True)
class Change:
    """One difference: where, and what in one sentence."""

    path: str
    text: str
    kind: Kind = Kind.OTHER

    def __str__(self) -> str:
        """Say where, and what."""
        return f"{self.path}: {self.text}"


def changes_of(name: str, before: Schema, after: Schema) -> list[Change]:
    """List what differs in a message's schema."""
    return list(_Comparison(before, after).of(name, before, after))


class _Comparison:
    """Walks two documents at once; references are followed in each one's own definitions."""

    def __init__(self, before: Schema, after: Schema) -> None:
        self._before, self._after = before, after

    def of(self, path: str, before: Schema, after: Schema) -> Iterator[Change]:
        """Compare two schemas of one place."""
        before, after = self._resolved(self._before, before), self._resolved(self._after, after)
        if before.get("default") != after.get("default"):
            text = (
                f"without it, it is {_json(after, 'default')}, no longer {_json(before, 'default')}"
            )
            yield Change(path, text, Kind.DEFAULT)
        olds, news = self._by_type(self._before, before), self._by_type(self._after, after)
        for kind in sorted(olds.keys() - news.keys()):
            yield Change(path, f"it may no longer be {kind}", Kind.NARROWER)
        for kind in sorted(news.keys() - olds.keys()):
            yield Change(path, f"it may be {kind} now", Kind.WIDER)
        for kind in sorted(olds.keys() & news.keys()):
            yield from self._alike(path, olds[kind], news[kind])

    def _alike(self, path: str, before: Schema, after: Schema) -> Iterator[Change]:
        yield from _words(path, before, after)
        yield from _bounds(path, before, after)
        yield from self._fields(path, before, after)
        yield from self._inside(path, before, after)
        for keyword in sorted((before.keys() | after.keys()) - KNOWN - WORDS_ONLY):
            if before.get(keyword) != after.get(keyword):
                old, new = _json(before, keyword), _json(after, keyword)
                yield Change(path, f"its {keyword} is {new}, no longer {old}")

    def _fields(self, path: str, before: Schema, after: Schema) -> Iterator[Change]:
        olds, news = before.get("properties", {}), after.get("properties", {})
        had, has = set(before.get("required", ())), set(after.get("required", ()))
        for name in sorted(olds.keys() - news.keys()):
            yield Change(f"{path}.{name}", "the field is gone", Kind.FIELD_GONE)
        for name in sorted(news.keys() - olds.keys()):
            new = f"{path}.{name}"
            if name in has:
                yield Change(new, "the field is new, and must be there", Kind.FIELD_MUST_COME)
            else:
                yield Change(new, "the field is new, and may be absent", Kind.FIELD_MAY_COME)
        for name in sorted(olds.keys() & news.keys()):
            if name in has - had:
                yield Change(f"{path}.{name}", "the field must be there now", Kind.NOW_REQUIRED)
            if name in had - has:
                text = "the field may be absent now"
                yield Change(f"{path}.{name}", text, Kind.NO_LONGER_REQUIRED)
            yield from self.of(f"{path}.{name}", olds[name], news[name])

    def _inside(self, path: str, before: Schema, after: Schema) -> Iterator[Change]:
        """Compare what lists and free objects hold."""
        for keyword, place in (("items", "[]"), ("additionalProperties", "{}")):
            old, new = before.get(keyword, True), after.get(keyword, True)
            if isinstance(old, Mapping) and isinstance(new, Mapping):
                yield from self.of(path + place, old, new)
            elif old != new:
                wider = new is True or old is False
                text = f"its {keyword} are {'freer' if wider else 'bound'} now"
                yield Change(path, text, Kind.WIDER if wider else Kind.NARROWER)
        olds, news = before.get("prefixItems", []), after.get("prefixItems", [])
        if len(olds) != len(news):
            yield Change(path, f"it has {len(news)} places, no longer {len(olds)}")
        for number, (old, new) in enumerate(zip(olds, news, strict=False)):
            yield from self.of(f"{path}[{number}]", old, new)

    def _by_type(self, document: Schema, schema: Schema) -> dict[str, Schema]:
        """Give the alternatives of a schema, by the type of value; `any` where all are allowed."""
        found: dict[str, Schema] = {}
        for one in schema.get("anyOf", [schema]):
            alternative = self._resolved(document, one)
            kind = alternative.get("type", "any")
            while kind in found:  # a second alternative of one type
                kind += "'"
            found[kind] = alternative
        return found

    @staticmethod
    def _resolved(document: Schema, schema: Schema) -> Schema:
        reference = schema.get("$ref")
        if reference is None:
            return schema
        target = document["$defs"][reference.removeprefix("#/$defs/")]
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        return {**target, **beside}


def _words(path: str, before: Schema, after: Schema) -> Iterator[Change]:
    """Compare closed lists of words."""
    olds, news = _allowed(before), _allowed(after)
    if olds is None or news is None:
        if olds is not news:
            text = "it may be any word now" if news is None else "only some words are allowed now"
            yield Change(path, text, Kind.WIDER if news is None else Kind.NARROWER)
        return
    for word in sorted(olds - news):
        yield Change(path, f"the word `{word}` is gone", Kind.NARROWER)
    for word in sorted(news - olds):
        yield Change(path, f"the word `{word}` is new", Kind.WIDER)


def _allowed(schema: Schema) -> set[str] | None:
    if "const" in schema:
        return {str(schema["const"])}
    return {str(word) for word in schema["enum"]} if "enum" in schema else None


def _bounds(path: str, before: Schema, after: Schema) -> Iterator[Change]:
    for keyword, larger_is_wider in BOUNDS.items():
        old, new = before.get(keyword), after.get(keyword)
        if old == new:
            continue
        wider = new is None or (old is not None and (new > old) is larger_is_wider)
        text = f"its {keyword} is {_json(after, keyword)}, no longer {_json(before, keyword)}"
        yield Change(path, text, Kind.WIDER if wider else Kind.NARROWER)


def _json(schema: Schema, keyword: str) -> str:
    return json.dumps(schema[keyword]) if keyword in schema else "not set"

"""Intents of dead letters changed before their replay: what is set, and that it stays theirs; pure.

ChangeError   a change that cannot be made; its message says which, and what is allowed
"""

import base64
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from schemas.base import to_camel
from schemas.codec import KNOWN_FIELDS
from schemas.operations import Change
from schemas.outcome import DeadLetter
from streams.publishing.originals import is_wrapped, original_value
from streams.triage.pricing import Refusal

__all__ = [
    "ChangeError",
    "changed",
    "changed_value",
    "described",
    "differences",
    "is_same",
    "read_change",
]

#: Fields of an intent whose own fields are anybody's: there a path may lead to what is not there.
FREE = frozenset({"data", "metadata", "parameters", "response_schema", "trace_context"})
#: These say whose outcome it is: a replay with others would be another intent's.
IDENTITY = ("intent_id", "deduplication_id", "tenant")
#: So long a value is shown.
MOST_SHOWN = 60
WRAPPED = "it came in a CloudEvent, which is not changed"


class ChangeError(ValueError):
    """Raised where a change cannot be made; the message says why."""


def read_change(text: str) -> Change:
    """Read `data.tone=friendly`: a path, and a value as JSON where it is, else as text.

    Raises ChangeError.
    """
    name, equals, value = text.partition("=")
    path = name.strip().split(".")
    if not equals or not all(path):
        message = "write a path and a value, such as data.tone=friendly"
        raise ChangeError(message)
    if path[0] not in KNOWN_FIELDS:
        message = (
            f"an intent has no field {path[0]}: a path begins with one, such as data.{path[0]}"
        )
        raise ChangeError(message)
    _refuse_identity(path[0])
    if len(path) > 1 and _snake(path[0]) not in FREE:
        message = f"{path[0]} has no fields of its own: set it whole"
        raise ChangeError(message)
    try:
        return Change(path=path, value=json.loads(value, parse_constant=_no_number))
    except (ValueError, RecursionError):
        return Change(path=path, value=value)


def _no_number(name: str) -> None:
    raise ValueError(name)


def _refuse_identity(field: str) -> None:
    if _snake(field) in IDENTITY:
        message = f"{field} says whose outcome it is: publish another intent for that"
        raise ChangeError(message)


def _snake(name: str) -> str:
    return re.sub(r"([A-Z])", lambda found: f"_{found[1].lower()}", name)


def described(change: Change) -> str:
    """Say what a change does: `data.tone = "friendly"`, `data.tone is taken out`."""
    if not change.path:
        return "the intent is another"
    name = ".".join(change.path)
    if change.removed:
        return f"{name} is taken out"
    text = json.dumps(change.value, ensure_ascii=False)
    return f"{name} = {text if len(text) <= MOST_SHOWN else text[: MOST_SHOWN - 1] + '…'}"


def changed(letter: DeadLetter, changes: Sequence[Change]) -> DeadLetter | Refusal:
    """Give a dead letter with its intent changed, or why it cannot be; nothing to do: the same."""
    if not changes or letter.is_without_content:  # that it is gone is said where it is read
        return letter
    value = original_value(letter)
    if is_wrapped(letter):
        return Refusal("not_changeable", WRAPPED)
    try:
        before = json.loads(value or b"")
    except (ValueError, RecursionError):
        before = None
    if isinstance(before, dict):
        try:
            after = _applied(before, changes)
        except ChangeError as error:
            return Refusal("not_changeable", str(error))
    elif changes[0].path:
        return Refusal("not_changeable", "the intent is no JSON object: --edit gives another")
    else:
        after = changes[0].value
    return letter if is_same(after, before) else changed_value(letter, after)


def changed_value(letter: DeadLetter, after: Mapping[str, Any]) -> DeadLetter | Refusal:
    """Give a dead letter with another intent, which must be of the same identity, or a refusal."""
    problem = _identity_problem(letter, after)
    if is_wrapped(letter):
        problem = WRAPPED
    if problem is not None:
        return Refusal("not_changeable", problem)
    text = json.dumps(after, ensure_ascii=False, separators=(",", ":"))
    try:
        value = base64.b64encode(text.encode()).decode()
    except UnicodeEncodeError:
        return Refusal("not_unicode", "the JSON holds half of a surrogate pair")
    original = letter.original.model_copy(update={"value": value})
    # Its content is at hand now, wherever it stood.
    update = {"original": original, "by_reference": False, "sealed": None}
    return letter.model_copy(update=update)


def _identity_problem(letter: DeadLetter, after: Mapping[str, Any]) -> str | None:
    """Say what of an intent makes it another than a dead letter's; None = it is the same."""
    if _field(after, "intent_id") not in {None, letter.intent_id}:
        return f"intent_id must be {letter.intent_id}, which its outcome has, or be left out"
    try:
        found = json.loads(original_value(letter) or b"")
    except (ValueError, RecursionError):
        found = None
    before = found if isinstance(found, dict) else None
    if letter.type is None and before is None:  # nobody could read whose it was
        return None
    tenant, name = _field(before or {}, "tenant"), _field(before or {}, "deduplication_id")
    if letter.type is not None:
        tenant, name = letter.tenant, letter.deduplication_id or name
    stated = {"tenant": tenant or "default", "deduplication_id": name}
    for field, was in stated.items():
        new = _field(after, field)
        if (new or "default" if field == "tenant" else new) != was:
            return f"{field} says whose outcome it is: it cannot be changed"
    return None


def _field(document: Mapping[str, Any], name: str) -> Any:  # noqa: ANN401 - any value of JSON
    return document[name] if name in document else document.get(to_camel(name))


def _applied(document: dict[str, Any], changes: Iterable[Change]) -> dict[str, Any]:
    """Give a copy of an intent with the changes; raises ChangeError."""
    after: dict[str, Any] = json.loads(json.dumps(document))
    for change in changes:
        if not change.path:
            after = json.loads(json.dumps(change.value))
            continue
        first = change.path[0]
        if first not in after:  # it may be written in the other case
            snake = _snake(first)
            first = next((one for one in (snake, to_camel(snake)) if one in after), first)
        _put(after, [first, *change.path[1:]], change)
    return after


def _put(inside: Any, path: Sequence[str], change: Change) -> None:  # noqa: ANN401 - JSON
    """Follow a path to its end, and set or take out what is there; raises ChangeError."""
    for number, name in enumerate(path[:-1], start=1):
        at = _place_in(inside, name, path[:number])
        if isinstance(inside, dict) and name not in inside:
            inside[name] = {}
        inside = inside[at]
    at = _place_in(inside, path[-1], path)
    if not change.removed:
        inside[at] = change.value
    elif not isinstance(inside, dict):
        message = f"{'.'.join(path)}: of a list nothing is taken out; set the list"
        raise ChangeError(message)
    else:
        inside.pop(at, None)


def _place_in(inside: Any, name: str, path: Sequence[str]) -> Any:  # noqa: ANN401 - key or index
    where = ".".join(path)
    match inside:
        case dict():
            return name
        case list() if name.isdecimal() and int(name) < len(inside):
            return int(name)
        case list():
            message = f"{where}: the list has {len(inside)} items, which are named 0 and on"
        case _:
            message = f"{where}: what holds it is no object"
    raise ChangeError(message)


def is_same(one: object, other: object) -> bool:
    """Whether two values are the same JSON: to Python 1 is true, and 1.0."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def differences(before: object, after: Mapping[str, Any]) -> list[Change]:
    """Say what was changed between two intents, as deep as objects go; a list is set whole."""
    if not isinstance(before, dict):
        return [Change(path=[], value=dict(after))]
    return list(_differences(before, after, ()))


def _differences(
    before: Mapping[str, Any], after: Mapping[str, Any], at: tuple[str, ...]
) -> Iterable[Change]:
    for name in [*before, *(one for one in after if one not in before)]:
        path = [*at, name]
        if name not in after:
            yield Change(path=path, removed=True)
        elif name not in before:
            yield Change(path=path, value=after[name])
        elif isinstance(before[name], dict) and isinstance(after[name], dict):
            yield from _differences(before[name], after[name], tuple(path))
        elif not is_same(before[name], after[name]):
            yield Change(path=path, value=after[name])

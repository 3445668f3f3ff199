"""docs/messages.md: topics with their keys and messages, and each message's fields."""

from typing import Any

from prose import wrapped

from schemas.export import MESSAGES, WRITTEN_BY_OTHERS, json_schema
from schemas.settings import Settings
from schemas.topics import DAY_MS

__all__ = ["messages"]

HEAD = """
Every record is JSON in UTF-8. Names are written in snake_case and read in snake_case or camelCase;
unknown fields are no error (an intent's are reported: the event `fields_unknown`). Times are RFC
3339 in UTC with milliseconds, durations whole milliseconds (`*_ms`), money a string of US dollars
(`*_usd`) or null where the price is not known. Ignore fields that you do not know: new ones may
come ([what stays as it is](api.md#what-stays-as-it-is)).
"""
FILES = """
For programs: [the AsyncAPI 3 document](schemas/asyncapi.json) of all topics, and beside it a JSON
Schema (draft 2020-12) for each message, linked below. `hybrid schemas export DIR` writes them with
your own prefix. How to write and read records well: [api.md](api.md). Words such as *ledger* are in the [glossary](glossary.md).
"""
#: Topic, by the end of its name → key, where it is not the id of the intent.
KEYS = {
    "intents": "`deduplication_id`, else `intent_id`",
    "urgent": "`deduplication_id`, else `intent_id`",
    "dead-letters": "`intent_id`, else the record's own",
    "deliveries": "`user_id`",
    "alerts": "`tenant`",
}
#: Fields that hold a moment.
TIMES = ("_at", "timestamp", "_until")
INTERNAL = ("ledger", "cache", "spend", "replays", "operations")


def messages() -> str:
    """Give the page."""
    lines = ["# Topics and messages", "", *wrapped(" ".join(HEAD.split())), ""]
    lines += [*wrapped(" ".join(FILES.split())), "", *_topics()]
    for name in MESSAGES:
        lines += ["", *_message(name)]
    return "\n".join(lines) + "\n"


def _topics() -> list[str]:
    topics = Settings().topics
    lines = ["## Topics", "", "| topic | key | message | kept |", "|---|---|---|---|"]
    for spec in topics.specs():
        last = spec.name.rsplit(".", 1)[-1]
        key = "as the intent" if spec.name in topics.deferred else KEYS.get(last, "`intent_id`")
        if last in INTERNAL:
            key = "internal"
        kept = f"{spec.retention_ms / DAY_MS:g} d{', compacted' if spec.compact else ''}"
        lines.append(f"| `{spec.name}` | {key} | [{spec.holds}](#{spec.holds.lower()}) | {kept} |")
    return lines


def _message(name: str) -> list[str]:
    schema = json_schema(name)
    about = " ".join((MESSAGES[name].__doc__ or "").split())
    whose = "Written by you." if name in WRITTEN_BY_OTHERS else "Written by the product."
    lines = [f"## {name}", "", *wrapped(f"{about} {whose} [Schema](schemas/{name}.schema.json).")]
    if "properties" in schema:  # else it is one of several, told apart by a field
        lines += ["", *_fields(schema, schema)]
    for title, part in schema.get("$defs", {}).items():
        if "properties" in part:
            lines += ["", *wrapped(f"**{title}**: {part.get('description', '')}")]
            lines += ["", *_fields(part, schema)]
    return lines


def _fields(part: dict[str, Any], schema: dict[str, Any]) -> list[str]:
    required = set(part.get("required", ()))
    lines = []
    for name, about in part["properties"].items():
        facts = ["time" if name.endswith(TIMES) else _kind(about, schema)]
        if name in required:
            facts.append("required")
        elif about.get("default") not in (None, "", [], {}, 0, False, True):
            facts.append(f"default `{about['default']}`")
        text = " ".join(about.get("description", "").split())
        meaning = f": {text}" if text else ""
        lines += wrapped(f"`{name}` ({', '.join(facts)}){meaning}", first="- ", rest="  ")
    return lines


def _kind(about: dict[str, Any], schema: dict[str, Any]) -> str:
    """Say of what kind a field is, as a reader would."""
    if "anyOf" in about:
        kinds = [_kind(one, schema) for one in about["anyOf"]]
        return " or ".join(dict.fromkeys(kinds))
    if "$ref" in about:
        name = about["$ref"].rsplit("/", 1)[-1]
        target = schema["$defs"][name]
        return _words(target["enum"]) if "enum" in target else name
    if "enum" in about:
        return _words(about["enum"])
    if "const" in about:
        return f"`{str(about['const']).lower()}`"
    if about.get("description") == "US dollars" or about.get("pattern", "").startswith("^-?"):
        return "dollars"
    kind = about.get("type", "any value")
    if kind == "array" and "items" in about:
        return f"list of {_kind(about['items'], schema)}"
    return {"integer": "whole number", "string": "text"}.get(kind, kind)


def _words(words: list[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)

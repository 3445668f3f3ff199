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
For programs: [the AsyncAPI 3.1 document](schemas/asyncapi.json) of all topics, and beside it a JSON
Schema (draft 2020-12) for each message, linked below. `hybrid schemas export DIR` writes them with
your own prefix. How to write and read records well: [api.md](api.md). Words such as *ledger* are in the [glossary](glossary.md).
"""
EVENTS = """
A record on an intents' topic may be a CloudEvent 1.0, by the
[Kafka protocol binding](https://github.com/cloudevents/spec/blob/main/cloudevents/bindings/kafka-protocol-binding.md),
in either form. Nothing has to be set, and a producer of plain JSON notices nothing: what an intent
says itself always holds, and the envelope fills in what it does not say.
"""
FORMS = (
    (
        "**Binary**: headers `ce_specversion` (1.x), `ce_id`, `ce_source` and `ce_type`, all of them; "
        "the value is the intent. With only some of them, or another version, they mean nothing (but "
        "for `ce_traceparent`, which is a trace) and go on to the outcome untouched, as any header "
        "does."
    ),
    (
        "**Structured**: header `content-type: application/cloudevents+json`; the value is the "
        "envelope, and `data` (or `data_base64`) the intent. Other formats, such as "
        "`application/cloudevents+avro` or a batch, are dead-lettered."
    ),
)
#: Attribute → what becomes of it in the intent, and in the outcome.
ATTRIBUTES = (
    ("`id`", "`intent_id`, where it has none", "`ce_causationid`"),
    (
        "`source`",
        "with `id` the `deduplication_id`, `source#id`, where it has neither id",
        "`ce_causationsource`",
    ),
    (
        "`type`",
        "`type`, where it has none: the last part (`com.example.message_generation.v2`)",
        "-",
    ),
    ("`subject`", "`user_id`, where it has none", "-"),
    (
        "`traceparent`",
        "the trace, where there is no header `traceparent` (binary form)",
        "passed on",
    ),
    ("`time`, `dataschema`, `datacontenttype`", "not read: the record's timestamp counts", "-"),
    ("extensions", "not read", "headers `ce_…` are passed on, those in an envelope are not"),
)
OUTCOME = """
The result or the dead letter of such an intent is an event of its own, in binary form:
`ce_id` is its `result_id` or `dead_letter_id`, `ce_source` is `/hybrid/` and the prefix of the
topics, `ce_type` is `hybrid.workflow.result` or `hybrid.workflow.dead-letter`, `ce_subject` the
intent's id, `ce_time` when it ended, `content-type` is `application/json`. The
original's id and source are in `ce_causationid` and `ce_causationsource`. A dead letter's `original`
has value and headers as they came, and a replay is the event that it was. An
envelope that cannot be read ends as one dead letter (`invalid_intent`, code `invalid_cloud_event`)
whose message says what is missing; one that is no JSON is `poison`, as everywhere. The same event in
both forms is the same work, as long as both records have the same key.
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
    lines += [*wrapped(" ".join(FILES.split())), "", *_topics(), "", *_events()]
    for name in MESSAGES:
        lines += ["", *_message(name)]
    return "\n".join(lines) + "\n"


def _events() -> list[str]:
    lines = ["## CloudEvents", "", *wrapped(" ".join(EVENTS.split())), ""]
    for form in FORMS:
        lines += wrapped(form, first="- ", rest="  ")
    lines += ["", "| attribute | in the intent | in the outcome's headers |", "|---|---|---|"]
    lines += [f"| {name} | {intent} | {outcome} |" for name, intent, outcome in ATTRIBUTES]
    return [*lines, "", *wrapped(" ".join(OUTCOME.split()))]


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

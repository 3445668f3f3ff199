"""CloudEvents on Kafka: envelopes are read, outcomes are events, and plain JSON stays what it was."""

import base64
import json
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.deciding.routes import Router
from agents.task import Completed, Failed
from schemas.codec import IntentError
from schemas.outcome import DeadLetter
from schemas.settings import Settings
from schemas.vocabulary import DeadLetterReason, ErrorClass
from streams.lanes.outcome_records import outcome_records
from streams.messages.cloud_events import body_of, opened
from streams.messages.identity import Identified, identify, named, outline
from streams.messages.records import Incoming
from streams.publishing.dead_letters import replayed_record
from streams.publishing.originals import is_wrapped, original_body
from tests.builders import NOW, a_result, a_task, an_incoming

TOPICS = Settings().topics
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
INTENT = {"type": "message_generation", "user_id": "u-1", "data": {"topic": "autumn"}}
BARE = {"data": {"topic": "autumn"}}
EVENT = {
    "specversion": "1.0",
    "id": "e-1",
    "source": "/shop",
    "type": "com.example.message_generation.v2",
    "subject": "u-9",
}
STRUCTURED = (("content-type", b"application/cloudevents+json; charset=UTF-8"),)
ROUTER = Router({"openai": "openai", "azure": "azure"}, ())


def binary(document: Any = BARE, *more: tuple[str, bytes], **changes: str | None) -> Incoming:
    attributes = {**EVENT, **changes}
    headers = tuple((f"ce_{k}", v.encode()) for k, v in attributes.items() if v is not None)
    return an_incoming(json.dumps(document).encode(), headers=(*headers, *more))


def structured(document: Any = BARE, **changes: Any) -> Incoming:
    envelope = {k: v for k, v in ({**EVENT, "data": document} | changes).items() if v is not None}
    return an_incoming(json.dumps(envelope).encode(), headers=STRUCTURED)


def read(incoming: Incoming, **limits: Any) -> Identified:
    return identify(incoming, max_bytes=limits.pop("max_bytes", 10_000), **limits)


def a_letter(
    incoming: Incoming, failed: Failed | None = None
) -> tuple[DeadLetter, dict[str, bytes]]:
    found = read(incoming)
    ended = failed or found.failed
    assert ended is not None
    record = outcome_records(
        TOPICS, incoming, found.who, ended, lane=3, outcome_id="o-1", worker="w", group="g", now=NOW
    ).records[0]
    return DeadLetter.model_validate_json(record.value or b""), dict(record.headers)


@pytest.mark.parametrize("form", [binary, structured])
def test_what_the_intent_does_not_say_the_event_does(form: Any) -> None:
    found = read(form())
    intent = found.who.intent
    assert found.failed is None
    assert intent is not None
    assert (intent.intent_id, intent.type, intent.user_id) == ("e-1", "message_generation", "u-9")
    assert intent.deduplication_id == "/shop#e-1"
    assert found.who.unknown == ()


@pytest.mark.parametrize("form", [binary, structured])
def test_what_the_intent_says_holds(form: Any) -> None:
    own = {"intentId": "i-1", "type": "content_planning", "userId": "u-1", "data": {}}
    intent = read(form(own)).who.intent
    assert intent is not None
    assert (intent.intent_id, intent.type, intent.user_id) == ("i-1", "content_planning", "u-1")
    assert intent.deduplication_id is None
    stated = read(form(BARE | {"deduplication_id": "d"})).who.intent
    assert stated is not None
    assert (stated.intent_id, stated.deduplication_id) == ("e-1", "d")


def test_the_same_event_in_either_form_is_the_same_work_and_another_sources_is_not() -> None:
    first, second = read(binary()).who, read(structured()).who
    assert first.key == second.key
    assert read(binary(source="/other")).who.key != first.key
    long = read(binary(source="/" + "s" * 600)).who
    assert long.key.startswith("sha256:")


@pytest.mark.parametrize("form", [binary, structured])
def test_routes_due_times_and_orders_see_what_is_in_the_envelope(form: Any) -> None:
    incoming = form(BARE | {"tenant": "acme", "type": "content_planning"})
    seen = outline(incoming, ROUTER, max_bytes=10_000)
    assert (seen.tenant, seen.type, seen.route[0]) == ("acme", "content_planning", "azure")
    assert named(incoming, seen).intent_id == "e-1"
    assert outline(incoming, ROUTER, max_bytes=10).tenant == ""


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("message_generation", "message_generation"),
        ("a.b.c", "c"),
        ("a.b.v1.v2", "b"),
        ("v1", "v1"),
    ],
)
def test_a_type_is_the_last_part_of_its_domain_without_its_version(kind: str, wanted: str) -> None:
    intent = read(binary(type=kind)).who.intent
    assert intent is not None
    assert intent.type == wanted


def test_data_may_be_base64_of_json() -> None:
    raw = base64.b64encode(json.dumps(INTENT).encode()).decode()
    assert read(structured(data=None, data_base64=raw)).failed is None
    for bad in ("%", base64.b64encode(b"{").decode()):
        failed = read(structured(data=None, data_base64=bad)).failed
        assert failed is not None
        assert "data_base64" in failed.message


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"id": None}, "no `id`"),
        ({"source": ""}, "no `source`"),
        ({"type": 7}, "no `type`"),
        ({"specversion": None}, "no `specversion`"),
        ({"specversion": "0.3"}, "`specversion` is not 1.0"),
        ({"data": None}, "no `data`"),
        ({"id": "x" * 600}, "`id` has not 1 to 512 signs"),
        ({"type": "com." + "x" * 600}, "`type` has not 1 to 512 signs"),
        ({"subject": "x" * 600}, "`subject` has not 1 to 512 signs"),
    ],
)
def test_a_bad_envelope_is_one_dead_letter_that_says_why(
    changes: dict[str, Any], said: str
) -> None:
    incoming = structured(**changes)
    found = read(incoming)
    assert found.failed is not None
    assert found.failed.reason is DeadLetterReason.INVALID_INTENT
    assert found.failed.code == "invalid_cloud_event"
    assert said in found.failed.message
    letter, headers = a_letter(incoming)
    assert base64.b64decode(letter.original.value or "") == incoming.value
    assert "content-type" not in headers  # of the envelope, not of the dead letter
    assert body_of(incoming.headers, incoming.value) == incoming.value


@pytest.mark.parametrize(
    ("value", "reason", "said"),
    [
        (b"{", "poison", "not JSON"),
        (b"\xff", "poison", "not UTF-8"),
        (None, "poison", "no value"),
        (b"null", "poison", "not an object"),
        (b"[]", "invalid_intent", "not an object"),
        (b"[" * 3000, "poison", "deeper"),
        (b'{"a":' * 500 + b"1" + b"}" * 500, "poison", "deeper"),
        (json.dumps(EVENT | {"data": "text"}).encode(), "poison", "not an object"),
        (json.dumps(EVENT | {"data": {"data": 7}}).encode(), "invalid_intent", "data"),
        (b"x" * 20_000, "invalid_intent", "at most"),
    ],
)
def test_what_is_in_an_envelope_is_judged_as_anything_else(
    value: bytes | None, reason: str, said: str
) -> None:
    failed = read(an_incoming(value, headers=STRUCTURED)).failed
    assert failed is not None
    assert failed.reason.value == reason
    assert said in failed.message


@pytest.mark.parametrize(
    "media", [b"application/cloudevents+avro", b"Application/CloudEvents-batch+json"]
)
def test_a_format_that_is_not_read_is_said(media: bytes) -> None:
    failed = read(an_incoming(b"{}", headers=(("content-type", media),))).failed
    assert failed is not None
    assert "application/cloudevents+json" in failed.message


# ── plain JSON stays what it was ────────────────────────────────────────────────────────────


@pytest.mark.parametrize("missing", ["ce_specversion", "ce_id", "ce_source", "ce_type"])
def test_headers_that_are_no_whole_event_mean_nothing(missing: str) -> None:
    incoming = binary(INTENT)
    headers = tuple(one for one in incoming.headers if one[0] != missing)
    who = read(replace(incoming, headers=headers)).who
    assert (who.event, who.intent and who.intent.deduplication_id) == (None, None)


@pytest.mark.parametrize("version", ["0.3", "2.0", "", "\ufffd"])
def test_a_version_that_is_not_known_means_nothing(version: str) -> None:
    assert read(binary(INTENT, specversion=version)).who.event is None
    unreadable = replace(
        binary(INTENT, specversion=None),
        headers=(*binary(INTENT, specversion=None).headers, ("ce_specversion", b"\xff")),
    )
    assert read(unreadable).who.event is None


def test_a_record_that_is_json_and_no_object_is_named_by_its_place() -> None:
    for plain in (b"null", b"7", b"[]", b'"text"'):
        incoming = an_incoming(plain)
        seen = outline(incoming, ROUTER, max_bytes=10_000)
        assert named(incoming, seen).intent_id == read(incoming).who.intent_id


def test_a_media_type_of_plain_json_is_none_of_an_envelope() -> None:
    incoming = an_incoming(
        json.dumps(INTENT).encode(), headers=(("content-type", b"application/json"),)
    )
    found = read(incoming)
    assert (found.failed, found.who.event) == (None, None)
    done = written(incoming)
    assert done["content-type"] == b"application/json"


name = st.sampled_from(
    ["content-type", "ce_specversion", "ce_id", "ce_source", "ce_type", "ce_subject", "x"]
)
raw = st.one_of(
    st.binary(max_size=20),
    st.sampled_from(
        [b"1.0", b"application/cloudevents+json", b"application/json", b"application/cloudevents"]
    ),
)
leaf = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8))
value = st.recursive(
    leaf,
    lambda one: (
        st.lists(one, max_size=3)
        | st.dictionaries(
            st.sampled_from([*EVENT, "data", "data_base64", "user_id", "x"]), one, max_size=6
        )
    ),
    max_leaves=12,
)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(name, raw), max_size=8),
    st.one_of(st.binary(max_size=40), value.map(lambda one: json.dumps(one).encode())),
)
def test_whatever_headers_and_value_are_a_record_ends_once(
    headers: list[tuple[str, bytes]], body: bytes
) -> None:
    incoming = an_incoming(body, headers=tuple(headers))
    found = read(incoming)
    assert (found.failed is None) == (found.who.intent is not None)
    outline(incoming, ROUTER, max_bytes=10_000)
    named(incoming, outline(incoming, ROUTER, max_bytes=10_000))
    event = None
    with suppress(IntentError):
        event = opened(incoming.headers, incoming.value)
    if event is None:
        assert incoming.body == body
    if found.failed is not None:
        letter, _ = a_letter(incoming)
        assert base64.b64decode(letter.original.value or "") == body


@settings(max_examples=50)
@given(
    st.text(min_size=1, max_size=40),
    st.text(min_size=1, max_size=40),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
)
def test_both_forms_of_an_event_are_read_as_the_same(
    event_id: str, source: str, data: dict[str, int]
) -> None:
    document = {"type": "message_generation", "user_id": "u", "data": data}
    one, other = (form(document, id=event_id, source=source) for form in (binary, structured))
    assert read(one).who.intent == read(other).who.intent is not None


# ── outcomes ────────────────────────────────────────────────────────────────────────────────


def written(incoming: Incoming) -> dict[str, bytes]:
    who = read(incoming).who
    outcome = Completed(a_result(a_task(intent_id=who.intent_id)), None)
    record = outcome_records(
        TOPICS, incoming, who, outcome, lane=3, outcome_id="o-1", worker="w", group="g", now=NOW
    ).records[0]
    assert len({name for name, _ in record.headers}) == len(record.headers)
    return dict(record.headers)


@pytest.mark.parametrize("form", [binary, structured])
def test_a_result_is_an_event_of_its_own_that_names_the_intents(form: Any) -> None:
    headers = written(form())
    result_id = a_result(a_task()).result_id.encode()
    assert {name: raw for name, raw in headers.items() if name.startswith(("ce_", "content"))} == {
        "content-type": b"application/json",
        "ce_specversion": b"1.0",
        "ce_id": result_id,
        "ce_source": b"/hybrid/workflow",
        "ce_type": b"hybrid.workflow.result",
        "ce_subject": b"e-1",
        "ce_time": b"2026-01-31T09:30:00.000Z",
        "ce_causationid": b"e-1",
        "ce_causationsource": b"/shop",
    }


def test_extensions_of_an_event_go_on_to_its_outcome() -> None:
    headers = written(binary(BARE, ("ce_partitionkey", b"p"), ("ce_time", b"2020-01-01T00:00:00Z")))
    assert headers["ce_partitionkey"] == b"p"
    assert headers["ce_time"] != b"2020-01-01T00:00:00Z"


@pytest.mark.parametrize("form", [binary, structured])
def test_a_dead_letter_is_an_event_too_and_its_replay_is_the_event_that_it_was(form: Any) -> None:
    failed = Failed(
        DeadLetterReason.EXHAUSTED,
        ErrorClass.TIMEOUT,
        "c",
        "m",
        retriable=True,
        suggested_action="s",
    )
    letter, headers = a_letter(form(), failed)
    assert (headers["ce_id"], headers["ce_type"]) == (b"o-1", b"hybrid.workflow.dead-letter")
    assert headers["ce_causationid"] == b"e-1"
    again = replayed_record(letter, TOPICS)
    first, second = read(form()).who, read(an_incoming(again.value, headers=again.headers)).who
    assert (second.intent, second.key, second.replay_count) == (first.intent, first.key, 1)
    assert json.loads(original_body(letter) or b"")["intent_id"] == "e-1"


def test_an_intent_that_is_none_in_a_good_envelope_is_a_dead_letter_that_names_the_event() -> None:
    letter, headers = a_letter(structured({"data": 7}))
    assert letter.reason is DeadLetterReason.INVALID_INTENT
    assert (headers["ce_causationid"], headers["content-type"]) == (b"e-1", b"application/json")


def test_a_trace_may_be_an_extension_of_the_event() -> None:
    incoming = binary(BARE, ("ce_traceparent", TRACE.encode()))
    assert incoming.traceparent == TRACE
    assert written(incoming)["traceparent"] == TRACE.encode()
    own = replace(
        incoming, headers=(*incoming.headers, ("traceparent", TRACE.replace("0af", "0be").encode()))
    )
    assert own.traceparent == TRACE.replace("0af", "0be")


def test_an_envelope_is_no_larger_than_it_came_and_halves_of_characters_are_said() -> None:
    """Its escapes made three bytes of text six: refused as too large, by a size nobody sent."""
    envelope = {**EVENT, "data": {"data": {"text": "\u6f22\u5b57" * 1_000}}}
    said = json.dumps(envelope, ensure_ascii=False, separators=(",", ":")).encode()
    incoming = an_incoming(said, headers=STRUCTURED)
    assert read(incoming, max_bytes=len(said)).failed is None
    half = replace(incoming, value=said.replace("\u6f22".encode(), b"\\ud800", 1))
    failed = read(half, max_bytes=2 * len(said)).failed
    assert failed is not None
    assert failed.code == "not_unicode"


def test_an_intent_under_the_type_of_an_envelope_is_not_taken_for_a_plain_one() -> None:
    letter, _ = a_letter(an_incoming(json.dumps(INTENT).encode(), headers=STRUCTURED))
    assert is_wrapped(letter)


def test_the_id_of_a_refused_event_is_not_its_dead_letters() -> None:
    _, headers = a_letter(binary(id=""))
    assert not [name for name in headers if name.startswith("ce_")]

"""Every intent has a trace: of its header, of the ids that it states, or made where it came in."""

import json
from typing import Any

import pytest

from agents.task import Completed, Deferred
from schemas.events import DeferralState
from schemas.settings import Settings
from schemas.tracing import made_traceparent, trace_id_in, traceparent_of
from streams.lanes.outcome_records import outcome_records
from streams.messages.identity import identify
from streams.messages.records import Identity, OutRecord
from streams.messages.traces import with_trace
from tests.builders import NOW, NOW_MS, a_result, a_task, an_attempt, an_incoming

HEADER = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
STATED = {"trace_id": "A" * 32, "span_id": "b" * 16}


def seen(value: bytes = b'{"type": "x", "user_id": "u", "data": {}}', **changes: Any) -> Identity:
    return identify(an_incoming(value, **changes), max_bytes=10_000).who


def test_a_trace_comes_from_the_header_the_intent_or_is_made() -> None:
    assert seen(headers=(("traceparent", HEADER),)).traceparent == HEADER.decode()
    intent = {"type": "x", "user_id": "u", "data": {}, "trace_context": STATED}
    stated = seen(json.dumps(intent).encode())
    assert stated.traceparent == f"00-{'a' * 32}-{'b' * 16}-00"
    assert stated.trace_context is not None
    assert stated.trace_context.trace_id == STATED["trace_id"]
    made = seen()
    assert traceparent_of([("traceparent", (made.traceparent or "").encode())]) == made.traceparent
    assert made.trace_context is not None
    assert made.trace_context.trace_id == (made.traceparent or "").split("-")[1]
    # Also of what cannot be read, and where a header is none.
    assert seen(b"{").traceparent
    assert seen(headers=(("traceparent", b"nonsense"),)).traceparent == made.traceparent


def test_a_trace_that_is_made_is_one_record_s_for_good() -> None:
    assert seen().traceparent == seen().traceparent
    assert seen().traceparent != seen(offset=8).traceparent
    # A deferral comes from elsewhere, and goes on with the same.
    state = DeferralState(
        due_at_ms=NOW_MS, count=1, hop=1, reason="outage", intent_id=seen().intent_id,
        source=an_incoming().source,
    )  # fmt: skip
    headers = (("hybrid-deferral", state.to_json()),)
    later = seen(topic="workflow.deferred.10s", offset=99, headers=headers)
    assert later.traceparent == seen().traceparent


@pytest.mark.parametrize(
    ("trace", "span"),
    [("x" * 32, "b" * 16), ("0" * 32, "0" * 16), ("a" * 31, ""), (None, None)],
)
def test_ids_that_are_none_are_not_taken(trace: str | None, span: str | None) -> None:
    made = made_traceparent(trace, span, origin="here")
    assert traceparent_of([("traceparent", made.encode())]) == made
    assert made.split("-")[1] == made_traceparent(None, None, origin="here").split("-")[1]


def test_every_record_of_an_outcome_has_the_trace_and_the_deferred_intent_stays_as_it_was() -> None:
    who = seen()
    task = a_task(headers=with_trace((), who.traceparent))
    trace = (("traceparent", (who.traceparent or "").encode()),)
    assert task.traceparent == who.traceparent
    assert task.trace_headers == {"traceparent": who.traceparent}

    def written(outcome: Completed | Deferred) -> list[OutRecord]:
        decided = outcome_records(
            Settings().topics, an_incoming(), who, outcome, lane=3, outcome_id="o", worker="w",
            group="g", now=NOW,
        )  # fmt: skip
        return list(decided.records)

    result = a_result(task).model_copy(update={"trace_context": task.trace_context})
    done = written(Completed(result, an_attempt(task)))
    assert {one.headers[-1:] for one in done} == {trace}
    state = DeferralState(
        due_at_ms=NOW_MS, count=1, hop=1, reason="outage", intent_id="i", source=who.source
    )
    put_off = written(Deferred(state=state, topic_index=0))
    names = {one.topic: {name for name, _ in one.headers} for one in put_off}
    assert "traceparent" not in names.pop("workflow.deferred.10s")
    assert all("traceparent" in found for found in names.values())
    events = [json.loads(one.value or b"{}") for one in done if one.topic == "workflow.events"]
    assert {one["trace_context"]["trace_id"] for one in events} == {
        who.traceparent.split("-")[1] if who.traceparent else ""
    }


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (HEADER.decode(), "0af7651916cd43dd8448eb211c80319c"),
        ("0AF7651916cd43dd8448eb211c80319c", "0af7651916cd43dd8448eb211c80319c"),
        ("0" * 32, None),
        ("i-1", None),
    ],
)
def test_a_trace_is_known_by_its_id_and_by_its_header(text: str, found: str | None) -> None:
    assert trace_id_in(text) == found

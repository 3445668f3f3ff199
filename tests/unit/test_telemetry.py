"""Spans: whole traces of what is on record, names of the pinned table, and a collector that fails."""

import asyncio
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.clock import SystemClock, uuid7
from agents.task import Completed, Deferred, Failed, Outcome
from hybrid.errors import UsageError
from hybrid.tracing import build_tracing
from schemas.attempt import ProviderAttempt
from schemas.events import DeferralState
from schemas.settings import Settings
from schemas.vocabulary import DeadLetterReason, ErrorClass, LogEvent
from streams.lanes.outcome_records import outcome_records
from streams.messages.identity import identify
from streams.messages.records import DEFERRAL_HEADER, Decided, Identity, Incoming
from streams.publishing.dead_letters import replayed_record
from streams.telemetry.names import SPANS, Attribute, Form
from streams.telemetry.spans import Begun, Reader, Span
from streams.telemetry.traces import Traces
from tests.builders import NOW, NOW_MS, a_result, a_task, an_attempt, an_incoming
from tests.otlp import Collected, collector

TOPICS = Settings().topics
READER = Reader("workflow.orchestrator", "w-1", {"azure": "azure.ai.openai"})
PUBLISHED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE, PARENT = PUBLISHED.split("-")[1:3]
TELEMETRY = Path(__file__).resolve().parents[2] / "docs/telemetry.md"


class Bits:
    def __init__(self) -> None:
        self._next = 0

    def fraction(self) -> float:
        return 0.5

    def bits(self, count: int) -> int:
        self._next += 1
        return self._next % (1 << count)


@dataclass
class Work:
    who: Identity
    incoming: Incoming
    execution_id: str
    outcome: Outcome | None = None
    decided: Decided | None = None


class Kept:
    """An outbox that keeps what comes."""

    def __init__(self, *, wanted: bool = True) -> None:
        self.spans: list[Span] = []
        self.lost = 0
        self.wanted = wanted
        self.asked: list[Begun] = []

    def samples(self, begun: Begun, _name: str) -> bool:
        self.asked.append(begun)
        return self.wanted

    def put(self, span: Span) -> None:
        self.spans.append(span)

    def count_lost(self, spans: int) -> None:
        self.lost += spans

    def of(self, form: Form) -> list[Span]:
        return [one for one in self.spans if one.form is form]


DICE = Bits()


def a_work(incoming: Incoming, *, executed: bool = True) -> Work:
    who = identify(incoming, max_bytes=10_000).who
    return Work(who, incoming, uuid7(NOW_MS, DICE) if executed else "")


def an_intent_record(headers: tuple[tuple[str, bytes], ...] = (), **fields: Any) -> Incoming:
    intent = {
        "type": "message_generation",
        "user_id": "u-1",
        "data": {"secret": "PROMPT"},
        **fields,
    }
    return an_incoming(json.dumps(intent).encode(), headers=headers)


def a_call(work: Work, number: int = 1, **changes: Any) -> ProviderAttempt:
    task = a_task(execution_id=work.execution_id, intent_id=work.who.intent_id)
    values = {
        "attempt_id": f"{work.execution_id}/{number}",
        "requested_model": "gpt-4o",
        "outcome": "success",
        "call_ms": 40,
        "finished_at": NOW + timedelta(milliseconds=40),
        "usage_source": "provider",
        "uncached_input_tokens": 10,
        "cached_input_tokens": 5,
        "visible_output_tokens": 7,
        "reasoning_tokens": 3,
        "cost_usd": "0.003",
        "user_id": "u-1",
        **changes,
    }
    return ProviderAttempt.model_validate(an_attempt(task).model_dump() | values)


def told(work: Work, outcome: Outcome, kept: Kept, calls: tuple[ProviderAttempt, ...] = ()) -> None:
    """A worker's job from its begin to its commit."""
    traces = Traces(kept, READER, clock=SystemClock(), log=lambda *_, **__: None)
    if work.execution_id:
        traces.begun(work)
    for one in calls:
        traces.ended(one)
    work.outcome = outcome
    work.decided = outcome_records(
        TOPICS, work.incoming, work.who, outcome, lane=3, worker="w-1", group="g", now=NOW,
        outcome_id=uuid7(NOW_MS, DICE),
    )  # fmt: skip
    traces.committed(work)
    assert kept.lost == 0


def failed(**changes: Any) -> Failed:
    values: dict[str, Any] = {
        "reason": DeadLetterReason.EXHAUSTED, "error_class": ErrorClass.TIMEOUT, "code": "timeout",
        "message": "m", "retriable": True, "suggested_action": "s",
    }  # fmt: skip
    return Failed(**{**values, **changes})


def completed(work: Work, **changes: Any) -> Completed:
    return Completed(a_result(a_task(execution_id=work.execution_id)), a_call(work, 2, **changes))


def deferred(work: Work, hop: int = 1) -> Deferred:
    state = DeferralState(
        due_at_ms=NOW_MS + 1000, count=1, hop=hop, reason="rate_limit",
        intent_id=work.who.intent_id, source=work.incoming.source,
    )  # fmt: skip
    return Deferred(0, state)


def whole(spans: list[Span], *, but: frozenset[str] = frozenset()) -> None:
    """Each span's parent is there, in its trace; ids are of one span."""
    ids = {(one.trace_id, one.span_id) for one in spans}
    assert len(ids) == len(spans)
    for one in spans:
        if one.parent_id is not None and one.parent_id not in but:
            assert (one.trace_id, one.parent_id) in ids, one


def test_a_trace_that_a_publisher_began_goes_on_to_the_result_under_its_span() -> None:
    work, kept = a_work(an_intent_record((("traceparent", PUBLISHED.encode()),))), Kept()
    refused = a_call(work, outcome="rate_limit", http_status=429, used_result=False)
    told(work, completed(work, backoff_ms=100, limiter_ms=20), kept, (refused,))
    whole(kept.spans, but=frozenset({PARENT}))
    assert {one.trace_id for one in kept.spans} == {TRACE}
    assert [one.name for one in kept.spans] == [
        "chat gpt-4o", "wait for backoff", "wait for limiter", "chat gpt-4o",
        "process workflow.intents", "send workflow.results",
    ]  # fmt: skip
    process = kept.of(Form.PROCESS)[0]
    assert (process.parent_id, process.error, process.links) == (PARENT, None, ())
    assert {one.parent_id for one in kept.spans if one is not process} == {process.span_id}
    first, second = kept.of(Form.CALL)
    assert first.error == first.attributes["error.type"] == "rate_limit"
    assert (
        second.attributes
        | {
            "gen_ai.usage.input_tokens": 15,
            "gen_ai.usage.output_tokens": 10,
            "gen_ai.provider.name": "openai",
            "hybrid.cost.usd": 0.003,
        }
        == second.attributes
    )
    backoff, limiter = kept.of(Form.WAIT)
    assert backoff.end_ns == limiter.start_ns
    assert limiter.end_ns == second.start_ns == limiter.start_ns + 20_000_000


def test_where_no_publisher_began_one_the_arrival_does_with_the_ids_of_the_log() -> None:
    work, kept = a_work(an_intent_record()), Kept()
    told(work, completed(work), kept)
    whole(kept.spans)
    context = work.who.trace_context
    received = kept.of(Form.RECEIVE)[0]
    assert context is not None
    assert (received.trace_id, received.span_id) == (context.trace_id, context.span_id)
    assert received.parent_id is None
    assert kept.of(Form.PROCESS)[0].parent_id == received.span_id
    assert kept.asked[0].flags is None  # the sampler decides as of a trace's begin


def test_ids_that_an_intent_states_are_the_traces() -> None:
    stated = {"trace_id": TRACE.upper(), "span_id": PARENT}
    work, kept = a_work(an_intent_record(trace_context=stated)), Kept()
    told(work, completed(work), kept)
    assert {one.trace_id for one in kept.spans} == {TRACE}
    assert kept.of(Form.PROCESS)[0].parent_id == PARENT
    assert kept.of(Form.RECEIVE) == []


@pytest.mark.parametrize("published", [True, False])
def test_what_was_put_off_links_to_where_it_was_and_hangs_on_no_earlier_execution(
    published: bool,
) -> None:
    headers = (("traceparent", PUBLISHED.encode()),) if published else ()
    first, kept = a_work(an_intent_record(headers)), Kept()
    told(first, deferred(first), kept)
    assert first.decided is not None
    record = first.decided.records[0]
    again = a_work(an_incoming(record.value, topic=record.topic, offset=9, headers=record.headers))
    told(again, completed(again), kept)
    whole(kept.spans, but=frozenset({PARENT}))
    put_off, result = kept.of(Form.SEND)
    assert put_off.name == "send workflow.deferred.10s"
    one, other = kept.of(Form.PROCESS)
    assert one.parent_id == other.parent_id  # the publisher's, or the arrival's
    assert one.span_id != other.span_id
    (link,) = other.links
    assert (link.trace_id, link.span_id, link.what) == (
        put_off.trace_id,
        put_off.span_id,
        "deferral",
    )
    assert one.links == ()
    assert len(kept.of(Form.RECEIVE)) == (0 if published else 1)
    assert result.name == "send workflow.results"
    assert DEFERRAL_HEADER in dict(record.headers)


@pytest.mark.parametrize("published", [True, False])
def test_a_replay_links_to_its_dead_letter_whatever_its_own_trace_is(published: bool) -> None:
    headers = (("traceparent", PUBLISHED.encode()),) if published else ()
    first, kept = a_work(an_intent_record(headers)), Kept()
    told(first, failed(last_attempt=a_call(first, outcome="timeout", used_result=False)), kept)
    from schemas.outcome import DeadLetter

    letter = DeadLetter.model_validate_json(first.decided.records[0].value)
    record = replayed_record(letter, TOPICS)
    again = a_work(an_incoming(record.value, offset=50, headers=record.headers))
    told(again, completed(again), kept)
    whole(kept.spans, but=frozenset({PARENT}))
    dead = kept.of(Form.SEND)[0]
    assert dead.name == "send workflow.dead-letters"
    (link,) = kept.of(Form.PROCESS)[1].links
    assert (link.trace_id, link.span_id, link.what) == (dead.trace_id, dead.span_id, "replay")
    assert (again.who.trace_context.trace_id == first.who.trace_context.trace_id) is published
    assert kept.of(Form.PROCESS)[0].error == "timeout"


def test_what_is_no_intent_has_a_trace_too() -> None:
    work, kept = a_work(an_incoming(b"{"), executed=False), Kept()
    told(work, failed(reason=DeadLetterReason.POISON, code="not_json"), kept)
    whole(kept.spans)
    assert [one.form for one in kept.spans] == [Form.RECEIVE, Form.PROCESS, Form.SEND]
    assert kept.of(Form.PROCESS)[0].attributes["error.type"] == "poison"


def test_a_trace_that_the_sampler_leaves_out_makes_no_span() -> None:
    work, kept = (
        a_work(an_intent_record((("traceparent", PUBLISHED.encode()),))),
        Kept(wanted=False),
    )
    told(work, completed(work), kept, (a_call(work),))
    assert kept.spans == []
    assert [one.flags for one in kept.asked] == ["01"]


def test_names_are_of_the_pinned_table_and_hold_no_content() -> None:
    """Each attribute of a span is one of its row; prompt, answer and user are nowhere."""
    kept = Kept()
    for published in (True, False):
        headers = (("traceparent", PUBLISHED.encode()),) if published else ()
        first = a_work(an_intent_record(headers, metadata={"m": "PROMPT"}))
        told(first, deferred(first), kept)
        second = a_work(an_intent_record(headers))
        told(second, failed(message="ANSWER"), kept, (a_call(second, outcome="timeout"),))
        third = a_work(an_intent_record(headers, task="embedding", data={"input": ["PROMPT"]}))
        told(third, completed(third, limiter_ms=1, hedge=True, finish_reason="stop"), kept)
    assert {one.form for one in kept.spans} == set(Form)
    for one in kept.spans:
        assert set(one.attributes) <= {name.value for name in SPANS[one.form].attributes}
        text = repr(one)
        assert not re.search("PROMPT|ANSWER|u-1", text)
    assert "embeddings gpt-4o" in {one.name for one in kept.spans}


@settings(max_examples=25)
@given(st.text(), st.text(max_size=2000))
def test_what_a_provider_says_can_be_written_whatever_it_is(model: str, reason: str) -> None:
    work, kept = a_work(an_intent_record()), Kept()
    call = a_call(work).model_copy(update={"served_model": model, "finish_reason": reason})
    told(work, completed(work), kept, (call,))
    attributes = kept.of(Form.CALL)[0].attributes
    for value in (attributes.get("gen_ai.response.model", ""), *attributes.get("gen_ai.response.finish_reasons", ())):  # fmt: skip
        assert len(value.encode()) <= 4 * 1024


def test_each_name_of_opentelemetry_is_one_of_the_pinned_version() -> None:
    from importlib.metadata import version

    from opentelemetry.semconv._incubating.attributes import (
        error_attributes,
        gen_ai_attributes,
        http_attributes,
        messaging_attributes,
    )
    from opentelemetry.semconv.schemas import Schemas

    from streams.telemetry.names import SEMANTIC_CONVENTIONS

    known = {
        value
        for module in (error_attributes, gen_ai_attributes, http_attributes, messaging_attributes)
        for name, value in vars(module).items()
        if name.isupper()
    }
    theirs = {one.value for one in Attribute if not one.value.startswith("hybrid.")}
    assert theirs <= known
    assert version("opentelemetry-semantic-conventions") == "0.66b2"
    newest = max(
        Schemas, key=lambda one: [int(part) for part in one.value.split("/")[-1].split(".")]
    )
    assert newest.value.endswith(f"/{SEMANTIC_CONVENTIONS}")


def test_a_defect_in_a_trace_touches_no_work() -> None:
    kept, lines = Kept(), []
    traces = Traces(kept, READER, clock=SystemClock(), log=lambda event, **_: lines.append(event))
    traces.begun(SimpleNamespace())
    traces.committed(SimpleNamespace(execution_id="", who=None))
    assert (kept.lost, lines) == (2, [LogEvent.SPANS_LOST] * 2)


def test_of_executions_that_are_long_over_none_is_remembered() -> None:
    kept = Kept()
    traces = Traces(kept, READER, clock=SystemClock(), log=lambda *_, **__: None, most=1)
    first, second = (a_work(an_intent_record(intent_id=one)) for one in "ab")
    traces.begun(first)
    traces.begun(second)
    traces.ended(a_call(first))
    assert kept.spans == []
    traces.ended(a_call(second))
    assert len(kept.spans) == 1
    first.outcome = completed(first)
    first.decided = outcome_records(
        TOPICS, first.incoming, first.who, first.outcome, lane=3, worker="w-1", group="g",
        now=NOW, outcome_id=uuid7(NOW_MS, DICE),
    )  # fmt: skip
    traces.committed(first)  # what is committed is told of all the same
    whole(kept.spans[1:])
    assert kept.of(Form.PROCESS)[0].attributes["hybrid.intent.id"] == "a"


def test_an_id_that_two_tenants_share_is_of_two_traces() -> None:
    kept = Kept()
    traces = Traces(kept, READER, clock=SystemClock(), log=lambda *_, **__: None)
    first, second = (a_work(an_intent_record(intent_id="i", tenant=one)) for one in "ab")
    for one in (first, second):
        traces.begun(one)
    for one, tenant in ((first, "a"), (second, "b")):
        traces.ended(a_call(one, tenant=tenant))
    assert [one.trace_id for one in kept.spans] == [
        one.who.trace_context.trace_id for one in (first, second)
    ]


# ── the collector ───────────────────────────────────────────────────────────────────────────


@pytest.fixture
def otlp() -> Iterator[Collected]:
    with collector() as found:
        yield found


def sending(endpoint: str | None, lines: list[Any], **given: Any) -> Any:
    values = {"otel_exporter_otlp_endpoint": endpoint, **given}
    return build_tracing(
        Settings.model_validate(values), worker="w-1", clock=SystemClock(),
        log=lambda event, **fields: lines.append((event, fields)),
    )  # fmt: skip


def run_intents(tracing: Any, count: int) -> float:
    """Jobs from begin to commit, as a worker tells of them; gives the seconds of the loop."""
    began = time.perf_counter()
    for number in range(count):
        work = a_work(an_intent_record(intent_id=f"i-{number}"))
        tracing.traces.begun(work)
        work.outcome = completed(work)
        work.decided = outcome_records(
            TOPICS, work.incoming, work.who, work.outcome, lane=3, worker="w-1", group="g",
            now=NOW, outcome_id=uuid7(NOW_MS, DICE),
        )  # fmt: skip
        tracing.traces.committed(work)
    return time.perf_counter() - began


def test_spans_arrive_with_the_ids_that_records_have(otlp: Collected) -> None:
    tracing = sending(otlp.endpoint, [])
    run_intents(tracing, 3)
    asyncio.run(tracing.collector.close())
    assert (tracing.collector.exported, tracing.collector.lost) == (12, 0)
    assert len(otlp.spans) == 12
    assert otlp.paths == {"/v1/traces"}
    ids = {(one.trace_id, one.span_id) for one in otlp.spans}
    assert all(one.parent_id == "" or (one.trace_id, one.parent_id) in ids for one in otlp.spans)
    for one in otlp.spans:
        assert one.resource["service.name"] == "hybrid-orchestrator"
        assert one.resource["service.instance.id"] == "w-1"
        assert one.schema_url == "https://opentelemetry.io/schemas/1.44.0"
    assert {one.kind for one in otlp.spans} == {"consumer", "client", "producer"}


@pytest.mark.parametrize("answer", [500, "hang", "refused"])
def test_a_collector_that_takes_nothing_holds_nothing_up(
    otlp: Collected, answer: str | int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    monkeypatch.setattr("streams.telemetry.exporting.FLUSH_LIMIT_S", 0.3)
    otlp.answer = answer
    lines: list[Any] = []
    endpoint = "http://127.0.0.1:1" if answer == "refused" else otlp.endpoint
    tracing = sending(endpoint, lines, otel_bsp_max_queue_size=20)
    run_intents(tracing, 20)
    began = time.monotonic()
    asyncio.run(tracing.collector.close())
    assert time.monotonic() - began < 2
    assert tracing.collector.exported == 0
    assert tracing.collector.lost == 80
    events = [event for event, _ in lines]
    assert set(events) == {LogEvent.SPANS_LOST}
    assert len(events) <= 2  # not one for each batch


def test_the_variables_of_opentelemetry_say_what_is_sent(
    otlp: Collected, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "writers")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=prod")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
    tracing = sending(None, [], otel_exporter_otlp_traces_endpoint=f"{otlp.endpoint}/mine")
    run_intents(tracing, 40)
    asyncio.run(tracing.collector.close())
    traces = otlp.traces()
    assert 5 < len(traces) < 35
    assert {len(spans) for spans in traces.values()} == {4}  # whole, or not at all
    assert otlp.paths == {"/mine"}
    resource = otlp.spans[0].resource
    assert (resource["service.name"], resource["deployment.environment.name"]) == (
        "writers",
        "prod",
    )


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"otel_traces_exporter": "zipkin"}, "OTEL_TRACES_EXPORTER = zipkin: must be otlp or none"),
        (
            {"otel_exporter_otlp_protocol": "grpc"},
            "OTEL_EXPORTER_OTLP_PROTOCOL = grpc: must be http",
        ),
    ],
)
def test_what_cannot_be_done_is_said_at_start(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=re.escape(sentence)):
        sending("http://127.0.0.1:1", [], **given)


def test_without_the_extra_its_name_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(UsageError, match=r"pip install 'hybrid-orchestrator\[otel\]'"):
        sending("http://127.0.0.1:1", [])


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"otel_exporter_otlp_endpoint": "http://c:4318", "otel_sdk_disabled": "true"},
        {"otel_exporter_otlp_endpoint": "http://c:4318", "otel_traces_exporter": "none"},
    ],
)
def test_switched_off_nothing_is_built(values: dict[str, Any]) -> None:
    found = build_tracing(
        Settings.model_validate(values),
        worker="w",
        clock=SystemClock(),
        log=lambda *_, **__: None,
    )
    assert found is None


def test_an_address_with_a_login_is_refused() -> None:
    with pytest.raises(ValueError, match="OTEL_EXPORTER_OTLP_HEADERS"):
        Settings.model_validate({"otel_exporter_otlp_endpoint": "http://me:pw@c:4318"})

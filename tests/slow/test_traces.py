"""Whole traces at a collector, of real processes: each ending, over a kill and over a replay."""

import os
import signal
import uuid
from collections.abc import Iterator

import pytest

from streams.telemetry.names import SPANS
from tests.chaos.running import RunningStack, running_stack
from tests.integration.driving import Case, eventually
from tests.integration.test_commands import hybrid
from tests.otlp import Collected, Taken, collector

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

RETRIES = 2
#: A worker that was killed starts anew; on a busy machine that takes its time.
LONG_S = 150


@pytest.fixture(scope="module")
def otlp() -> Iterator[Collected]:
    with collector() as found:
        yield found


@pytest.fixture(scope="module")
def traced(otlp: Collected) -> Iterator[RunningStack]:
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": otlp.endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "HYBRID_RETRY_DELAYS": "0.1,0.2",
    }
    with running_stack(workers=1, environment=environment, partitions=3) as running:
        yield running


def a_parent() -> tuple[dict[str, bytes], str, str]:
    trace, span = uuid.uuid4().hex, uuid.uuid4().hex[:16]
    return {"traceparent": f"00-{trace}-{span}-01".encode()}, trace, span


def told(otlp: Collected, intent_id: str, *names: str) -> list[Taken]:
    """The intent's spans, once those of these names have come; each parent is there."""
    spans: list[Taken] = eventually(
        lambda: otlp.of_intent(intent_id),
        lambda found: set(names) <= {one.name for one in found},
        within_s=LONG_S,
    )
    return spans


def is_whole(spans: list[Taken], *, publisher: str = "") -> None:
    ids = {one.span_id for one in spans}
    assert len(ids) == len(spans)
    for one in spans:
        assert one.parent_id in ids | {publisher, ""}, one
        assert one.parent_id or one.name.startswith("receive ")
        assert one.end_ns >= one.start_ns > 0
        form = next(
            form for form in SPANS.values() if form.kind == one.kind and fits(form.name, one)
        )
        assert set(one.attributes) <= {name.value for name in form.attributes}


def fits(form: str, one: Taken) -> bool:
    first = one.name.split(" ")[0]
    return first in form.split(" ", maxsplit=1)[0].strip("{}").split("|")


def calls_of(spans: list[Taken]) -> list[Taken]:
    return sorted((one for one in spans if one.kind == "client"), key=lambda one: one.start_ns)


def test_a_success_is_one_trace_from_the_publisher_to_the_result(
    traced: RunningStack, otlp: Collected
) -> None:
    traced.set_faults({"openai": {"latency_ms": 5}, "azure": {"latency_ms": 5}})
    case = Case(traced)
    headers, trace, span = a_parent()
    case.publish(case.intent(), headers=headers)
    result = case.result()
    spans = told(otlp, f"{case.name}-1", "send workflow.results")
    is_whole(spans, publisher=span)
    assert {one.trace_id for one in spans} == {trace} == {result["trace_context"]["trace_id"]}
    (call,) = calls_of(spans)
    assert call.attributes["hybrid.attempt.id"] == case.calls()[0]["attempt_id"]
    assert call.attributes["gen_ai.usage.output_tokens"] == result["cost_info"]["output_tokens"]
    send = next(one for one in spans if one.kind == "producer")
    assert send.attributes["hybrid.outcome.id"] == result["result_id"]


def test_where_nobody_began_a_trace_it_begins_with_the_arrival_under_the_ids_of_the_record(
    traced: RunningStack, otlp: Collected
) -> None:
    case = Case(traced)
    case.publish(case.intent())
    context = case.result()["trace_context"]
    spans = told(otlp, f"{case.name}-1", "send workflow.results", "receive workflow.intents")
    is_whole(spans)
    root = next(one for one in spans if not one.parent_id)
    assert (root.trace_id, root.span_id) == (context["trace_id"], context["span_id"])


def test_each_retry_and_the_fallback_are_calls_of_one_trace_with_their_waits(
    traced: RunningStack, otlp: Collected
) -> None:
    traced.set_faults({"openai": {"plan": ["500"] * 3}, "azure": {"latency_ms": 5}})
    case = Case(traced)
    headers, trace, span = a_parent()
    case.publish(case.intent(), headers=headers)
    assert case.result()["provider"] == "azure"
    spans = told(otlp, f"{case.name}-1", "send workflow.results")
    is_whole(spans, publisher=span)
    calls = calls_of(spans)
    assert [one.attributes["hybrid.provider"] for one in calls] == ["openai"] * 3 + ["azure"]
    assert [one.attributes["hybrid.attempt.id"] for one in calls] == [
        one["attempt_id"] for one in case.calls()
    ]
    assert [one.is_error for one in calls] == [True] * 3 + [False]
    assert calls[-1].attributes["gen_ai.provider.name"] == "azure.ai.openai"
    waits = [one for one in spans if one.name == "wait for backoff"]
    assert len(waits) == RETRIES
    assert all(one.end_ns - one.start_ns >= 90_000_000 for one in waits)
    assert {one.trace_id for one in spans} == {trace}


def test_a_deferral_over_a_kill_is_linked_and_no_parent(
    traced: RunningStack, otlp: Collected
) -> None:
    long = {"plan": ["429"], "retry_after": "6"}
    traced.set_faults({"openai": long, "azure": long})
    case = Case(traced)
    headers, trace, span = a_parent()
    case.publish(case.intent(), headers=headers)
    first = told(otlp, f"{case.name}-1", "process workflow.intents")
    put_off = next(one for one in first if one.kind == "producer")
    assert put_off.name.startswith("send workflow.deferred.")
    os.kill(traced.pids()[0], signal.SIGKILL)
    traced.set_faults({"openai": {"latency_ms": 5}, "azure": {"latency_ms": 5}})
    case.wait(1, within_s=LONG_S)
    spans = told(otlp, f"{case.name}-1", "send workflow.results")
    is_whole(spans, publisher=span)
    assert {one.trace_id for one in spans} == {trace}
    executions = sorted(
        (one for one in spans if one.name.startswith("process ")), key=lambda one: one.start_ns
    )
    assert {one.parent_id for one in executions} == {span}
    assert executions[1].links == ((trace, put_off.span_id, "deferral"),)


def test_a_dead_letter_and_its_replay_are_linked_each_whole(
    traced: RunningStack, otlp: Collected
) -> None:
    traced.set_faults({"openai": {"plan": ["400"]}, "azure": {}})
    case = Case(traced)
    case.publish(case.intent())
    letter = case.dead_letter()
    dead = told(otlp, f"{case.name}-1", "send workflow.dead-letters")
    is_whole(dead)
    assert (
        next(one for one in dead if one.kind == "producer").trace_id
        == (letter["trace_context"]["trace_id"])
    )
    assert next(one for one in dead if one.name.startswith("process ")).is_error
    done = hybrid(
        "dlq", "replay", "--id", letter["dead_letter_id"], "--yes",
        environment=traced.stack.environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    case.wait(2)
    spans = told(otlp, f"{case.name}-1", "send workflow.results")
    is_whole(spans)
    replay = [one for one in spans if one.attributes.get("hybrid.replay.count") == 1]
    written = next(one for one in dead if one.kind == "producer")
    assert replay[0].links == ((written.trace_id, written.span_id, "replay"),)
    assert replay[0].trace_id != written.trace_id


def test_all_spans_of_the_worker_are_counted_and_none_was_lost(
    traced: RunningStack, otlp: Collected
) -> None:
    assert 'hybrid_spans_total{state="lost"} 0.0' in traced.metrics(0)
    assert 'hybrid_spans_total{state="exported"} 0.0' not in traced.metrics(0)
    seen = {next(one for one in SPANS if fits(SPANS[one].name, taken)) for taken in otlp.spans}
    assert seen == set(SPANS)

"""What a worker counts, and how `/metrics` shows it: text for all, OpenMetrics for who asks."""

import asyncio
import urllib.request
from decimal import Decimal
from typing import Any
from unittest.mock import MagicMock

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as open_metrics,
)
from prometheus_client.parser import text_string_to_metric_families as plain_text

from agents.capacity.breaker import BreakerPolicy
from agents.capacity.limiter import ProviderLimits
from agents.capacity.turns import Capacity
from agents.clock import ManualClock
from agents.deciding.failures import Failure, FailureKind
from agents.task import Completed, Deferred, Failed
from hybrid.metrics import serve_metrics
from hybrid.stack.process import free_port
from hybrid.worker_metrics import WorkerMetrics
from schemas.events import DeferralState
from schemas.intent import TraceContext
from schemas.outcome import Timings
from schemas.vocabulary import DeadLetterReason, ErrorClass
from streams.worker.tallies import CALL_BOUNDS_S, Spread, Tallies
from tests.builders import NOW, a_result, a_task, an_attempt

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
ASKED = "application/openmetrics-text; version=1.0.0"


def a_call(**changes: Any) -> Any:
    values = {
        "outcome": "success", "call_ms": 700, "limiter_ms": 250, "cost_usd": Decimal("0.25"),
        "uncached_input_tokens": 30, "visible_output_tokens": 12, "finished_at": NOW,
        "trace_context": TraceContext(trace_id=TRACE),
    }  # fmt: skip
    made = an_attempt(a_task()).model_dump() | values | changes
    return type(an_attempt(a_task())).model_validate(made)


def some() -> Tallies:
    tallies, task = Tallies(), a_task()
    timings, context = Timings(total_ms=1_500), TraceContext(trace_id=TRACE)
    result = a_result(task).model_copy(update={"timings": timings, "trace_context": context})
    tallies.note_outcome(Completed(result, a_call()))
    tallies.note_attempt(a_call(status="started"))
    tallies.note_attempt(a_call(outcome="timeout", cost_usd=None, call_ms=30_000))
    failed = Failed(DeadLetterReason.BUDGET, ErrorClass.UNKNOWN, "c", "m", retriable=True, suggested_action="")  # fmt: skip
    tallies.note_outcome(failed)
    state = DeferralState(due_at_ms=0, count=0, hop=1, reason="batch", intent_id="i", source=task.source)  # fmt: skip
    tallies.note_outcome(Deferred(0, state))
    return tallies


def test_what_is_committed_and_called_is_counted_once() -> None:
    tallies = some()
    assert tallies.outcomes == {"completed": 1, "failed": 1, "deferred": 1}
    assert (tallies.dead_letters, tallies.deferrals) == ({"budget": 1}, {"batch": 1})
    assert tallies.attempts == {("openai", "success"): 1, ("openai", "timeout"): 1}
    assert tallies.tokens["openai", "uncached_input"] == 60
    assert (tallies.usd, tallies.unpriced) == ({"openai": Decimal("0.25")}, {"openai": 1})
    assert tallies.waited_s["limiter"] == 0.5


def test_a_time_is_within_its_bound_and_all_that_are_larger() -> None:
    spread = Spread((1.0, 2.0))
    for seconds in (0.5, 1.0, 1.5, 7.0):
        spread.note(seconds, trace_id=TRACE, at=9.0)
    spread.note(0.25, trace_id="", at=9.0)
    assert [(bound, count) for bound, count, _ in spread.buckets()] == [
        (1.0, 3), (2.0, 4), (float("inf"), 5),
    ]  # fmt: skip
    assert [seen.value for _, _, seen in spread.buckets() if seen] == [1.0, 1.5, 7.0]
    assert spread.sum == 10.25


def test_a_trace_of_somebody_elses_making_is_no_exemplar() -> None:
    tallies = Tallies()
    tallies.note_attempt(a_call(trace_context=TraceContext(trace_id="x" * 128)))
    tallies.note_attempt(a_call(trace_context=None))
    assert not any(seen for _, _, seen in tallies.calls["openai"].buckets())


def served(accept: str | None) -> tuple[str, str]:
    """Give what a worker's address answers, and what it calls that."""
    clock = ManualClock(NOW)
    limits = {"openai": ProviderLimits(in_flight=8), "azure": ProviderLimits()}
    capacity = Capacity(limits, BreakerPolicy(), clock=clock)
    for _ in range(2):
        capacity.end(capacity.take("azure", 1), Failure(FailureKind.AUTH, "c", "m"), tokens=1)
    worker = MagicMock(tallies=some(), capacity=capacity, lanes={}, providers=[])

    async def ask() -> tuple[str, str]:
        port = free_port()
        runner = await serve_metrics(WorkerMetrics(worker), port=port, ready=lambda: True)
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/metrics", headers={"Accept": accept} if accept else {}
        )

        def read() -> tuple[str, str]:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.read().decode(), answer.headers["Content-Type"]

        try:
            return await asyncio.to_thread(read)
        finally:
            assert runner
            await runner.cleanup()

    return asyncio.run(ask())


@pytest.mark.parametrize("accept", [None, "text/plain", "*/*"])
def test_who_asks_for_nothing_gets_text(accept: str | None) -> None:
    text, kind = served(accept)
    assert kind.startswith("text/plain; version=")
    assert "# {" not in text, "exemplars are for OpenMetrics"
    found = {one.name: one for one in plain_text(text)}
    states = {
        tuple(one.labels.values()): one.value for one in found["hybrid_provider_state"].samples
    }
    assert states["azure", "down"] == states["openai", "closed"] == 1
    assert states["azure", "closed"] == 0
    limits = {
        one.labels["provider"]: one.value
        for one in found["hybrid_provider_in_flight_limit"].samples
    }
    assert limits == {"openai": 8}


def test_who_asks_for_open_metrics_gets_a_trace_to_look_at_with_each_bucket() -> None:
    text, kind = served(ASKED)
    assert kind.startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n")
    found = {one.name: one for one in open_metrics(text)}
    calls = [one for one in found["hybrid_call_seconds"].samples if one.name.endswith("_bucket")]
    assert len(calls) == len(CALL_BOUNDS_S) + 1
    shown = [one.exemplar for one in calls if one.exemplar]
    assert [(one.labels, one.value) for one in shown] == [
        ({"trace_id": TRACE}, 0.7), ({"trace_id": TRACE}, 30.0),
    ]  # fmt: skip
    (spent,) = found["hybrid_cost_usd"].samples
    assert (spent.labels, spent.value) == ({"provider": "openai"}, 0.25)
    assert {float(one.timestamp) for one in shown} == {NOW.timestamp()}

"""`hybrid status` on a running stack."""

import json
from typing import Any

import pytest

from hybrid.stack.process import free_port
from tests.chaos.running import RunningStack
from tests.integration.driving import Case, eventually
from tests.integration.test_commands import hybrid

pytestmark = pytest.mark.integration


def test_what_waits_runs_and_was_spent_is_seen(stack: RunningStack) -> None:
    refusing = {"always": "429", "retry_after": "4"}
    stack.set_faults({"openai": refusing, "azure": refusing})
    case = Case(stack)
    case.publish(case.intent())
    metrics = [f"--metrics={one}" for one in stack.stack.addresses()["metrics"]]
    environment = stack.stack.environment()

    def seen() -> dict[str, Any]:
        done = hybrid("status", "--format", "json", *metrics, environment=environment)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    waits = eventually(
        seen, lambda one: sum(n for name, n in one["in_line"].items() if "deferred" in name) == 1
    )
    assert waits["next_due_at"] is not None
    assert {one["name"] for one in waits["workers"][0]["providers"]} >= {"openai", "azure"}
    assert waits["unknown"] == {}
    stack.set_faults({"openai": {"latency_ms": 5}, "azure": {"latency_ms": 5}})
    case.wait(1)
    after = eventually(seen, lambda one: not sum(one["in_line"].values()))
    assert after["spend_today"]["calls"] >= 1


def test_what_does_not_answer_is_unknown_with_its_reason(stack: RunningStack) -> None:
    gone = f"http://127.0.0.1:{free_port()}"
    environment = {**stack.stack.environment(), "CLICKHOUSE_URL": f"{gone}/hybrid"}
    done = hybrid("status", f"--metrics={gone}/metrics", environment=environment)
    assert done.returncode == 0
    assert "in flight    –" in done.stdout
    assert f"– workers: {gone}/metrics does not answer" in done.stdout
    assert "– spend: ClickHouse at" in done.stdout
    refused = hybrid("status", "--metrics", "worker-1:9464", environment=environment)
    assert (refused.returncode, "write an address like" in refused.stderr) == (2, True)


def test_the_cost_questions_filter_with_the_same_words(stack: RunningStack) -> None:
    case = Case(stack)
    case.publish(case.intent(tenant=case.name))
    case.wait(1)
    environment = stack.stack.environment()
    filters = ("--tenant", case.name, "--provider", "openai", "--type", "message_generation")

    def calls(command: str) -> list[dict[str, Any]]:
        done = hybrid("costs", command, *filters, "--format", "json", environment=environment)
        assert done.returncode == 0, done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found

    assert eventually(lambda: calls("report"), bool)[0]["calls"] == 1
    assert [row["intent_id"] for row in calls("top")] == [f"{case.name}-1"]
    # What it was recorded of is another topic's: it may come after the call.
    phases = eventually(lambda: {row["phase"] for row in calls("latency")}, bool)
    assert phases >= {"queue", "provider"}
    assert calls("reliability")[0]["calls"] == 1
    assert calls("wasted") == []
    none = hybrid("costs", "top", *filters, "--model", "none", environment=environment)
    assert none.stdout.startswith("nothing is on record for that: leave out a filter")
    early = hybrid("costs", "top", *filters, "--until", "1d", environment=environment)
    assert early.stdout.startswith("nothing is on record for that")

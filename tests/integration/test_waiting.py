"""Urgent work does not wait behind the rest; deferred work comes back when it is due."""

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from streams.publishing.intents import open_producer
from tests.chaos.oracle import read_lag
from tests.chaos.running import RunningStack
from tests.integration.driving import Case, eventually
from tests.integration.test_commands import hybrid

pytestmark = pytest.mark.integration
#: Several times as many as are called for at once.
SLOW = 160


def told(case: Case, intent_id: str) -> dict[str, Any]:
    """What `hybrid trace` says of an intent."""
    environment = case.stack.stack.environment()
    done = hybrid("trace", intent_id, "--format", "json", environment=environment)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def case(stack: RunningStack) -> Case:
    stack.set_faults({"openai": {"latency_ms": 5}, "azure": {"latency_ms": 5}})
    return Case(stack)


def test_an_urgent_intent_starts_within_a_second_while_every_slot_is_busy(case: Case) -> None:
    settings = case.stack.settings
    slow = [case.intent({"note": "[[sim:latency_ms=1500]]"}) for _ in range(SLOW)]
    case.publish(*slow)
    eventually(case.calls, lambda calls: len(calls) >= 40)

    async def publish_urgent() -> tuple[str, float]:
        intent = case.intent({"note": "[[sim:latency_ms=10]]"}, priority="critical")
        async with open_producer(settings) as client:
            await client.send_and_wait(
                settings.topics.urgent,
                value=json.dumps(intent).encode(),
                key=intent["intent_id"].encode(),
            )
        return intent["intent_id"], time.time()

    identifier, at = asyncio.run(publish_urgent())
    calls = eventually(
        case.calls, lambda found: any(one["intent"] == identifier for one in found), within_s=30
    )
    begun = next(one["at"] for one in calls if one["intent"] == identifier)
    assert begun - at < 1.0
    assert len({one["intent"] for one in calls}) < SLOW, "the ordinary ones are still waiting"
    case.wait(SLOW + 1, within_s=90)


def test_a_deferred_intent_is_tried_again_within_a_second_of_its_time(case: Case) -> None:
    case.stack.set_faults(
        {"openai": {"plan": ["401"], "latency_ms": 5}, "azure": {"plan": ["401"], "latency_ms": 5}}
    )
    case.publish(case.intent())
    case.result()
    first, second, third = sorted(one["at"] for one in case.calls())
    assert second - first < 0.5
    assert 1.0 <= third - second < 2.0 + 0.2


def test_an_intent_starts_at_its_own_time_and_not_before(case: Case) -> None:
    """Over several hops: the stack's deferred topics wait for 1, 2 and 4 s."""
    start = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=9)
    first = case.intent(not_before=start.isoformat())
    case.publish(first, case.intent(not_before="2020-01-01T00:00:00Z"))
    eventually(case.calls, lambda calls: len(calls) == 1)
    story = told(case, first["intent_id"])
    assert story["status"] == "deferred"
    assert story["due_at"] == start.isoformat(timespec="milliseconds")[:-6] + "Z"
    assert story["headline"].endswith("its not_before has not come")
    found = case.wait(2)
    (begun,) = [one["at"] for one in case.calls() if one["intent"] == first["intent_id"]]
    assert 0 <= begun - start.timestamp() < 1
    result = found.results[first["intent_id"]][0]
    assert result["timings"]["total_ms"] < 1_500, "its own wait is no wait of ours"


def test_what_cannot_wait_for_its_time_ends_at_once_with_a_sentence(case: Case) -> None:
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    wrong = [
        case.intent(not_before="soon"),
        case.intent(not_before=later, deadline_ms=1_000),
        case.intent(not_before="2999-01-01T00:00:00Z"),
    ]
    case.publish(*wrong)
    letters = [case.wait(3).dead_letters[one["intent_id"]][0] for one in wrong]
    assert [one["reason"] for one in letters] == ["invalid_intent"] * 3
    assert "as RFC 3339 writes it" in letters[0]["error_message"]
    assert "not before the deadline" in letters[1]["error_message"]
    assert "more than 366 days" in letters[2]["error_message"]
    assert case.calls() == []


def test_a_duplicate_of_a_deferred_intent_waits_with_it(case: Case) -> None:
    case.stack.set_faults(
        {"openai": {"plan": ["401"], "latency_ms": 5}, "azure": {"plan": ["401"], "latency_ms": 5}}
    )
    intent = case.intent()
    case.publish(intent)
    eventually(case.calls, lambda calls: len(calls) == 2)
    case.publish(intent)
    case.result()
    assert len(case.calls()) == 3
    assert not case.outcomes().doubled()


def test_the_oracle_of_lag_sees_what_is_not_done_yet(case: Case) -> None:
    """The chaos runs end with it: it must be able to say something else than 0."""
    case.publish(case.intent({"note": "[[sim:latency_ms=2500]]"}))
    eventually(lambda: asyncio.run(read_lag(case.stack.settings)), lambda lag: lag == 1)
    case.result()
    eventually(lambda: asyncio.run(read_lag(case.stack.settings)), lambda lag: lag == 0)

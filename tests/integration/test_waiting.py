"""Urgent work does not wait behind the rest; deferred work comes back when it is due."""

import asyncio
import json
import time

import pytest

from streams.publishing.intents import open_producer
from tests.chaos.oracle import read_lag
from tests.chaos.running import RunningStack
from tests.integration.driving import Case, eventually

pytestmark = pytest.mark.integration


@pytest.fixture
def case(stack: RunningStack) -> Case:
    stack.set_faults({"openai": {"latency_ms": 5}, "azure": {"latency_ms": 5}})
    return Case(stack)


def test_an_urgent_intent_starts_within_a_second_while_every_slot_is_busy(case: Case) -> None:
    settings = case.stack.settings
    slow = [case.intent({"note": "[[sim:latency_ms=1500]]"}) for _ in range(400)]
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
    assert len({one["intent"] for one in calls}) < 400, "the ordinary ones are still waiting"
    case.wait(401, within_s=90)


def test_a_deferred_intent_is_tried_again_within_a_second_of_its_time(case: Case) -> None:
    case.stack.set_faults(
        {"openai": {"plan": ["401"], "latency_ms": 5}, "azure": {"plan": ["401"], "latency_ms": 5}}
    )
    case.publish(case.intent())
    case.result()
    first, second, third = sorted(one["at"] for one in case.calls())
    assert second - first < 0.5
    assert 1.0 <= third - second < 2.0 + 0.2


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

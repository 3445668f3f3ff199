"""Workers that end by what they work on: an intent that kills them, and nothing but dead letters."""

import asyncio
import json

import pytest

from streams.kafka.reading import read_topic
from tests.chaos.running import RunningStack, running_stack
from tests.integration.driving import Case, eventually

pytestmark = pytest.mark.integration


@pytest.mark.timeout(240)
def test_an_intent_that_kills_its_workers_is_taken_out_of_circulation(stack: RunningStack) -> None:
    """Every worker dies at its first call: after four deaths the intent ends without a fifth."""
    environment = {"HYBRID_FAIL_POINT": "after_started_journalled:1"}
    with running_stack(workers=1, environment=environment, partitions=4, host=stack) as running:
        case = Case(running)
        case.publish(case.intent())
        letter = case.dead_letter(within_s=120)
        assert (letter["reason"], letter["error_code"]) == ("poison", "kills_workers")
        assert case.calls() == []
        assert running.stack.restarts == 4


@pytest.mark.timeout(240)
def test_a_worker_that_only_produces_dead_letters_stops_before_the_topic_is_empty(
    stack: RunningStack,
) -> None:
    """Everything fails, and no breaker sees it: the worker says so, and leaves the rest alone."""
    environment = {"HYBRID_RETRY_DELAYS": "0", "HYBRID_DEFER_DELAYS": "0.2"}
    with running_stack(workers=1, environment=environment, partitions=4, host=stack) as running:
        broken = {"always": "503", "latency_ms": 1}
        running.set_faults({"openai": broken, "azure": broken})
        case = Case(running)
        case.publish(*[case.intent() for _ in range(600)])
        eventually(lambda: running.ready(0), lambda ready: not ready, within_s=120)
        alerts = eventually(lambda: _alert_names(running), bool)
        assert alerts == {"mostly_dead_letters"}
        assert 100 <= case.outcomes().count() < 300
        assert running.stack.restarts == 0


def _alert_names(running: RunningStack) -> set[str]:
    async def read() -> set[str]:
        topic = running.settings.topics.alerts
        return {
            json.loads(one.value or b"{}")["name"]
            async for one in read_topic(running.settings, topic)
        }

    return asyncio.run(read())

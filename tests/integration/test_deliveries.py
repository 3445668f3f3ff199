"""Results that go to a recipient become deliveries: paced, in order, once, also over a crash."""

import asyncio
import itertools
import json
import os
import signal
from collections import defaultdict
from typing import Any

import pytest

from streams.kafka.reading import read_topic
from tests.chaos.running import RunningStack
from tests.integration.driving import Case, eventually

pytestmark = pytest.mark.integration


def deliveries(stack: RunningStack, case: Case) -> dict[str, list[dict[str, Any]]]:
    """The case's deliveries by user, in the order of their due times."""

    async def read() -> dict[str, list[dict[str, Any]]]:
        found = defaultdict(list)
        async for record in read_topic(stack.settings, stack.settings.topics.deliveries):
            delivery = json.loads(record.value or b"{}")
            if delivery["intent_id"].startswith(case.name):
                assert (record.key or b"").decode() == delivery["user_id"]
                found[delivery["user_id"]].append(delivery)
        return {user: sorted(one, key=lambda each: each["due_at"]) for user, one in found.items()}

    return asyncio.run(read())


def seconds(delivery: dict[str, Any]) -> float:
    hours, minutes, rest = delivery["due_at"].split("T")[1].rstrip("Z").split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(rest)


def test_deliveries_are_paced_in_order_and_once_although_the_pacer_is_killed(
    stack: RunningStack,
) -> None:
    stack.set_faults({"openai": {"latency_ms": 5}, "azure": {"latency_ms": 5}})
    case = Case(stack)
    busy, quiet = f"{case.name}-busy", f"{case.name}-quiet"
    to_busy = [
        case.intent(user_id=busy, send_to_onlyfans=True, recipient_id="r-1", platforms=["onlyfans"])
        for _ in range(5)
    ]
    for intent in to_busy:
        case.publish(intent)
        eventually(case.outcomes, lambda found, one=intent: one["intent_id"] in found.results)
    case.publish(case.intent(user_id=quiet, sendToOnlyFans=True))
    case.publish(case.intent(user_id=busy))  # not to be delivered
    eventually(lambda: deliveries(stack, case), lambda found: len(found.get(busy, [])) >= 2)
    pacer = next(number for number in range(2) if 0 in stack.lanes(number))
    os.kill(stack.pids()[pacer], signal.SIGKILL)
    found = eventually(
        lambda: deliveries(stack, case),
        lambda now: (len(now.get(busy, [])), len(now.get(quiet, []))) == (5, 1),
    )
    assert [one["intent_id"] for one in found[busy]] == [one["intent_id"] for one in to_busy]
    due = [seconds(one) for one in found[busy]]
    assert all(b - a >= 1.5 for a, b in itertools.pairwise(due))
    assert found[busy][0]["recipient_id"] == "r-1"
    assert found[busy][0]["platforms"] == ["onlyfans"]
    assert found[busy][0]["content"]
    eventually(lambda: scheduled(stack, case), lambda count: count == 6)


def scheduled(stack: RunningStack, case: Case) -> int:
    async def count() -> int:
        found = 0
        async for record in read_topic(stack.settings, stack.settings.topics.events):
            event = json.loads(record.value or b"{}")
            mine = event["intent_id"].startswith(case.name)
            found += mine and event["name"] == "onlyfans_message_scheduled"
        return found

    return asyncio.run(count())

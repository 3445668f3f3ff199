"""Intents as CloudEvents through a running stack, in both forms, to outcomes that are events."""

import asyncio
import base64
import json

import pytest

from streams.kafka.reading import read_topic
from tests.chaos.running import RunningStack
from tests.integration.driving import Case, eventually
from tests.integration.test_commands import hybrid

pytestmark = pytest.mark.integration


def headers_of(stack: RunningStack, topic: str, intent_id: str) -> dict[str, bytes]:
    """The headers of the newest outcome of an intent."""

    async def look() -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        async for record in read_topic(stack.settings, topic):
            headers = dict(record.headers)
            if headers.get("intent-id") == intent_id.encode():
                found = headers
        return found

    return asyncio.run(look())


def test_either_form_runs_once_and_its_outcome_is_the_event_that_follows(
    stack: RunningStack,
) -> None:
    stack.set_faults({"openai": {"latency_ms": 5}, "azure": {"latency_ms": 5}})
    case, topics = Case(stack), stack.settings.topics
    event = {
        "specversion": "1.0", "id": f"{case.name}-1", "source": "/shop", "subject": "u-1",
        "type": "com.example.message_generation",
    }  # fmt: skip
    data = {"data": {"marker": f"{case.name}-1"}}
    binary = {f"ce_{name}": value.encode() for name, value in event.items()}
    envelope = json.dumps({**event, "data": data}).encode()
    structured = {"content-type": b"application/cloudevents+json"}
    case.publish_raw(json.dumps(data).encode(), key=case.name, headers=binary)
    case.publish_raw(envelope, key=case.name, headers=structured)  # the same event again
    result = case.result()
    assert (result["intent_id"], result["user_id"]) == (event["id"], "u-1")
    headers = headers_of(stack, topics.results, event["id"])
    assert headers["ce_id"] == result["result_id"].encode()
    assert (headers["ce_causationid"], headers["ce_causationsource"]) == (
        event["id"].encode(),
        b"/shop",
    )
    # A second event of the lane is decided after the first, so the repeat is too.
    bad = {**event, "id": f"{case.name}-2", "data": {"data": 7}}
    case.publish_raw(json.dumps(bad).encode(), key=case.name, headers=structured)
    found = case.wait(1)
    letter = eventually(
        lambda: [
            one
            for several in stack.following.outcomes().dead_letters.values()
            for one in several
            if base64.b64decode(one["original"]["value"] or "") == json.dumps(bad).encode()
        ],
        lambda letters: len(letters) == 1,
    )[0]
    assert letter["reason"] == "invalid_intent"
    assert len(case.calls()) == 1
    assert [len(several) for several in found.results.values()] == [1]


def test_a_dead_letter_of_an_event_is_planned_shown_and_replayed_as_the_event(
    stack: RunningStack,
) -> None:
    stack.set_faults({"openai": {"plan": ["400"]}, "azure": {}})
    case = Case(stack)
    envelope = {
        "specversion": "1.0", "id": f"{case.name}-1", "source": "/shop", "subject": "u-1",
        "type": "message_generation", "data": {"data": {"marker": f"{case.name}-1"}},
    }  # fmt: skip
    headers = {"content-type": b"application/cloudevents+json"}
    case.publish_raw(json.dumps(envelope).encode(), key=case.name, headers=headers)
    letter = case.dead_letter()
    environment = stack.stack.environment()
    shown = hybrid("dlq", "show", letter["dead_letter_id"], environment=environment)
    assert shown.returncode == 0, shown.stderr
    assert f'"intent_id": "{case.name}-1"' in shown.stdout
    assert '"intent_problem": null' in shown.stdout
    stack.set_faults({"openai": {"latency_ms": 5}, "azure": {"latency_ms": 5}})
    done = hybrid(
        "dlq", "replay", "--id", letter["dead_letter_id"], "--yes", environment=environment
    )
    assert done.returncode == 0, done.stderr
    found = case.wait(2)
    assert set(found.results) == {f"{case.name}-1"}

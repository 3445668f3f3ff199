"""From dead letters of five causes to their results: the plan's count and price, and the bill.

One broker, one worker and the simulated providers. `REPLAY_LETTERS` is how many dead letters
are replayed: 200, or more.
"""

import asyncio
import json
import os
import sys
import urllib.request
import uuid
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from hybrid.config import load_settings
from schemas.attempt import ProviderAttempt
from schemas.events import ReplayRecord
from schemas.vocabulary import AttemptStatus
from streams.kafka.reading import read_topic
from streams.kafka.topics import ensure_topics
from tests.integration.driving import eventually
from tests.integration.forked import Forked
from tests.integration.secure_kafka import SecureKafka
from tests.integration.test_runs import Place

pytestmark = pytest.mark.integration

COUNT = int(os.environ.get("REPLAY_LETTERS", "200"))
#: Each: what both providers answer, the intent's type, and what else it says.
CAUSES: list[tuple[str, str, dict[str, Any]]] = [
    ("400", "message_generation", {}),
    ("400", "content_planning", {}),
    ("422", "message_generation", {}),
    ("422", "content_planning", {}),
    ("404", "message_generation", {"model": "gpt-3.5-turbo"}),
]


@pytest.fixture
def place(secure: SecureKafka, simulator: str, tmp_path: Path) -> Iterator[Place]:
    """A prefix of its own, with a worker."""
    variables = {
        "KAFKA_BOOTSTRAP_SERVERS": secure.at("PLAINTEXT"),
        "HYBRID_TOPIC_PREFIX": f"plans{uuid.uuid4().hex[:8]}",
        "HYBRID_PARTITIONS": "2",
        "HYBRID_SIMULATOR": simulator,
        "HYBRID_METRICS_PORT": "0",
        # What the simulator bills is a price of ours for these two.
        "HYBRID_OPENAI_MODEL": "gpt-3.5-turbo",
        "HYBRID_AZURE_DEPLOYMENT": "gpt-4-turbo",
        "HYBRID_BREAKER_CALLS": "100000",
        "HYBRID_DRAIN_BUDGET": "1",
        "HYBRID_LOG_LEVEL": "error",
    }
    settings = load_settings(environment=variables)
    asyncio.run(ensure_topics(settings))
    found = Place(settings, variables, tmp_path)
    worker = Forked("worker", environment=variables, folder=tmp_path)
    yield found
    set_faults(simulator, None)
    assert worker.stop(60) == 0, worker.said()


def set_faults(simulator: str, answer: str | None) -> None:
    faults = {"always": answer} if answer else {"latency_ms": 5}
    document = json.dumps({"openai": faults, "azure": faults}).encode()
    urllib.request.urlopen(f"{simulator}/_sim/faults", document, timeout=10).close()


def calls(simulator: str, case: str) -> list[dict[str, Any]]:
    """The simulator's log of one case."""
    with urllib.request.urlopen(f"{simulator}/_sim/calls", timeout=10) as answer:
        entries = [json.loads(line) for line in answer.read().splitlines()]
    return [one for one in entries if one["intent"].startswith(case)]


def values(place: Place, topic: str) -> list[bytes]:
    async def read() -> list[bytes]:
        return [one.value async for one in read_topic(place.settings, topic) if one.value]

    return asyncio.run(read())


def outcomes(place: Place, topic: str) -> Counter[str]:
    return Counter(json.loads(value)["intent_id"] for value in values(place, topic))


def publish(place: Place, intents: list[dict[str, Any]]) -> None:
    file = place.folder / f"{uuid.uuid4().hex}.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in intents))
    sent = Forked("publish", str(file), environment=place.variables, folder=place.folder)
    assert sent.wait() == 0, sent.said()


def the_bill_is_right(place: Place, simulator: str, case: str, plan: dict[str, Any]) -> None:
    """What the simulator billed for the replays, what is on record, and what was said before."""
    topics = place.settings.topics
    failed = set(outcomes(place, topics.dead_letters))
    paid = [one for one in calls(simulator, case) if one["status"] == 200]
    paid = [one for one in paid if one["intent"] in failed]
    billed = sum((Decimal(one["billed_usd"]) for one in paid), Decimal(0))
    assert len(paid) == COUNT
    read = [ProviderAttempt.model_validate_json(one) for one in values(place, topics.attempts)]
    replays = [one for one in read if one.replay_count and one.status is AttemptStatus.FINISHED]
    assert sum((one.cost_usd or Decimal(0) for one in replays), Decimal(0)) == billed
    ends = [ReplayRecord.model_validate_json(one) for one in values(place, topics.replays)]
    assert sum((one.cost_usd or Decimal(0) for one in ends), Decimal(0)) == billed
    expected, most = Decimal(plan["expected_usd"]), Decimal(plan["most_usd"])
    error = (expected - billed) / billed
    said = f"expected {expected} USD, billed {billed} ({error:+.1%}), at most {most}"
    sys.stdout.write(f"\n{COUNT} dead letters replayed: {said}\n")
    assert abs(error) < Decimal("0.5")
    assert billed <= most


def each_has_a_trace(place: Place, failed: set[str]) -> None:
    """No intent brought a trace: each has one, the same in all that was written for it."""
    topics = place.settings.topics
    traced: dict[str, set[str]] = {}
    for topic in (topics.attempts, topics.events, topics.results, topics.dead_letters):
        for value in values(place, topic):
            document = json.loads(value)
            if document["intent_id"]:
                traced.setdefault(document["intent_id"], set()).add(
                    document["trace_context"]["trace_id"]
                )
    # A replay is a record of its own, and has a trace of its own.
    assert {len(found) for name, found in traced.items() if name in failed} == {2}
    assert {len(found) for name, found in traced.items() if name not in failed} == {1}
    name, (trace, *_) = next(iter(traced.items()))
    told = Forked(
        "trace", trace, "--source", "kafka", "--format", "json",
        environment=place.variables, folder=place.folder,
    )  # fmt: skip
    assert told.wait() == 0, told.said()
    assert json.loads(told.stdout)["intent_id"] == name


@pytest.mark.timeout(900)
def test_a_plan_is_run_once_whatever_kills_it_and_costs_what_it_said(
    place: Place, simulator: str
) -> None:
    """Given dead letters of five causes, when their plan's run is killed twice, each ran once."""
    case, topics = uuid.uuid4().hex[:8], place.settings.topics

    def intent(number: int, kind: str, **more: Any) -> dict[str, Any]:
        name = f"{case}-{number}"
        data = {"marker": name, "x": "words " * (number % 40)}
        return {"intent_id": name, "type": kind, "user_id": "u", "data": data, **more}

    # What answers usually are is known from results.
    set_faults(simulator, None)
    kinds = ("message_generation", "content_planning")
    publish(place, [intent(COUNT + n, kinds[n % 2]) for n in range(10)])
    eventually(lambda: outcomes(place, topics.results).total(), lambda n: n == 10, within_s=120)
    for answer in dict.fromkeys(answer for answer, _, _ in CAUSES):
        set_faults(simulator, answer)
        some = [
            intent(number, kind, **more)
            for number in range(COUNT)
            for at, (seen, kind, more) in enumerate(CAUSES)
            if number % len(CAUSES) == at and seen == answer
        ]
        wanted = outcomes(place, topics.dead_letters).total() + len(some)
        publish(place, some)
        eventually(
            lambda: outcomes(place, topics.dead_letters).total(),
            lambda n, all_of_them=wanted: n == all_of_them,
            within_s=240,
        )
    set_faults(simulator, None)
    causes = json.loads(place.hybrid("causes", "--format", "json"))
    assert len(causes) == len(CAUSES), causes
    assert sum(one["count"] for one in causes) == COUNT

    plan = place.plan()
    assert (plan["count"], len(plan["summary"]["causes"])) == (COUNT, len(CAUSES))
    arguments = ("replay", plan["plan_id"], "--yes", "--why", "a test")
    for share in (0.2, 0.6):
        run = place.start(*arguments, "--rate", str(COUNT / 8))
        eventually(lambda: place.sent(plan["plan_id"]), lambda n, s=share: n >= COUNT * s)
        run.kill()
        assert place.sent(plan["plan_id"]) < COUNT
    assert f"replayed {COUNT}; run {plan['plan_id']} is done" in place.hybrid(*arguments)
    eventually(
        lambda: outcomes(place, topics.results).total(), lambda n: n >= COUNT + 10, within_s=240
    )
    results = outcomes(place, topics.results)
    assert (len(results), set(results.values())) == (COUNT + 10, {1})
    assert set(outcomes(place, topics.dead_letters).values()) == {1}
    states = Counter(row["state"] for row in json.loads(place.hybrid("list", "--format", "json")))
    assert states == {"resolved": COUNT}

    the_bill_is_right(place, simulator, case, plan)
    again = place.plan()
    assert (again["count"], again["summary"]["left_out"]) == (0, {"resolved": COUNT})
    each_has_a_trace(place, set(outcomes(place, topics.dead_letters)))

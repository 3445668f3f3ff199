"""Runs of plans on a broker without workers: what is sent, and that it is sent once.

Dead letters, and the ends of replays, are written here as lanes write them.
"""

import asyncio
import json
import re
import uuid
from base64 import b64encode
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from hybrid.config import load_settings
from hybrid.whoami import who_am_i
from schemas.events import ReplayRecord
from schemas.outcome import DeadLetter
from schemas.settings import Settings
from schemas.vocabulary import RunState, WorkflowStatus
from streams.kafka.clients import producer
from streams.kafka.reading import read_topic
from streams.kafka.topics import ensure_topics
from streams.messages.records import REPLAYED_HEADER
from streams.triage.book import Planned, read_book
from tests.builders import a_letter
from tests.integration.driving import eventually
from tests.integration.forked import Forked
from tests.integration.secure_kafka import SecureKafka

pytestmark = pytest.mark.integration

PARTITIONS = 3


@dataclass
class Place:
    """A prefix of its own on a broker."""

    settings: Settings
    variables: dict[str, str]
    folder: Path

    def hybrid(self, *arguments: str, status: int = 0) -> str:
        """Run `hybrid dlq` to its end; gives what it printed."""
        done = self.start(*arguments)
        assert done.wait(120) == status, done.said()
        return done.stdout if status == 0 else done.stderr

    def start(self, *arguments: str) -> Forked:
        return Forked("dlq", *arguments, environment=self.variables, folder=self.folder)

    def plan(self, *arguments: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.hybrid("plan", *arguments, "--format", "json"))
        return document

    def planned(self, plan: str) -> Planned:
        return asyncio.run(read_book(self.settings)).plans[plan]

    def sent(self, plan: str) -> int:
        progress = self.planned(plan).progress
        return progress.sent if progress else 0

    def copies(self) -> Counter[str]:
        """How often each dead letter was published again, as workers see it."""

        async def read() -> Counter[str]:
            found: Counter[str] = Counter()
            async for record in read_topic(self.settings, self.settings.topics.intents):
                headers = dict(record.headers)
                assert headers["replay-count"] == b"1"
                found[headers[REPLAYED_HEADER].decode()] += 1
            return found

        return asyncio.run(read())

    def write(self, letters: list[DeadLetter]) -> None:
        async def send() -> None:
            async with producer(self.settings) as client:
                sent = [
                    await client.send(
                        self.settings.topics.dead_letters, one.to_json(), one.intent_id.encode()
                    )
                    for one in letters
                ]
                await asyncio.gather(*sent)

        asyncio.run(send())

    def end(self, letter: DeadLetter, status: str, cost_usd: str = "0.001") -> None:
        """Write that a letter's replay has ended."""
        record = ReplayRecord.model_validate(
            {
                "dead_letter_id": letter.dead_letter_id, "tenant": letter.tenant,
                "subject": letter.intent_id, "decided_at_ms": 1, "status": status,
                "cost_usd": cost_usd,
            }
        )  # fmt: skip

        async def send() -> None:
            async with producer(self.settings) as client:
                key = letter.dead_letter_id.encode()
                await client.send_and_wait(self.settings.topics.replays, record.to_json(), key)

        asyncio.run(send())


@pytest.fixture
def place(secure: SecureKafka, tmp_path: Path) -> Place:
    variables = {
        "KAFKA_BOOTSTRAP_SERVERS": secure.at("PLAINTEXT"),
        "HYBRID_TOPIC_PREFIX": f"runs{uuid.uuid4().hex[:8]}",
        "HYBRID_PARTITIONS": str(PARTITIONS),
    }
    settings = load_settings(environment=variables)
    asyncio.run(ensure_topics(settings))
    return Place(settings, variables, tmp_path)


def letters(count: int, **changes: Any) -> list[DeadLetter]:
    now = datetime.now(UTC)

    def one(number: int) -> DeadLetter:
        identifier = f"i-{uuid.uuid4().hex[:8]}-{number}"
        intent = {"type": "message_generation", "user_id": "u", "data": {"n": number}}
        value = b64encode(json.dumps({**intent, "intent_id": identifier}).encode()).decode()
        return a_letter(
            **{
                "dead_letter_id": str(uuid.uuid4()),
                "intent_id": identifier,
                "source": {
                    "topic": "runs.intents", "partition": number % PARTITIONS, "offset": number,
                    "timestamp": now,
                },
                "original": {"key": None, "value": value, "headers": [["x", "eQ=="]]},
                "failed_at": now,
                **changes,
            }
        )  # fmt: skip

    return [one(number) for number in range(count)]


@pytest.mark.timeout(600)
def test_a_run_that_is_killed_sends_each_letter_once(place: Place) -> None:
    made = letters(1_000)
    place.write(made)
    plan = place.plan()
    assert plan["count"] == len(made)
    for share in (100, 400):
        run = place.start("replay", plan["plan_id"], "--yes", "--rate", "150", "--why", "a test")
        eventually(lambda: place.sent(plan["plan_id"]), lambda sent, least=share: sent >= least)
        run.kill()
    assert 400 <= place.sent(plan["plan_id"]) < 1_000
    waiting = json.loads(place.hybrid("causes", "--state", "waiting", "--format", "json"))
    assert sum(one["count"] for one in waiting) == 1_000 - place.sent(plan["plan_id"])
    # Without a pace it is quick.
    planned = place.planned(plan["plan_id"])
    assert planned.plan.by == who_am_i()
    assert planned.run is not None
    assert (planned.run.why, planned.run.rate) == ("a test", 150)
    said = place.hybrid("replay", plan["plan_id"], "--yes", "--rate", "100000")
    assert f"replayed 1000; run {plan['plan_id']} is done" in said
    assert place.copies() == Counter(one.dead_letter_id for one in made)
    # Once more is nothing more.
    again = place.hybrid("replay", plan["plan_id"], "--yes")
    assert f"replayed 1000; run {plan['plan_id']} is done" in again
    assert place.plan()["summary"]["left_out"] == {"replayed": 1_000}
    assert place.copies().total() == 1_000
    assert place.plan("--again")["count"] == 1_000


def test_a_run_is_paused_taken_over_and_stopped(place: Place) -> None:
    place.write(letters(60))
    plan = place.plan()["plan_id"]
    run = place.start("replay", plan, "--yes", "--rate", "5")
    eventually(lambda: place.sent(plan), lambda sent: sent >= 2)
    assert "is paused" in place.hybrid("pause", plan)
    assert place.planned(plan).state is RunState.PAUSED
    before = eventually(lambda: (place.sent(plan), place.sent(plan)), lambda two: two[0] == two[1])[
        0
    ]
    resumed = place.start("resume", plan)
    eventually(lambda: place.sent(plan), lambda sent: sent > before)
    assert run.wait() == 1
    assert f"another process has taken the run of {plan} over" in run.stderr
    assert "cannot be called back" in place.hybrid("stop", plan)
    assert resumed.wait() == 0, resumed.said()
    assert f"run {plan} is stopped" in resumed.stdout
    sent = place.sent(plan)
    assert 0 < sent < 60
    assert place.copies().total() == sent
    row = json.loads(place.hybrid("runs", "--format", "json"))[0]
    assert (row["state"], row["sent"], row["not_sent"]) == ("stopped", sent, 60 - sent)
    # What was not sent is open, and may be in another plan.
    assert place.plan()["count"] == 60 - sent
    assert "make a new plan" in place.hybrid("resume", plan, status=1)


def replayed_of(place: Place, made: list[DeadLetter]) -> list[DeadLetter]:
    seen = place.copies()
    return [one for one in made if one.dead_letter_id in seen]


@pytest.mark.parametrize(("ends", "goes_on"), [("ccccf", True), ("cccff", False)])
def test_a_canary_decides_whether_the_rest_goes(place: Place, ends: str, goes_on: bool) -> None:
    made = letters(20)
    place.write(made)
    plan = place.plan()["plan_id"]
    run = place.start("replay", plan, "--canary", "--yes")
    eventually(lambda: place.sent(plan), lambda sent: sent == 5)
    status = {"c": WorkflowStatus.COMPLETED, "f": WorkflowStatus.FAILED}
    for letter, end in zip(replayed_of(place, made), ends, strict=True):
        place.end(letter, status[end].value)
    if goes_on:
        assert run.wait() == 0, run.said()
        assert place.sent(plan) == 20
        return
    assert run.wait() == 1, run.said()
    # Two that failed are enough to know: the third that is well may not have been seen by then.
    assert re.search(r"of the first 5 only [23] ended well", run.stderr), run.said()
    assert place.planned(plan).state is RunState.PAUSED
    place.hybrid("resume", plan)
    assert place.sent(plan) == 20
    counts = Counter(row["state"] for row in json.loads(place.hybrid("list", "--format", "json")))
    assert counts == {"resolved": 3, "came_back": 2, "replayed": 15}


def test_a_run_spends_no_more_than_it_may(place: Place) -> None:
    """What has no outcome counts with its bound; what an outcome did not need comes back."""
    made = letters(10)
    place.write(made)
    document = place.plan()
    plan, each = document["plan_id"], float(document["most_usd"]) / 10
    said = place.hybrid("replay", plan, "--yes", "--max-usd", f"{each / 10:f}", status=1)
    assert "one more could cost more than the limit of" in said
    assert place.sent(plan) == 0
    run = place.start("resume", plan, "--max-usd", f"{3.5 * each:f}")
    eventually(lambda: place.sent(plan), lambda sent: sent == 3)
    done = set[str]()
    while run.running:
        for letter in replayed_of(place, made):
            if letter.dead_letter_id not in done:
                done.add(letter.dead_letter_id)
                place.end(letter, "completed", f"{each / 10:f}")
    assert run.wait() == 0, run.said()
    assert place.sent(plan) == 10


def test_a_plan_says_what_it_leaves_out_and_why(place: Place) -> None:
    fine = letters(2, tenant="acme")
    broken = letters(2, original={"key": None, "value": b64encode(b"{").decode(), "headers": []})
    place.write([*fine, *broken, *letters(1, replay_count=3)])
    place.write([fine[0].model_copy(update={"dead_letter_id": str(uuid.uuid4())})])
    text = place.hybrid("plan")
    assert text.startswith("2 dead letters will be replayed, of 6 that match\n")
    assert "2 would be refused again by validation: not_json" in text
    assert "1 came back 3 times or more: --force replays them" in text
    assert "1 are older ones of intents that have a newer one" in text
    assert "expected cost not known" in text  # there is no result yet
    assert place.plan("--force")["count"] == 3
    refused = place.hybrid("dismiss", "--why", "x", status=2)
    assert "which ones?" in refused
    assert place.hybrid("dismiss", "--tenant", "acme", "--why", "over", "--yes") == "dismissed 3\n"
    assert "3 are dismissed: `hybrid dlq reopen` takes that back" in place.hybrid("plan")
    assert place.hybrid("reopen", "--id", fine[1].dead_letter_id, "--yes") == "reopened 1\n"
    assert place.plan()["count"] == 1
    shown = json.loads(place.hybrid("show", fine[1].dead_letter_id))
    assert shown["state"] == "open"


def test_a_plan_that_is_not_there_or_not_one_is_refused(place: Place) -> None:
    assert "there is no plan p-0" in place.hybrid("replay", "p-0", "--yes", status=1)
    assert "frozen" in place.hybrid("replay", "p-0", "--tenant", "x", status=2)
    assert "--max-usd x: write dollars" in place.hybrid("replay", "--max-usd", "x", status=2)
    assert place.hybrid("plan") == "0 dead letters will be replayed, of 0 that match\n"
    assert "no plan was run" in place.hybrid("runs")

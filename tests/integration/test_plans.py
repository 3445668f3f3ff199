"""Dead letters put right: causes, a plan with its price, its run under kill -9, and dismissals.

`HYBRID_TEST_LETTERS` is how many dead letters the big one replays: 200, or more.
"""

import asyncio
import json
import os
import sys
import time
from collections import Counter
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from hybrid.config import load_settings
from schemas.vocabulary import RunState
from streams.kafka.reading import read_topic
from streams.messages.records import REPLAYED_HEADER
from streams.store.clickhouse import ClickHouse
from streams.triage.book import Planned, read_book
from tests.chaos.running import RunningStack
from tests.integration.driving import Case, eventually
from tests.integration.forked import Forked
from tests.integration.test_commands import hybrid

pytestmark = pytest.mark.integration

COUNT = int(os.environ.get("HYBRID_TEST_LETTERS", "200"))
#: Each: what both providers answer, the intent's type, and what else it says.
CAUSES: list[tuple[str, str, dict[str, Any]]] = [
    ("400", "message_generation", {}),
    ("400", "content_planning", {}),
    ("422", "message_generation", {}),
    ("422", "content_planning", {}),
    ("404", "message_generation", {"model": "gpt-4o-mini"}),
]


@pytest.fixture
def local(stack: RunningStack) -> dict[str, str]:
    well(stack)
    return stack.stack.environment()


def well(stack: RunningStack) -> None:
    stack.set_faults({"openai": {"latency_ms": 5}, "azure": {"latency_ms": 5}})


def failed(stack: RunningStack, case: Case, count: int) -> None:
    """Make dead letters of all causes, of tenant `case.name`; then all is well again."""
    done = case.outcomes().count()
    for answer in dict.fromkeys(answer for answer, _, _ in CAUSES):
        stack.set_faults({name: {"always": answer} for name in ("openai", "azure")})
        intents = [
            case.intent(type=kind, tenant=case.name, data={"x": "y" * (number % 90)}, **more)
            for number in range(count)
            for at, (seen, kind, more) in enumerate(CAUSES)
            if seen == answer and number % len(CAUSES) == at
        ]
        case.publish(*intents)
        done += len(intents)
        case.wait(done, within_s=120)
    well(stack)


def planned(stack: RunningStack, plan: str) -> Planned:
    return asyncio.run(read_book(stack.settings)).plans[plan]


def sent(stack: RunningStack, plan: str) -> int:
    progress = planned(stack, plan).progress
    return progress.sent if progress else 0


def copies(stack: RunningStack) -> Counter[str]:
    """How often each dead letter was published again."""

    async def read() -> Counter[str]:
        found: Counter[str] = Counter()
        for topic in stack.settings.topics.sources[:2]:
            async for record in read_topic(stack.settings, topic):
                found.update(
                    value.decode() for name, value in record.headers if name == REPLAYED_HEADER
                )
        return found

    return asyncio.run(read())


def plan_of(local: dict[str, str], *filters: str) -> dict[str, Any]:
    done = hybrid("dlq", "plan", *filters, "--format", "json", environment=local)
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@pytest.mark.timeout(600)
def test_a_plan_is_run_once_whatever_kills_it_and_costs_what_it_said(
    stack: RunningStack, local: dict[str, str], tmp_path: Path
) -> None:
    """Given dead letters of five causes, when their plan's run is killed twice, each ran once."""
    case = Case(stack)
    # What answers usually are is known from results.
    case.publish(*(case.intent(type=kind) for kind in ("message_generation", "content_planning")))
    case.wait(2)
    failed(stack, case, COUNT)
    letters = case.outcomes().dead_letters
    ids = {found[0]["dead_letter_id"] for found in letters.values()}
    assert len(ids) == COUNT

    listed = hybrid("dlq", "causes", "--tenant", case.name, "--format", "json", environment=local)
    causes = json.loads(listed.stdout)
    assert len(causes) == len(CAUSES), listed.stdout
    assert sum(one["count"] for one in causes) == COUNT

    plan = plan_of(local, "--tenant", case.name)
    assert plan["count"] == COUNT
    assert len(plan["summary"]["causes"]) == len(CAUSES)
    arguments = ["dlq", "replay", plan["plan_id"], "--yes", "--why", "a test"]
    rate = str(COUNT / 8)
    for share in (0.2, 0.6):
        run = Forked(*arguments, "--rate", rate, environment=local, folder=tmp_path)
        eventually(lambda: sent(stack, plan["plan_id"]), lambda n, s=share: n >= COUNT * s)
        run.kill()
        assert sent(stack, plan["plan_id"]) < COUNT
    listed = hybrid("dlq", "list", "--tenant", case.name, "--state", "waiting", "--format", "json",
                    environment=local)  # fmt: skip
    assert 0 < len(json.loads(listed.stdout)) < COUNT
    last = Forked(*arguments, environment=local, folder=tmp_path)
    assert last.wait(120) == 0, last.said()
    assert f"replayed {COUNT}; run {plan['plan_id']} is done" in last.stdout
    outcomes = case.wait(2 * COUNT + 2, within_s=120)
    assert {len(found) for found in outcomes.results.values()} == {1}
    assert len(outcomes.results) == COUNT + 2

    seen = copies(stack)
    assert {seen[one] for one in ids} == {1}
    resolved = hybrid("dlq", "list", "--tenant", case.name, "--state", "resolved", "--format",
                      "json", environment=local)  # fmt: skip
    assert {row["dead_letter_id"] for row in json.loads(resolved.stdout)} == ids

    # The bill of the replays: the simulator's, ours, and what was said before.
    calls = [one for one in case.calls() if one["status"] == 200 and one["intent"] in letters]
    billed = sum((Decimal(one["billed_usd"]) for one in calls), Decimal(0))
    assert len(calls) == COUNT
    expected, most = Decimal(plan["expected_usd"]), Decimal(plan["most_usd"])
    error = (expected - billed) / billed
    said = f"expected {expected} USD, billed {billed} ({error:+.1%}), at most {most}"
    sys.stdout.write(f"\n{COUNT} dead letters replayed: {said}\n")
    assert abs(error) < Decimal("0.5")
    assert billed <= most
    with closing(ClickHouse(load_settings(environment=local))) as store:
        question = (
            "SELECT count(), sum(cost_usd) FROM provider_attempts FINAL "
            f"WHERE replay_count = 1 AND tenant = '{case.name}'"
        )
        count, cost = eventually(
            lambda: store.rows(question)[1][0], lambda row: row[0] >= COUNT, within_s=60
        )
    assert (count, Decimal(cost)) == (COUNT, billed)

    again = plan_of(local, "--tenant", case.name)
    assert (again["count"], again["summary"]["left_out"]) == (0, {"resolved": COUNT})


def test_a_run_is_paused_resumed_and_stopped(
    stack: RunningStack, local: dict[str, str], tmp_path: Path
) -> None:
    case = Case(stack)
    failed(stack, case, 20)
    plan = plan_of(local, "--tenant", case.name)["plan_id"]
    run = Forked("dlq", "replay", plan, "--yes", "--rate", "4", environment=local, folder=tmp_path)
    eventually(lambda: sent(stack, plan), lambda count: count >= 2)
    paused = hybrid("dlq", "pause", plan, environment=local)
    assert paused.returncode == 0, paused.stderr
    before = eventually(
        lambda: (time.sleep(1.0), sent(stack, plan), sent(stack, plan))[1:],
        lambda two: two[0] == two[1],
    )[0]
    assert planned(stack, plan).state is RunState.PAUSED
    resumed = Forked("dlq", "resume", plan, environment=local, folder=tmp_path)
    eventually(lambda: sent(stack, plan), lambda count: count > before)
    assert run.wait() == 1
    assert f"another process has taken the run of {plan} over" in run.stderr
    stopped = hybrid("dlq", "stop", plan, environment=local)
    assert stopped.returncode == 0, stopped.stderr
    assert resumed.wait() == 0, resumed.said()
    assert f"run {plan} is stopped" in resumed.stdout
    count = sent(stack, plan)
    assert before < count < 20
    case.wait(20 + count)
    assert (
        sum(
            copies(stack)[one[0]["dead_letter_id"]] for one in case.outcomes().dead_letters.values()
        )
        == count
    )
    again = hybrid("dlq", "replay", plan, "--yes", environment=local)
    assert f"replayed {count}; run {plan} is stopped" in again.stdout
    # What was not sent is open again, and another plan's.
    assert plan_of(local, "--tenant", case.name)["count"] == 20 - count
    listed = hybrid("dlq", "runs", "--format", "json", environment=local)
    row = next(one for one in json.loads(listed.stdout) if one["plan"] == plan)
    assert (row["state"], row["sent"], row["not_sent"]) == ("stopped", count, 20 - count)


def test_a_canary_that_dies_pauses_the_run(stack: RunningStack, local: dict[str, str]) -> None:
    case = Case(stack)
    failed(stack, case, 10)
    plan = plan_of(local, "--tenant", case.name)["plan_id"]
    stack.set_faults({name: {"always": "400"} for name in ("openai", "azure")})
    done = hybrid("dlq", "replay", plan, "--canary", "--yes", environment=local)
    assert done.returncode == 1
    assert (
        f"of the first 5 only 0 ended well: look at `hybrid dlq causes`, then go on or stop it; hybrid dlq resume {plan}"
        in done.stderr.replace("\n", " ")
    )
    assert sent(stack, plan) == 5
    well(stack)
    done = hybrid("dlq", "resume", plan, environment=local)
    assert done.returncode == 0, done.stderr
    found = case.wait(20)
    assert len(found.results) == 5
    states = hybrid("dlq", "list", "--tenant", case.name, "--format", "json", environment=local)
    counts = Counter(row["state"] for row in json.loads(states.stdout))
    assert counts == {"resolved": 5, "came_back": 5, "open": 5}


def test_a_run_spends_no_more_than_it_may(stack: RunningStack, local: dict[str, str]) -> None:
    case = Case(stack)
    failed(stack, case, 10)
    plan = plan_of(local, "--tenant", case.name)
    each = Decimal(plan["most_usd"]) / 10
    done = hybrid("dlq", "replay", plan["plan_id"], "--yes", "--max-usd", str(each / 1000),
                  environment=local)  # fmt: skip
    assert done.returncode == 1
    assert "one more could cost more than the limit of" in done.stderr
    assert sent(stack, plan["plan_id"]) == 0
    # With room for one at a time all of them go: what a replay did not need comes back.
    done = hybrid("dlq", "resume", plan["plan_id"], "--max-usd", str(3 * each), environment=local)
    assert done.returncode == 0, done.stderr
    case.wait(20)
    assert hybrid("dlq", "resume", plan["plan_id"], environment=local).returncode == 1


def test_what_is_not_to_be_replayed_is_said(stack: RunningStack, local: dict[str, str]) -> None:
    case = Case(stack)
    case.publish_raw(b'{"type": "x", "tenant": "' + case.name.encode() + b'"}', key="k", headers={})
    failed(stack, case, 5)
    one = next(iter(case.outcomes().dead_letters.values()))[0]["dead_letter_id"]
    refused = hybrid("dlq", "dismiss", "--why", "x", environment=local)
    assert (refused.returncode, "which ones?" in refused.stderr) == (2, True)
    dismissed = hybrid("dlq", "dismiss", "--id", one, "--why", "over", "--yes", environment=local)
    assert dismissed.stdout == "dismissed 1\n"
    plan = hybrid("dlq", "plan", "--tenant", case.name, environment=local)
    assert plan.stdout.startswith("4 dead letters will be replayed, of 5 that match\n")
    assert "1 are dismissed: `hybrid dlq reopen` takes that back" in plan.stdout
    shown = hybrid("dlq", "show", one, environment=local)
    assert json.loads(shown.stdout)["state"] == "dismissed"
    reopened = hybrid("dlq", "reopen", "--id", one, "--yes", environment=local)
    assert reopened.stdout == "reopened 1\n"
    dry = hybrid("dlq", "replay", "--tenant", case.name, "--dry-run", environment=local)
    assert dry.stdout.startswith("5 dead letters will be replayed, of 5 that match\n")
    nothing = hybrid("dlq", "replay", "p-000000000000", "--yes", environment=local)
    assert nothing.returncode == 1
    assert "there is no plan p-000000000000" in nothing.stderr
    wrong = hybrid("dlq", "replay", "p-000000000000", "--tenant", "x", environment=local)
    assert (wrong.returncode, "a plan's list is frozen" in wrong.stderr) == (2, True)

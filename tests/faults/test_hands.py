"""Hands on the work: what is paused, put off or called off stays so over kill -9, once each."""

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from streams.kafka.reading import read_topic
from tests.chaos.running import RunningStack, running_stack
from tests.integration.driving import Case, eventually
from tests.integration.test_commands import hybrid

pytestmark = pytest.mark.integration
QUICK = {"openai": {"latency_ms": 5}, "azure": {"latency_ms": 5}}


@pytest.fixture(scope="module")
def running(stack: RunningStack) -> Iterator[RunningStack]:
    """A worker of its own, to be killed."""
    patient = {"HYBRID_OPENAI_TIMEOUT": "90", "HYBRID_AZURE_TIMEOUT": "90"}
    with running_stack(workers=1, environment=patient, partitions=4, host=stack) as own:
        yield own


@pytest.fixture
def case(running: RunningStack) -> Iterator[Case]:
    running.set_faults(QUICK)
    yield Case(running)
    for hold in standing(running)["paused"]:
        option = [] if hold["what"] == "all" else [f"--{hold['what']}", hold["name"]]
        say(running, "resume", *option)


def say(running: RunningStack, *arguments: str) -> str:
    done = hybrid(*arguments, environment=running.stack.environment())
    assert done.returncode == 0, done.stderr
    return done.stdout


def standing(running: RunningStack) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(say(running, "status", "--format", "json"))
    return found


def kill(running: RunningStack) -> None:
    """Kill -9 of the worker; its supervisor starts another."""
    (pid,) = running.pids()
    os.kill(pid, signal.SIGKILL)
    eventually(running.pids, lambda pids: pids not in ([], [pid]))
    eventually(lambda: running.ready(0), bool)


def paused(running: RunningStack) -> int:
    line = next(
        (one for one in running.metrics(0).splitlines() if one.startswith("hybrid_paused ")), ""
    )
    return int(float(line.split()[1])) if line else -1


def test_what_is_paused_stays_so_over_a_kill_and_the_rest_goes_on(case: Case) -> None:
    running = case.stack
    said = say(running, "pause", "--tenant", case.name, "--why", "asked for by support")
    assert said.startswith(f"tenant {case.name} is paused until ")
    assert said.endswith(f"go on with: hybrid resume --tenant {case.name}\n")
    held = [case.intent(tenant=case.name) for _ in range(5)]
    late = case.intent(tenant=case.name, deadline_ms=1_500)
    case.publish(*held, late, case.intent())
    assert case.wait(2).dead_letters[late["intent_id"]][0]["reason"] == "deadline"
    eventually(lambda: paused(running), lambda count: count == 5)
    kill(running)
    eventually(lambda: paused(running), lambda count: count == 5)
    assert len(case.calls()) == 1, "of the one that nobody paused"
    (seen,) = standing(running)["paused"]
    assert (seen["what"], seen["name"], seen["why"]) == (
        "tenant", case.name, "asked for by support",
    )  # fmt: skip
    assert f"tenant {case.name}, for " in say(running, "status")
    assert say(running, "resume", "--tenant", case.name).startswith(f"tenant {case.name} goes on")
    found = case.wait(7)
    assert set(found.results) >= {one["intent_id"] for one in held}
    assert len(case.calls()) == 6


def test_all_work_is_paused_and_goes_on_by_its_own_word(case: Case) -> None:
    running = case.stack
    say(running, "pause", "--type", "content_planning")
    assert say(running, "pause").startswith("all work is paused until ")
    case.publish(case.intent(), case.intent(type="content_planning"))
    eventually(lambda: paused(running), lambda count: count == 2)
    said = say(running, "resume")
    assert said.startswith("all work goes on, after ")
    assert said.endswith("; still paused: type content_planning\n")
    case.wait(1)
    assert paused(running) == 1
    assert len(case.calls()) == 1
    assert say(running, "resume").startswith("all work was not paused")
    say(running, "resume", "--type", "content_planning")
    case.wait(2)


def test_others_are_asked_while_a_provider_is_paused_and_who_has_no_other_waits(case: Case) -> None:
    running = case.stack
    say(running, "pause", "--provider", "openai")
    eventually(lambda: [one["name"] for one in standing(running)["paused"]], bool)
    case.publish(case.intent(), case.intent(force_provider="openai"))
    case.wait(1)
    assert [one["provider"] for one in case.calls()] == ["azure"]
    say(running, "resume", "--provider", "openai")
    case.wait(2)
    assert sorted(one["provider"] for one in case.calls()) == ["azure", "openai"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("pause", "--provider", "opnai"), "--provider opnai: no such provider; there are "),
        (
            ("resume", "--tenant", "acme", "--type", "b"),
            "--tenant and --type: each pause is of one",
        ),
        (("pause", "--tenant", ""), "--tenant: give a name of 1 to 512 signs"),
        (("pause", "--why", "x" * 513), "--why: give at most 512 signs"),
    ],
)
def test_what_cannot_be_meant_is_said_and_changes_nothing(
    running: RunningStack, arguments: tuple[str, ...], said: str
) -> None:
    done = hybrid(*arguments, environment=running.stack.environment())
    assert done.returncode == 2
    assert said in done.stderr
    assert standing(running)["paused"] == []


# ── cancel ──────────────────────────────────────────────────────────────────────────────────


SLOW = {"openai": {"latency_ms": 60_000}, "azure": {"latency_ms": 60_000}}


def later(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def deferred(running: RunningStack) -> int:
    waits = standing(running)["in_line"]
    return sum(count for topic, count in waits.items() if ".deferred." in topic)


def attempts_of(case: Case) -> dict[str, dict[str, Any]]:
    """The newest record of each call."""

    async def read() -> dict[str, dict[str, Any]]:
        found = {}
        settings = case.stack.settings
        async for record in read_topic(settings, settings.topics.attempts):
            one = json.loads(record.value or b"")
            if one["intent_id"].startswith(case.name):
                found[one["attempt_id"]] = one
        return found

    return asyncio.run(read())


def booked(case: Case, tenant: str) -> Decimal:
    """What may have been spent for a tenant beside what is known, over all lanes."""

    async def read() -> Decimal:
        newest = {}
        settings = case.stack.settings
        async for record in read_topic(settings, settings.topics.spend):
            one = json.loads(record.value or b"{}")
            if one.get("tenant") == tenant:
                newest[record.key] = one
        days = [one["uncertain"]["day"][1] for one in newest.values() if one["uncertain"]]
        return sum((Decimal(usd) for usd in days), Decimal(0))

    return asyncio.run(read())


def scattered(case: Case) -> dict[str, dict[str, Any]]:
    """One that is held, one that is put off and one that runs, as soon as they do."""
    running, tenant = case.stack, f"{case.name}-held"
    running.set_faults(SLOW)
    say(running, "pause", "--tenant", tenant)
    found = {
        "held": case.intent(tenant=tenant),
        "later": case.intent(not_before=later(3_600)),
        "runs": case.intent(tenant=case.name),
    }
    case.publish(*found.values())
    eventually(lambda: (paused(running), running.in_flight(0)), lambda seen: seen == (1, 1))
    eventually(lambda: deferred(running), lambda count: count == 1)
    eventually(lambda: attempts_of(case), bool)
    return found


def test_what_is_held_put_off_or_runs_ends_once_and_what_it_cost_is_on_record(case: Case) -> None:
    running, intents = case.stack, scattered(case)
    ids, unknown = [one["intent_id"] for one in intents.values()], f"{case.name}-none"
    said = say(running, "cancel", *ids, unknown, "--why", "ordered twice")
    assert f"{unknown}: nothing waits, runs or has ended under that id" in said
    assert said.endswith("cancelled 3\n")
    found = case.wait(3)
    letters = [found.dead_letters[one][0] for one in ids]
    assert [(one["reason"], one["error_message"]) for one in letters] == [
        ("cancelled", "cancelled by an operator: ordered twice")
    ] * 3
    (call,) = attempts_of(case).values()
    assert (call["status"], call["outcome"], call["cost_usd"]) == ("finished", "cancelled", "0")
    assert booked(case, case.name) == Decimal(call["cost_upper_usd"]) > 0
    said = say(running, "cancel", ids[0])
    assert said == f"{ids[0]} has ended as a dead letter already: nothing is changed\n"
    # What comes in shortly after its id was called off ends too, and a replay is new work.
    running.set_faults(QUICK)
    case.publish(case.intent(intent_id=unknown))
    assert case.wait(4).dead_letters[unknown][0]["reason"] == "cancelled"
    assert not case.outcomes().doubled()
    again = intents["runs"]["intent_id"]
    say(running, "dlq", "replay", "--id", again, "--yes")
    eventually(lambda: set(case.outcomes().results), lambda seen: seen == {again})


def test_a_worker_that_is_killed_ends_what_was_called_off_meanwhile_and_nothing_else(
    case: Case,
) -> None:
    """The order comes after the kill: the next life ends each once, and calls none again."""
    running, intents = case.stack, scattered(case)
    ids = [one["intent_id"] for one in intents.values()]
    wanted = case.intent(not_before=later(12))
    case.publish(wanted)
    eventually(lambda: deferred(running), lambda count: count == 2)
    (pid,) = running.pids()
    with running.stack._changes:  # no worker is started again before the order stands
        os.kill(pid, signal.SIGKILL)
        say(running, "cancel", *ids, "--wait", "0")
        running.set_faults(QUICK)
    found = case.wait(4)
    assert {one: found.dead_letters[one][0]["reason"] for one in ids} == dict.fromkeys(
        ids, "cancelled"
    )
    assert set(found.results) == {wanted["intent_id"]}
    kill(running)  # once more, after all of it: nothing ends a second time
    assert case.outcomes().count() == 4
    assert not case.outcomes().doubled()
    finished = {one["intent"] for one in case.calls()} - {intents["runs"]["intent_id"]}
    assert finished == {wanted["intent_id"]}
    attempts = attempts_of(case).values()
    assert len(attempts) == 2, "of the one that ran at the kill, and of the one that is wanted"
    (lost,) = [one for one in attempts if one["intent_id"] == intents["runs"]["intent_id"]]
    assert lost["status"] == "started"
    assert booked(case, case.name) >= Decimal(lost["cost_upper_usd"]) > 0


def test_all_of_a_tenant_that_came_in_by_then_ends_and_others_go_on(case: Case) -> None:
    running = case.stack
    say(running, "pause", "--tenant", case.name)
    mine = [case.intent(tenant=case.name) for _ in range(20)]
    case.publish(*mine, case.intent())
    eventually(lambda: paused(running), lambda count: count == 20)
    none = say(running, "cancel", "--tenant", f"{case.name}-no", "--yes")
    assert none == "nothing like that waits or runs: nothing was ordered\n"
    said = say(running, "cancel", "--tenant", case.name, "--type", "message_generation", "--yes")
    assert said == "cancelled 20\n"
    case.publish(case.intent(tenant=case.name))
    say(running, "resume", "--tenant", case.name)
    found = case.wait(22)
    assert len(found.results) == 2
    assert set(found.dead_letters) == {one["intent_id"] for one in mine}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "say which: ids, or --tenant, --type, --until"),
        (("x" * 513,), "an intent's id has 1 to 512 signs"),
        (("order-4711", "--why", "x" * 513), "--why: give at most 512 signs"),
        (("order-4711", "--until", "soon"), "--until soon: write a moment"),
    ],
)
def test_what_cannot_be_ended_is_said(
    running: RunningStack, arguments: tuple[str, ...], said: str
) -> None:
    done = hybrid("cancel", *arguments, environment=running.stack.environment())
    assert done.returncode == 2
    assert said in done.stderr

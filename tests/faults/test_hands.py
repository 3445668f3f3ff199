"""Hands on the work: what is paused, put off or called off stays so over kill -9, once each."""

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.chaos.running import RunningStack, running_stack
from tests.integration.driving import Case, eventually
from tests.integration.test_commands import hybrid

pytestmark = pytest.mark.integration
QUICK = {"openai": {"latency_ms": 5}, "azure": {"latency_ms": 5}}


@pytest.fixture(scope="module")
def running(stack: RunningStack) -> Iterator[RunningStack]:
    """A worker of its own, to be killed."""
    with running_stack(workers=1, environment={}, partitions=4, host=stack) as own:
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

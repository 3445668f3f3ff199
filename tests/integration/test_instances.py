"""One running worker for each instance id."""

import os
import signal
import subprocess
from dataclasses import replace

import pytest

from streams.membership.single_instance import this_process
from tests.chaos.running import RunningStack
from tests.integration.driving import Case, eventually
from tests.integration.test_commands import hybrid

pytestmark = pytest.mark.integration


def test_a_second_worker_with_an_instance_id_in_use_is_refused_and_disturbs_nobody(
    stack: RunningStack,
) -> None:
    # A broker keeps the client id of a static member's first process: start it again once.
    first = stack.pids()[0]
    os.kill(first, signal.SIGKILL)
    eventually(lambda: stack.pids()[0] != first and stack.ready(0), lambda up: up)
    before, lanes = stack.pids(), stack.lanes(0)
    own = {"HYBRID_INSTANCE_ID": "worker-0", "HYBRID_METRICS_PORT": "0"}
    done = hybrid("worker", environment={**stack.stack.environment(), **own})
    said = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 2
    assert "HYBRID_INSTANCE_ID = worker-0: another worker runs with it" in said
    assert (stack.pids(), stack.lanes(0)) == (before, lanes)
    case = Case(stack)
    case.publish(*[case.intent() for _ in range(12)])
    case.wait(12)


def test_a_process_that_has_ended_is_told_from_one_that_runs() -> None:
    me = this_process()
    child = subprocess.Popen(["sleep", "0"])
    child.wait()
    assert me.runs
    assert not replace(me, started=me.started + 1).runs, "a later process with the same id"
    assert not replace(me, pid=child.pid).runs

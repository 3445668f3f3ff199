"""kill -9 where intents wait in batches: at each step, and at chance's moments among thousands."""

import asyncio
import os
import random
import signal
import sys
import time
from collections import Counter
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from hybrid.stack.process import free_port
from streams.batching.looking import read_batches
from streams.failpoints import BATCH_POINTS
from tests.chaos.batching import batching_settings
from tests.chaos.running import RunningStack, running_stack
from tests.integration.driving import Case, eventually
from tests.integration.test_batches import rows

pytestmark = pytest.mark.integration
#: What ends a batch is passed again by who goes on with it: the second passage is the one.
AT = {"batch_ended": 2, "batch_returned": 2}
INTENTS, LINES = 30, 10
#: Tokens of the simulator's pool: some 25 lines, of those.
ENQUEUED, POOLED = 2_500, 60
NOTE = {"note": "[[sim:tokens=100]]"}
#: What becomes of the first batches of the long run.
PLAN = ["ok", "expires", "lost", "fails", "ok", "cancelled", "503"]
MANY, MANY_LINES, KILLS = 5_000, 500, 5


def environment_of(folder: Path, port: int, *lines: str, **more: str) -> dict[str, str]:
    file = folder / "hybrid.toml"
    file.write_text(batching_settings(port, *lines))
    return {"HYBRID_CONFIG": str(file), "HYBRID_BATCH_WAIT": "1", **more}


@pytest.mark.timeout(240)
@pytest.mark.parametrize("point", BATCH_POINTS)
def test_a_kill_at_a_step_loses_nothing_and_submits_no_line_twice(
    stack: RunningStack, tmp_path: Path, point: str
) -> None:
    port, at = free_port(), AT.get(point, 1)
    environment = environment_of(
        tmp_path, port, HYBRID_BATCH_LINES=str(LINES), HYBRID_FAIL_POINT=f"{point}:{at}"
    )
    with running_stack(
        workers=2, environment=environment, simulator_port=port, host=stack
    ) as running:
        running.set_faults({"openai": {"latency_ms": 20, "batching": {"turnaround_s": 1.0}}})
        case = Case(running)
        case.publish(*(case.intent(NOTE, processing="batch") for _ in range(INTENTS)))
        found = case.wait(INTENTS, within_s=180)
        assert (len(found.results), found.dead_letters, found.doubled()) == (INTENTS, {}, {})
        assert running.stack.restarts, "none was killed"
        calls = case.calls()
        assert max(Counter(call["attempt_id"] for call in calls).values()) == 1
        assert len(calls) == INTENTS
        assert all(call["batch"] for call in calls)
        paid = sum(Decimal(one["total_cost_usd"]) for (one,) in found.results.values())
        assert paid == sum(Decimal(call["billed_usd"]) for call in calls)
        eventually(case.outcomes, lambda again: again.count() == INTENTS)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("limit", [None, ENQUEUED])
def test_a_pool_that_is_full_makes_nothing_dearer(
    stack: RunningStack, tmp_path: Path, limit: int | None
) -> None:
    port = free_port()
    lines = [] if limit is None else [f"batch_tokens = {limit}"]
    environment = environment_of(tmp_path, port, *lines, HYBRID_BATCH_LINES=str(LINES))
    with running_stack(
        workers=1, environment=environment, simulator_port=port, host=stack
    ) as running:
        faults = {"turnaround_s": 2.0, "most_enqueued": ENQUEUED}
        running.set_faults({"openai": {"latency_ms": 20, "batching": faults}})
        case = Case(running)
        case.publish(*(case.intent(NOTE, processing="batch") for _ in range(POOLED)))
        found = case.wait(POOLED, within_s=180)
        assert (len(found.results), found.dead_letters, found.doubled()) == (POOLED, {}, {})
        calls = case.calls()
        assert (len(calls), all(call["batch"] for call in calls)) == (POOLED, True)
        book = asyncio.run(read_batches(case.stack.settings))
        refused = [one for one in book.batches.values() if one.state == "failed"]
        assert bool(refused) is (limit is None)


@pytest.mark.timeout(240)
def test_a_batch_that_was_made_twice_is_told_of_cancelled_and_on_the_bill(
    stack: RunningStack, tmp_path: Path
) -> None:
    """The answer to its making is lost, and it is not in the list when it is asked for."""
    port = free_port()
    environment = environment_of(tmp_path, port)
    with running_stack(
        workers=1, environment=environment, simulator_port=port, host=stack
    ) as running:
        faults = {"turnaround_s": 20.0, "listed_after_s": 8.0, "plan": ["lost", "ok"]}
        running.set_faults({"openai": {"latency_ms": 20, "batching": faults}})
        case = Case(running)
        case.publish(*(case.intent(NOTE, processing="batch") for _ in range(LINES)))
        found = case.wait(LINES, within_s=120)
        assert (len(found.results), found.dead_letters, found.doubled()) == (LINES, {}, {})
        calls = case.calls()
        answered = Counter(call["attempt_id"] for call in calls)
        assert len({call["batch"] for call in calls}) == 2
        assert set(answered.values()) <= {1, 2}
        assert LINES < len(calls) < 2 * LINES, "the other one was cancelled"
        billed = sum(Decimal(call["billed_usd"]) for call in calls)
        written = eventually(lambda: rows(case, len(calls)), lambda found: len(found) == len(calls))
        assert sum(Decimal(one[3]) for one in written) == billed
        assert Counter(bool(one[5]) for one in written) == {
            True: LINES, False: len(calls) - LINES,
        }  # fmt: skip
        assert "batch_doubled" in (running.stack.folder / "logs/worker-0.log").read_text()


@pytest.mark.timeout(600)
def test_thousands_have_one_outcome_each_whatever_is_killed_and_whatever_batches_do(
    stack: RunningStack, tmp_path: Path
) -> None:
    port, dice = free_port(), random.Random(7)
    environment = environment_of(tmp_path, port, HYBRID_BATCH_LINES=str(MANY_LINES))
    with running_stack(
        workers=2, environment=environment, simulator_port=port, host=stack
    ) as running:
        faults: dict[str, Any] = {"turnaround_s": 4.0, "plan": PLAN}
        running.set_faults({"openai": {"latency_ms": 20, "batching": faults}})
        case = Case(running)
        case.publish(*(case.intent(NOTE, processing="batch") for _ in range(MANY)))
        for _ in range(KILLS):
            _kill_one(running, dice)
            pause_until = time.monotonic() + dice.uniform(4, 9)
            eventually(time.monotonic, lambda now, until=pause_until: now >= until)
        found = case.wait(MANY, within_s=300)
        assert (len(found.results), found.dead_letters, found.doubled()) == (MANY, {}, {})
        calls = case.calls()
        answered = Counter(call["attempt_id"] for call in calls)
        assert max(answered.values()) == 1, "no line is answered twice"
        in_batches = [call for call in calls if call["batch"]]
        billed = sum(Decimal(call["billed_usd"]) for call in calls)
        paid = sum(Decimal(one["total_cost_usd"]) for (one,) in found.results.values())
        sys.stdout.write(  # pytest -s shows it
            f"{MANY} intents, {running.stack.restarts} kills: {len(in_batches)} answered in "
            f"{len({call['batch'] for call in in_batches})} batches, {len(calls)} calls in all, "
            f"billed {billed} USD, in results {paid} USD\n"
        )
        # A call that was in flight when its worker was killed is made anew (ADR 21); a line never.
        assert billed - paid <= Decimal("0.0002") * (len(calls) - MANY)
        assert len(in_batches) >= MANY // 2


def _kill_one(running: RunningStack, dice: random.Random) -> None:
    with suppress(ProcessLookupError):
        os.kill(dice.choice(running.pids()), signal.SIGKILL)

"""kill -9 at each step of a batch: one outcome each, and no line submitted twice."""

from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from hybrid.stack.process import free_port
from streams.failpoints import BATCH_POINTS
from tests.chaos.batching import BATCHING
from tests.chaos.running import RunningStack, running_stack
from tests.integration.driving import Case, eventually

pytestmark = pytest.mark.integration
#: What ends a batch is passed again by who goes on with it: the second passage is the one.
AT = {"batch_ended": 2, "batch_returned": 2}
INTENTS, LINES = 30, 10


@pytest.mark.timeout(240)
@pytest.mark.parametrize("point", BATCH_POINTS)
def test_a_kill_at_a_step_loses_nothing_and_submits_no_line_twice(
    stack: RunningStack, tmp_path: Path, point: str
) -> None:
    port, file = free_port(), tmp_path / "hybrid.toml"
    file.write_text(BATCHING.format(port=port))
    environment = {
        "HYBRID_CONFIG": str(file),
        "HYBRID_BATCH_WAIT": "1",
        "HYBRID_BATCH_LINES": str(LINES),
        "HYBRID_FAIL_POINT": f"{point}:{AT.get(point, 1)}",
    }
    with running_stack(
        workers=2, environment=environment, simulator_port=port, host=stack
    ) as running:
        running.set_faults({"openai": {"latency_ms": 20, "batching": {"turnaround_s": 1.0}}})
        case = Case(running)
        note = {"note": "[[sim:tokens=100]]"}
        case.publish(*(case.intent(note, processing="batch") for _ in range(INTENTS)))
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

"""What makes workers, the recording and the broker end, one after the other, while work comes in."""

from dataclasses import replace

import pytest

from tests.chaos.harness import Plan, run
from tests.chaos.running import RunningStack
from tests.chaos.traffic import TrafficPlan

pytestmark = pytest.mark.integration
#: Of what upstream systems write, some is repeated, some is aborted and some is no intent.
TRAFFIC = TrafficPlan(rate=80, repeated=0.05, in_transactions=0.05, poison=0.01)
#: Lanes for each of three workers to gain and lose.
SIX = {"HYBRID_PARTITIONS": "6"}


@pytest.mark.timeout(300)
def test_kills_stops_and_crashes_of_the_recording_lose_nothing_and_double_nothing(
    stack: RunningStack,
) -> None:
    """I1: one outcome each. I2: repeats within what was in flight. I3: every call on record."""
    plan = Plan(
        seed=7,
        traffic=replace(TRAFFIC, intents=1_800),
        faults=("kill", "sigstop", "kill", "recorder", "clickhouse"),
        environment=SIX,
    )
    report = run(plan, host=stack)
    print(*(f"{name}: {value}" for name, value in report.rows()), sep="\n")  # noqa: T201 - shown when it fails
    assert report.problems() == []


@pytest.mark.timeout(240)
def test_rolling_restarts_and_broker_crashes_repeat_no_call(stack: RunningStack) -> None:
    plan = Plan(
        seed=3,
        traffic=replace(TRAFFIC, intents=1_500),
        faults=("rolling", "broker"),
        environment=SIX,
    )
    report = run(plan, host=stack)
    assert report.problems() == []
    assert report.calls.repeated() == 0
    assert report.recorded.cost_usd == report.calls.billed_usd

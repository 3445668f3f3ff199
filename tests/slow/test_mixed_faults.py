"""Workers, broker, recorder and engine die under the same traffic, one after the other."""

import pytest

from tests.chaos.harness import Plan, run
from tests.chaos.traffic import TrafficPlan

pytestmark = pytest.mark.integration


@pytest.mark.timeout(300)
def test_kills_stops_restarts_and_a_broker_crash_lose_nothing_and_double_nothing() -> None:
    """I1: one outcome each. I2: repeats within what was in flight. I3: every call on record."""
    plan = Plan(
        seed=7,
        traffic=TrafficPlan(
            intents=2_500, rate=80, repeated=0.05, in_transactions=0.05, poison=0.01
        ),
        faults=("kill", "broker", "sigstop", "kill", "recorder", "rolling", "clickhouse"),
    )
    report = run(plan)
    print(*(f"{name}: {value}" for name, value in report.rows()), sep="\n")  # noqa: T201 - shown when it fails
    assert report.problems() == []

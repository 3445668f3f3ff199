"""Intents that may wait, on real parts: gathered, answered in a batch at half the price, once."""

import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from hybrid.stack.process import free_port
from streams.store.clickhouse import ClickHouse
from tests.chaos.batching import BATCHING
from tests.chaos.running import RunningStack, running_stack
from tests.integration.driving import Case, eventually

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def batching(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    port = free_port()
    file = tmp_path_factory.mktemp("config") / "hybrid.toml"
    file.write_text(BATCHING.format(port=port))
    environment = {"HYBRID_CONFIG": str(file), "HYBRID_BATCH_WAIT": "1"}
    with running_stack(workers=2, environment=environment, simulator_port=port) as running:
        yield running


def play(running: RunningStack, **faults: Any) -> None:
    running.set_faults({"openai": {"latency_ms": 20, "batching": faults}})


def rows(case: Case, count: int) -> list[tuple[Any, ...]]:
    """The calls of the case in ClickHouse, once so many have ended."""
    store = ClickHouse(case.stack.settings)

    def look() -> list[tuple[Any, ...]]:
        _, found = store.rows(
            "SELECT intent_id, status, outcome, toString(cost_usd), price_id, used_result "
            f"FROM provider_attempts FINAL WHERE startsWith(intent_id, '{case.name}') "
            "ORDER BY intent_id, started_at"
        )
        return [tuple(one) for one in found]

    def ended(found: list[tuple[Any, ...]]) -> bool:
        return len(found) >= count and all(one[1] == "finished" for one in found)

    try:
        seen: list[tuple[Any, ...]] = eventually(look, ended)
    finally:
        store.close()
    return seen


def test_what_may_wait_is_answered_in_one_batch_at_half_the_price(batching: RunningStack) -> None:
    play(batching, turnaround_s=1.0)
    case = Case(batching)
    intents = [case.intent({"note": "[[sim:tokens=100]]"}, processing="batch") for _ in range(20)]
    case.publish(*intents)
    found = case.wait(20)
    assert (len(found.results), len(found.dead_letters)) == (20, 0)
    calls = case.calls()
    assert len(calls) == 20
    assert len({call["batch"] for call in calls}) == 1, "of all partitions, in one file"
    for (result,) in found.results.values():
        assert result["cost_info"]["cost_usd"] == result["total_cost_usd"] == "0.0001"
        assert result["metadata"] == {**result["metadata"], "attempt": 1, "fallback": False}
    billed = sum(Decimal(call["billed_usd"]) for call in calls)
    written = rows(case, 20)
    assert len(written) == 20
    assert billed == sum(Decimal(one[3]) for one in written) == Decimal("0.002")
    assert {(one[2], bool(one[5])) for one in written} == {("success", True)}
    assert all(one[4].endswith(":batch") for one in written), "the price says that it was a batch"


def test_the_others_are_called_for_at_once(batching: RunningStack) -> None:
    play(batching, turnaround_s=600.0)
    case = Case(batching)
    soon = case.intent(processing="batch", deadline_ms=60_000)
    case.publish(case.intent(), case.intent(processing="realtime"), soon)
    began = time.monotonic()
    assert len(case.wait(3).results) == 3
    assert time.monotonic() - began < 30
    assert {call["batch"] for call in case.calls()} == {""}


@pytest.mark.parametrize(
    ("fate", "share"),
    [("fails", 0), ("expires", 0.5), ("cancelled", 0.5), ("400", 0), ("lost", 1), ("503", 1)],
)
def test_what_a_batch_does_not_answer_is_called_for_at_once(
    batching: RunningStack, fate: str, share: float
) -> None:
    play(batching, turnaround_s=0.5, plan=[fate], done_share=0.5)
    case = Case(batching)
    case.publish(
        *(case.intent({"note": "[[sim:tokens=100]]"}, processing="batch") for _ in range(10))
    )
    found = case.wait(10)
    assert (len(found.results), found.doubled()) == (10, {})
    in_batches = [call for call in case.calls() if call["batch"]]
    assert len(in_batches) == 10 * share
    assert len(case.calls()) == 10, "no line is answered twice"
    written = rows(case, 20 - round(10 * share))
    billed = sum(Decimal(call["billed_usd"]) for call in case.calls())
    assert sum(Decimal(one[3]) for one in written) == billed
    unanswered = [one for one in written if one[2] == "cancelled"]
    assert len(unanswered) == 10 - 10 * share
    assert {Decimal(one[3]) for one in unanswered} <= {Decimal(0)}


def test_lines_that_fail_are_failed_calls(batching: RunningStack) -> None:
    play(batching, turnaround_s=0.5)
    case = Case(batching)
    good = case.intent(processing="batch")
    again = case.intent({"note": "[[sim:batch_status=500]]"}, processing="batch")
    wrong = case.intent({"note": "[[sim:status=400]]"}, processing="batch")
    case.publish(good, again, wrong)
    found = case.wait(3)
    ((result,), (second,)) = (found.results[one["intent_id"]] for one in (good, again))
    assert (result["metadata"]["attempt"], second["metadata"]["attempt"]) == (1, 2)
    ((letter,),) = found.dead_letters.values()
    assert (letter["intent_id"], letter["reason"]) == (wrong["intent_id"], "rejected")
    assert [one["http_status"] for one in letter["attempts"]] == [400]
    billed = sum(Decimal(call["billed_usd"]) for call in case.calls())
    assert sum(Decimal(one[3]) for one in rows(case, 4)) == billed


def test_looks_that_fail_are_looks_that_are_made_again(batching: RunningStack) -> None:
    play(batching, turnaround_s=0.5, looks=["503", "reset", "429"], uploads=["500", "lost"])
    case = Case(batching)
    case.publish(*(case.intent(processing="batch") for _ in range(3)))
    assert len(case.wait(3, within_s=90).results) == 3
    assert len(case.calls()) == 3
    assert all(call["batch"] for call in case.calls())

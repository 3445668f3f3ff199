"""Intents that may wait, on real parts: gathered, answered in a batch at half the price, once."""

import json
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from hybrid.stack.process import free_port
from streams.store.clickhouse import ClickHouse
from tests.chaos.batching import batching_settings
from tests.chaos.running import RunningStack, running_stack
from tests.integration.driving import Case, eventually
from tests.integration.test_commands import hybrid

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def batching(
    stack: RunningStack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningStack]:
    port = free_port()
    file = tmp_path_factory.mktemp("config") / "hybrid.toml"
    file.write_text(batching_settings(port))
    environment = {
        "HYBRID_CONFIG": str(file), "HYBRID_BATCH_WAIT": "1", "HYBRID_BATCH_MARGIN": "5",
    }  # fmt: skip
    with running_stack(
        workers=2, environment=environment, simulator_port=port, host=stack
    ) as running:
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


def test_embeddings_wait_in_a_batch_of_their_own(batching: RunningStack) -> None:
    play(batching, turnaround_s=0.1)
    case = Case(batching)
    model = "gpt-3.5-turbo"  # of both tasks, as no real model is
    texts = [f'{{"marker":"{case.name}"}} {number}' for number in range(3)]
    vectors = case.intent({"input": texts}, task="embedding", model=model, processing="batch")
    large = case.intent(
        {"input": texts * 124}, task="embedding", model=model, processing="batch",
        parameters={"dimensions": 800},
    )  # fmt: skip
    chat = case.intent(model=model, processing="batch")
    case.publish(vectors, large, chat)
    found = case.wait(3)
    assert (len(found.results), len(found.dead_letters)) == (3, 0)
    counts = [len(found.results[one["intent_id"]][0]["embeddings"]) for one in (vectors, large)]
    assert counts == [3, 372]
    calls = case.calls()
    batches = {call["batch"] for call in calls}
    assert len(batches) == 3, "one of vectors, one of chats; what fits into no record is in none"
    billed = sum(Decimal(call["billed_usd"]) for call in calls)
    assert sum(Decimal(one[3]) for one in rows(case, 3)) == billed


def test_the_others_are_called_for_at_once(batching: RunningStack) -> None:
    play(batching, turnaround_s=600.0)
    case = Case(batching)
    soon = case.intent(processing="batch", deadline_ms=9_000)
    case.publish(case.intent(), case.intent(processing="realtime"), soon)
    began = time.monotonic()
    assert len(case.wait(3).results) == 3
    assert time.monotonic() - began < 30, "and not when a batch has ended"
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


def test_who_says_nothing_waits_where_all_that_it_says_allows_it(batching: RunningStack) -> None:
    play(batching, turnaround_s=0.5)
    case = Case(batching)
    low, late = case.intent(priority="low"), case.intent(deadline_ms=2 * 86_400_000)
    case.publish(low, late, case.intent(priority="low", processing="realtime"))
    assert len(case.wait(3).results) == 3
    waited = {call["intent"] for call in case.calls() if call["batch"]}
    assert waited == {low["intent_id"], late["intent_id"]}


def test_what_would_be_late_goes_back_in_time_and_its_line_stays_on_the_bill(
    batching: RunningStack,
) -> None:
    play(batching, turnaround_s=12.0)
    case, began = Case(batching), time.time()
    late = case.intent(processing="batch", model="slow", deadline_ms=12_000)
    patient = case.intent(processing="batch", model="slow")  # no batch of it was before
    case.publish(late, patient)
    found = case.wait(1)
    assert time.time() - began < 12
    assert (set(found.results), found.dead_letters) == ({late["intent_id"]}, {})
    assert len(case.wait(2).results) == 2
    calls = case.calls()
    written = rows(case, 3)
    assert len(calls) == len(written) == 3
    billed = sum(Decimal(call["billed_usd"]) for call in calls)
    assert sum(Decimal(one[3]) for one in written) == billed
    (unused,) = [one for one in written if not one[5]]
    assert (unused[0], unused[2]) == (late["intent_id"], "success")


def test_a_batch_that_somebody_cancels_gives_its_intents_back(batching: RunningStack) -> None:
    play(batching, turnaround_s=600.0)
    environment = batching.stack.environment()
    case = Case(batching)
    case.publish(*(case.intent(processing="batch") for _ in range(3)))

    def listed() -> list[dict[str, Any]]:
        done = hybrid("batches", "list", "--format", "json", environment=environment)
        assert done.returncode == 0, done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return [one for one in found if one["state"] == "submitted" and one["waiting"] == 3]

    ((batch,),) = [eventually(listed, bool)]
    shown = hybrid("batches", "show", batch["batch"], "--format", "json", environment=environment)
    names = {one["intent_id"] for one in json.loads(shown.stdout)}
    assert names == {f"{case.name}-{number}" for number in (1, 2, 3)}
    assert hybrid("batches", "cancel", "nobody's", environment=environment).returncode == 2
    done = hybrid("batches", "cancel", batch["batch"], environment=environment)
    assert (done.returncode, batch["batch"] in done.stdout) == (0, True)
    assert len(case.wait(3).results) == 3
    assert not [call for call in case.calls() if call["batch"]]
    again = eventually(
        lambda: hybrid("batches", "cancel", batch["batch"], environment=environment),
        lambda one: one.returncode == 1,
    )
    assert "is cancelled: there is nothing to cancel" in again.stderr


def test_the_report_says_what_batches_saved(batching: RunningStack) -> None:
    play(batching, turnaround_s=0.5)
    case = Case(batching)
    tenant = f"t-{case.name}"
    note = {"note": "[[sim:tokens=1000]]"}
    case.publish(
        case.intent(note, tenant=tenant, processing="batch"), case.intent(note, tenant=tenant)
    )
    case.wait(2)
    rows(case, 2)
    environment = {
        **batching.stack.environment(), "CLICKHOUSE_URL": batching.stack.clickhouse,
    }  # fmt: skip
    done = hybrid(
        "costs", "report", "--by", "tenant", "--tenant", tenant, "--format", "json",
        environment=environment,
    )  # fmt: skip
    (row,) = json.loads(done.stdout)
    assert (Decimal(row["cost_usd"]), Decimal(row["batch_saved_usd"])) == (
        Decimal("0.003"), Decimal("0.001"),
    )  # fmt: skip

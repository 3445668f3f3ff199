"""kill -9 where providers keep their answers: real workers, each call made and paid once."""

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from hybrid.stack.process import free_port
from schemas.vocabulary import LogEvent
from streams.kafka.reading import read_topic
from streams.store.clickhouse import ClickHouse
from tests.chaos.background import BACKGROUND
from tests.chaos.running import RunningStack, running_stack
from tests.integration.driving import Case, eventually

pytestmark = pytest.mark.integration
#: What is kept can be found by its key where the type is this one.
FOUND, NOT_FOUND = "content_planning", "message_generation"


@pytest.fixture(scope="module")
def keeping(
    stack: RunningStack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningStack]:
    port = free_port()
    file = tmp_path_factory.mktemp("config") / "hybrid.toml"
    file.write_text(BACKGROUND.format(port=port, timeout=60))
    environment = {"HYBRID_CONFIG": str(file)}
    with running_stack(
        workers=2, environment=environment, simulator_port=port, host=stack
    ) as running:
        yield running


def play(running: RunningStack, *, latency_ms: float, **keeping: Any) -> None:
    running.set_faults({"openai": {"latency_ms": latency_ms, "keeping": keeping}})


def attempts(case: Case) -> list[dict[str, Any]]:
    """What was written of the case's calls, in order."""

    async def read() -> list[dict[str, Any]]:
        topic = case.stack.settings.topics.attempts
        found = [
            json.loads(one.value or b"{}") async for one in read_topic(case.stack.settings, topic)
        ]
        return [one for one in found if one["intent_id"].startswith(case.name)]

    return asyncio.run(read())


def kill_the_worker_of(case: Case) -> None:
    worker = attempts(case)[-1]["worker"]
    os.kill(case.stack.pids()[int(worker.rpartition("-")[2])], signal.SIGKILL)


def rows(case: Case, count: int) -> list[tuple[Any, ...]]:
    """The calls of the case in ClickHouse, once there are so many and the last has ended."""
    store = ClickHouse(case.stack.settings)

    def look() -> list[tuple[Any, ...]]:
        _, found = store.rows(
            "SELECT status, outcome, toString(cost_usd), toString(cost_upper_usd), "
            "provider_request_id, used_result FROM provider_attempts FINAL "
            f"WHERE startsWith(intent_id, '{case.name}') ORDER BY started_at"
        )
        return [tuple(one) for one in found]

    try:
        seen: list[tuple[Any, ...]] = eventually(
            look, lambda one: len(one) >= count and one[-1][0] == "finished"
        )
    finally:
        store.close()
    return seen


def logged(running: RunningStack, event: LogEvent, intent_id: str) -> bool:
    """Whether a worker said so of an intent."""
    for file in running.stack.folder.rglob("worker*.log"):
        for line in file.read_text(errors="replace").splitlines():
            if f'"{event.value}"' in line and intent_id in line:
                return True
    return False


@pytest.mark.parametrize("kind", [FOUND, NOT_FOUND])
def test_a_killed_workers_answer_is_fetched_and_paid_once(keeping: RunningStack, kind: str) -> None:
    play(keeping, latency_ms=6_000)
    case = Case(keeping)
    intent = case.intent({"note": "[[sim:tokens=300]]"}, type=kind)
    case.publish(intent)
    eventually(lambda: attempts(case), lambda found: any(map(_place, found)))
    assert not case.calls(), "it is still being made"
    kill_the_worker_of(case)
    result = case.result()
    (call,) = case.calls()
    assert (call["status"], call["billed_usd"]) == (200, "0.0006")
    assert Decimal(result["cost_info"]["cost_usd"]) == Decimal(result["total_cost_usd"])
    assert result["total_cost_usd"] == "0.0006"
    assert result["metadata"]["attempt"] == 1
    ((status, outcome, cost, upper, place, used),) = rows(case, 1)
    assert (status, outcome, bool(used)) == ("finished", "success", True)
    assert Decimal(cost) == Decimal(upper) == Decimal("0.0006")
    assert place == next(filter(None, map(_place, attempts(case))))
    eventually(lambda: logged(keeping, LogEvent.ANSWER_FETCHED, intent["intent_id"]), bool)


def _place(attempt: dict[str, Any]) -> str:
    return str(attempt["provider_request_id"])


def test_a_call_of_which_nothing_was_heard_is_found_by_its_key(keeping: RunningStack) -> None:
    play(keeping, latency_ms=10, answer_ms=10_000, idempotent=True)
    case = Case(keeping)
    case.publish(case.intent(type=FOUND))
    eventually(case.calls, bool)
    kill_the_worker_of(case)
    play(keeping, latency_ms=10, idempotent=True)
    result = case.result()
    (call,) = case.calls()
    assert Decimal(result["total_cost_usd"]) == Decimal(call["billed_usd"])
    ((status, outcome, cost, _, _, _),) = rows(case, 1)
    assert (status, outcome) == ("finished", "success")
    assert Decimal(cost) == Decimal(call["billed_usd"])


def test_where_it_cannot_be_found_it_is_told_and_bounded(keeping: RunningStack) -> None:
    play(keeping, latency_ms=10, answer_ms=10_000)
    case = Case(keeping)
    intent = case.intent(type=NOT_FOUND)
    case.publish(intent)
    eventually(case.calls, bool)
    kill_the_worker_of(case)
    play(keeping, latency_ms=10)
    case.result()
    first, second = case.calls()
    (lost, made) = rows(case, 2)
    assert (lost[0], made[0]) == ("started", "finished")
    assert Decimal(lost[3]) >= Decimal(first["billed_usd"]), "what it costs at most is on record"
    assert Decimal(made[2]) == Decimal(second["billed_usd"])
    eventually(lambda: logged(keeping, LogEvent.ANSWER_LOST, intent["intent_id"]), bool)


def test_a_stop_in_good_order_leaves_the_answer_to_the_next_owner(keeping: RunningStack) -> None:
    play(keeping, latency_ms=25_000)
    case = Case(keeping)
    case.publish(case.intent(type=NOT_FOUND))
    eventually(lambda: attempts(case), lambda found: any(map(_place, found)))
    worker = attempts(case)[-1]["worker"]
    os.kill(keeping.pids()[int(worker.rpartition("-")[2])], signal.SIGTERM)
    result = case.wait(1, within_s=90).results
    assert len(result) == 1
    assert [call["status"] for call in case.calls()] == [200]
    ((status, outcome, _, _, _, used),) = rows(case, 1)
    assert (status, outcome, bool(used)) == ("finished", "success", True)

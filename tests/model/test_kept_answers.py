"""What providers keep, over the lives of workers: the lane's next owner knows where each answer is."""

import asyncio
from typing import Any

from agents.executing.ports import LaneLostError
from agents.task import Completed, Task
from schemas.events import KeptCall
from tests.builders import a_result, an_attempt
from tests.model.test_lane_model import ModelExecutor, ModelWorker
from tests.model.test_suspects import World, offer, settle


class KeepingExecutor(ModelExecutor):
    """Calls of which it is noted that they are made, and where their answers are."""

    def __init__(self) -> None:
        super().__init__()
        self.tasks: list[Task] = []
        self.permits: list[Any] = []
        self.lost = 0

    async def execute(self, task: Task, permit: Any) -> Completed:
        self.tasks.append(task)
        self.permits.append(permit)
        if not task.kept:
            await permit.wait()
            attempt = an_attempt(task)
            await permit.keep(KeptCall(attempt=attempt))
            await permit.confirm()
            placed = attempt.model_copy(update={"provider_request_id": "resp_1"})
            try:
                await permit.keep(KeptCall(attempt=placed, key="k"))
            except LaneLostError:
                self.lost += 1
                raise
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.calls.append((task.intent_id, answer))
        await answer
        return Completed(a_result(task), an_attempt(task))

    @property
    def places(self) -> list[str]:
        """Where the newest execution's answers are that others asked for."""
        return [one.attempt.provider_request_id for one in self.tasks[-1].kept]


async def a_worker(world: World) -> tuple[ModelWorker, KeepingExecutor]:
    worker = await world.worker()
    executor = KeepingExecutor()
    object.__setattr__(worker.lane._parts, "executor", executor)
    return worker, executor


def test_a_dead_workers_answer_is_known_to_the_next_until_the_intent_is_decided() -> None:
    world = World()

    async def run() -> None:
        worker, _ = await a_worker(world)
        offer(worker, ["a"])
        await settle()
        worker.holds = False  # it is dead
        worker, executor = await a_worker(world)
        offer(worker, ["a"])
        await settle()
        assert executor.places == ["resp_1"]
        assert executor.tasks[-1].kept[0].key == "k"
        assert executor.tasks[-1].orphans == 1
        worker.holds = False  # this one dies too, while it fetches
        worker, executor = await a_worker(world)
        offer(worker, ["a"])
        await settle()
        assert executor.places == ["resp_1"]
        executor.pending()[0].set_result(None)
        await settle()
        assert world.broker.results() == {"a": 1}
        ledger = (await world.worker()).lane.ledger
        assert (ledger.starts("a"), ledger.kept("a")) == (0, ())

    asyncio.run(run())


def test_a_lane_that_is_given_up_in_good_order_leaves_its_answers_and_counts_no_death() -> None:
    world = World()

    async def run() -> None:
        worker, _ = await a_worker(world)
        offer(worker, ["a"])
        await settle()
        worker.lane.suspend()
        after, executor = await a_worker(world)
        await worker.lane.close()
        offer(after, ["a"])
        await settle()
        assert executor.places == ["resp_1"]
        assert executor.tasks[-1].orphans == 0

    asyncio.run(run())


def test_what_is_made_during_a_rebalance_is_known_and_its_start_stays_taken_back() -> None:
    world = World()

    async def run() -> None:
        worker, executor = await a_worker(world)
        offer(worker, ["a"])
        await settle()
        worker.lane.suspend()
        call = executor.tasks[-1]
        late = an_attempt(call).model_copy(
            update={"attempt_id": "b", "provider_request_id": "resp_2"}
        )
        await executor.permits[-1].keep(KeptCall(attempt=late))
        ledger = (await world.worker()).lane.ledger
        assert ledger.starts("a") == 0
        assert [one.attempt.provider_request_id for one in ledger.kept("a")] == ["resp_1", "resp_2"]

    asyncio.run(run())


def test_what_was_kept_for_another_intent_of_the_same_name_is_not_fetched() -> None:
    world = World()

    async def run() -> None:
        worker, executor = await a_worker(world)
        offer(worker, ["a"])
        await settle()
        other = an_attempt(executor.tasks[-1]).model_copy(
            update={"attempt_id": "b", "provider_request_id": "resp_2", "replay_count": 1}
        )
        await executor.permits[-1].keep(KeptCall(attempt=other))
        worker, executor = await a_worker(world)
        offer(worker, ["a"])
        await settle()
        assert executor.places == ["resp_1"]

    asyncio.run(run())


def test_a_call_that_has_ended_is_not_fetched() -> None:
    world = World()

    async def run() -> None:
        worker, executor = await a_worker(world)
        offer(worker, ["a"])
        await settle()
        executor.permits[-1].let_go(an_attempt(executor.tasks[-1]).attempt_id)
        await settle()
        ledger = (await world.worker()).lane.ledger
        assert (ledger.starts("a"), ledger.kept("a")) == (1, ())

    asyncio.run(run())


def test_a_lost_lane_notes_nothing() -> None:
    """Nobody would read it: who asks hears so, and cancels the answer."""
    world = World()

    async def run() -> None:
        worker, executor = await a_worker(world)
        offer(worker, ["a"])
        await settle()
        permit, call = executor.permits[-1], executor.tasks[-1]
        await worker.lane.close()
        before = len(world.broker.committed)
        try:
            await permit.keep(KeptCall(attempt=an_attempt(call)))
        except LaneLostError:
            assert len(world.broker.committed) == before
        else:
            raise AssertionError

    asyncio.run(run())


def test_an_earlier_version_passes_over_what_is_kept() -> None:
    """It reads the count; what it writes says nothing of answers, and they are asked for anew."""
    from schemas.base import Message

    class EarlierStart(Message):
        count: int

    world = World()

    async def run() -> None:
        worker, _ = await a_worker(world)
        offer(worker, ["a"])
        await settle()
        starts = [one for one in world.broker.committed if (one.key or b"").startswith(b"\0start/")]
        assert [EarlierStart.model_validate_json(one.value or b"").count for one in starts] == [
            1, 1, 1,
        ]  # fmt: skip

    asyncio.run(run())

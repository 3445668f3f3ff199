"""Who killed the worker: the one that did is taken out of circulation, and nobody beside it."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from agents.clock import ManualClock, SystemDice
from streams.lanes.job import Delivery
from streams.lanes.lane import Lane
from streams.messages.records import OutRecord
from tests.builders import NOW, NOW_MS, an_incoming
from tests.model.test_lane_model import TOPICS, ModelBroker, ModelJournal, ModelWorker


class CountingJournal(ModelJournal):
    """Starts go into the ledger's topic outside of transactions, as the real one writes them."""

    def __init__(self, broker: ModelBroker) -> None:
        self._broker = broker

    async def write_record(self, record: OutRecord) -> None:
        self.post_record(record)

    def post_record(self, record: OutRecord) -> None:
        self._broker.committed.append(record)


class World:
    """Lives of workers, one after the other, over one broker; a life is one event loop."""

    def __init__(self) -> None:
        self.broker = ModelBroker()
        self.clock, self.dice = ManualClock(NOW), SystemDice(1)

    async def worker(self) -> ModelWorker:
        one = ModelWorker(
            self.broker, self.clock, self.dice, 0, journal=CountingJournal(self.broker)
        )
        await settle()
        return one

    def ended(self) -> Counter[str]:
        return self.broker.results() + self.dead()

    def dead(self) -> Counter[str]:
        letters = (one for one in self.broker.committed if one.topic == TOPICS.dead_letters)
        return Counter(json.loads(one.value or b"")["intent_id"] for one in letters)


def offer(worker: ModelWorker, intent_ids: Iterable[str], lane: Lane | None = None) -> None:
    begin = worker.position._next or 0
    for offset, intent_id in enumerate(intent_ids, begin):
        value = json.dumps(
            {"type": "message_generation", "user_id": "u", "data": {}, "intent_id": intent_id}
        ).encode()
        incoming = replace(
            an_incoming(value), offset=offset, timestamp_ms=NOW_MS, topic=TOPICS.intents
        )
        assert worker.position.deliver(offset)
        (lane or worker.lane).offer(Delivery(incoming, worker.position), lambda: None)


async def settle() -> None:
    for _ in range(150):
        await asyncio.sleep(0)


def pending(worker: ModelWorker) -> dict[str, asyncio.Future[None]]:
    return {name: answer for name, answer in worker.executor.calls if not answer.done()}


def test_a_killer_among_twenty_neighbours_ends_alone() -> None:
    world, names = World(), [f"i-{number}" for number in range(21)]
    killer = names[10]

    async def a_life() -> None:
        """Until the killer is called, which ends everything at once, or all has ended."""
        worker = await world.worker()
        offer(worker, (name for name in names if name not in world.ended()))
        await settle()
        while (calls := pending(worker)) and killer not in calls:
            for answer in calls.values():
                answer.set_result(None)
            await settle()

    lives = 0
    while len(world.ended()) < len(names):
        asyncio.run(a_life())
        lives += 1
        assert lives < 10
    assert world.dead() == {killer: 1}
    spent = [
        json.loads(one.value or b"") for one in world.broker.committed if one.topic == TOPICS.spend
    ]
    assert spent[-1]["unpriced"]["month"][1] == 4, "what its calls cost, if they were, nobody knows"
    assert world.broker.results() == Counter(name for name in names if name != killer)


def test_suspects_of_all_lanes_run_one_at_a_time_beside_whoever_is_none() -> None:
    world = World()

    async def run() -> None:
        for _ in range(2):  # both were in flight when two workers ended
            offer(worker := await world.worker(), ["a", "b"])
            await settle()
            worker.holds = False
        worker = await world.worker()
        other = Lane(4, worker.lane._parts)
        await other.open()
        offer(worker, ["a", "new"])
        await settle()
        offer(worker, ["b"], other)
        await settle()
        assert set(pending(worker)) == {"a", "new"}
        pending(worker)["a"].set_result(None)
        await settle()
        assert set(pending(worker)) == {"b", "new"}

    asyncio.run(run())


def test_an_execution_knows_of_those_before_it_that_had_no_end() -> None:
    """Their calls may have been charged: it books them."""
    world = World()

    async def run() -> None:
        for deaths in range(3):
            offer(worker := await world.worker(), ["a"])
            await settle()
            assert worker.executor.orphans == [deaths]
            worker.holds = False
        worker = await world.worker()
        offer(worker, ["b"])
        await settle()
        assert worker.executor.orphans == [0]
        worker.lane.suspend()  # cleanly: what it called for is on record with its end
        await worker.lane.close()
        offer(worker := await world.worker(), ["b"])
        await settle()
        assert worker.executor.orphans == [0]

    asyncio.run(run())


def test_clean_moves_of_a_long_call_are_no_deaths() -> None:
    """Each next owner opens the lane before the one before hears that it has lost it."""
    world = World()

    async def run() -> None:
        worker = await world.worker()
        for _ in range(6):
            offer(worker, ["long"])
            await settle()
            assert list(pending(worker)) == ["long"]
            worker.lane.suspend()
            after = await world.worker()
            await worker.lane.close()
            worker = after
        assert worker.lane.ledger.starts("long") == 0
        offer(worker, ["long"])
        await settle()
        pending(worker)["long"].set_result(None)
        await settle()

    asyncio.run(run())
    assert (world.broker.results(), world.dead()) == ({"long": 1}, {})


def test_a_lane_that_comes_back_counts_its_starts_again() -> None:
    world = World()

    async def run() -> Any:
        worker = await world.worker()
        offer(worker, ["long"])
        await settle()
        worker.lane.suspend()
        worker.lane.resume()
        return (await world.worker()).lane.ledger.starts("long")

    assert asyncio.run(run()) == 1


def test_a_suspect_whose_lane_is_lost_while_it_waits_is_not_started() -> None:
    world = World()

    async def run() -> None:
        for _ in range(2):
            offer(worker := await world.worker(), ["a", "b"])
            await settle()
            worker.holds = False
        offer(worker := await world.worker(), ["a", "b"])
        await settle()
        worker.lane.suspend()
        pending(worker)["a"].set_result(None)  # its turn comes while the lane is suspended
        await settle()
        assert list(pending(worker)) == []
        await worker.lane.close()
        assert (await world.worker()).lane.ledger.starts("b") == 2

    asyncio.run(run())

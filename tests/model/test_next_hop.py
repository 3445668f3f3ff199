"""A deferred intent whose next hop is read before the commit that wrote it was heard."""

import asyncio
from dataclasses import replace
from typing import Any

from agents.clock import ManualClock, SystemDice
from agents.task import Completed, Deferred, Task
from schemas.events import DeferralState
from streams.lanes.job import Delivery
from streams.messages.offset_tracker import OffsetTracker
from tests.builders import NOW, NOW_MS, a_result, an_attempt, an_incoming
from tests.model.test_lane_model import TOPICS, ModelBroker, ModelProducer, ModelWorker
from tests.model.test_suspects import offer, settle


class LateBroker(ModelBroker):
    """What a commit has written can be read before the worker hears that it is done."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = asyncio.Event()

    async def open_producer(self, lane: int) -> ModelProducer:
        await super().open_producer(lane)
        return LateProducer(self, lane)


class LateProducer(ModelProducer):
    async def commit_transaction(self) -> None:
        await super().commit_transaction()
        broker = self._broker
        assert isinstance(broker, LateBroker)
        await broker.heard.wait()


class DefersOnce:
    async def execute(self, task: Task, _permit: Any) -> Completed | Deferred:
        if task.deferral is not None:
            return Completed(a_result(task), an_attempt(task))
        state = DeferralState(
            due_at_ms=NOW_MS,
            count=0,
            hop=1,
            reason="budget",
            intent_id=task.intent_id,
            source=task.source,
        )
        return Deferred(0, state)


def test_the_next_hop_runs_once_the_commit_that_wrote_it_is_heard() -> None:
    """It joined the job that had put it aside, and went with it: a lost intent, seen."""

    async def run() -> None:
        broker = LateBroker()
        worker = ModelWorker(broker, ManualClock(NOW), SystemDice(1), 0)
        worker.lane._parts.executor.execute = DefersOnce().execute  # type: ignore[method-assign]
        await settle()
        offer(worker, ["i"])
        await settle()
        (hop,) = (one for one in broker.committed if one.topic in TOPICS.deferred)
        position, freed = OffsetTracker(), list[int]()
        incoming = replace(
            an_incoming(hop.value),
            topic=hop.topic,
            offset=0,
            timestamp_ms=NOW_MS,
            headers=hop.headers,
        )
        assert position.deliver(0)
        worker.lane.offer(Delivery(incoming, position), lambda: freed.append(1))
        await settle()
        assert position.committable() == 0
        broker.heard.set()
        await settle()
        assert broker.results() == {"i": 1}
        assert position.committable() == 1
        assert freed == [1]
        await worker.lane.close()

    asyncio.run(run())

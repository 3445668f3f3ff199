"""Readiness goes by what Kafka answers; whether the process lives is another question."""

import asyncio
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError

from agents.clock import ManualClock
from agents.log import silent
from schemas.settings import Settings
from streams.membership.lease import Lease
from streams.recording.recorder import Recorder
from streams.worker.dispatcher import Dispatcher
from streams.worker.rebalance import Rebalance
from tests.builders import NOW
from tests.model.test_lane_model import ModelBroker
from tests.unit.test_broker_faults import Told
from tests.unit.test_broker_faults import a_lane as a_real_lane


class Open:
    """A dispatcher that takes work."""

    halted = False


def test_a_worker_that_the_broker_no_longer_hears_is_not_ready_until_it_does() -> None:
    clock = ManualClock(NOW)
    parts = a_real_lane(ModelBroker(), Told(), clock)._parts
    lease = Lease(session_timeout_s=10, clock=clock, log=silent)
    taking: Dispatcher = Open()  # type: ignore[assignment] # only whether it takes work is asked
    rebalance = Rebalance(
        parts.settings,
        parts,
        dispatcher=taking,
        flow=None,  # type: ignore[arg-type] # there are no lanes
        lease=lease,
        capacity=None,  # type: ignore[arg-type]
        pacer=None,  # type: ignore[arg-type]
        supervisor=None,  # type: ignore[arg-type]
        clock=clock,
        log=silent,
    )
    assert not rebalance.ready
    rebalance._assigned_once = True
    lease.heard()
    assert rebalance.ready
    clock.advance(10)
    assert not rebalance.ready
    lease.heard()
    assert rebalance.ready


class Reader:
    """A consumer whose broker can be away."""

    away = False

    def assignment(self) -> set[TopicPartition]:
        return {TopicPartition("workflow.attempts", 0)}

    async def end_offsets(self, owned: list[TopicPartition]) -> dict[TopicPartition, int]:
        if self.away:
            raise KafkaConnectionError
        return dict.fromkeys(owned, 7)

    async def beginning_offsets(self, owned: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(owned, 0)

    async def position(self, _tp: TopicPartition) -> int:
        return 7


def test_a_recorder_is_not_ready_while_kafka_is_away() -> None:
    recorder = Recorder(Settings(), clock=ManualClock(NOW), log=silent)
    reader: Any = Reader()
    recorder._reader = reader

    async def run() -> None:
        assert not recorder.ready  # ClickHouse has not been reached
        recorder.prepared = True
        await recorder._measure_lag(all_stored=True)
        assert recorder.ready
        reader.away = True
        await recorder._measure_lag(all_stored=True)
        assert not recorder.ready
        reader.away = False
        await recorder._measure_lag(all_stored=True)
        assert recorder.ready

    asyncio.run(run())

"""The rooms of a worker: what is read ahead, what runs unheard (nothing), what a stop means."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from agents.clock import ManualClock
from agents.log import silent
from schemas.events import DeferralState
from schemas.topics import Topics
from streams.lanes.lane import LaneState
from streams.messages.identity import Outline
from streams.messages.records import DEFERRAL_HEADER, Incoming
from streams.worker.dispatcher import Dispatcher
from streams.worker.fair_queue import FairQueue
from streams.worker.read_ahead import FEW_RECORDS
from streams.worker.rebalance import Rebalance
from streams.worker.stall_watch import STALL_LIMIT_S, StallWatch
from streams.worker.supervisor import Supervisor
from tests.builders import NOW, NOW_MS, an_incoming
from tests.model.test_lane_model import ModelBroker
from tests.unit.test_broker_faults import Told
from tests.unit.test_broker_faults import a_lane as a_real_lane

TOPICS = Topics("workflow", (10, 60, 600), 86_400)
MIB = 1024 * 1024


class Flow:
    """Remembers which partitions are paused."""

    def __init__(self) -> None:
        self.paused: set[tuple[str, int]] = set()

    def pause(self, topic: str, partition: int) -> None:
        self.paused.add((topic, partition))

    def resume(self, topic: str, partition: int) -> None:
        self.paused.discard((topic, partition))


class Gate:
    """Providers that are out are out for an hour; the others are free."""

    def __init__(self, *out: str) -> None:
        self.out = set(out)

    def wait_s(self, name: str, *, urgent: bool = False) -> float:  # noqa: ARG002
        return 3600.0 if name in self.out else 0.0

    def room(self, name: str) -> float:  # noqa: ARG002
        return float("inf")


class OneMore(Gate):
    """A provider that has room for one job more at each look; none of them ends."""

    most = 0

    def room(self, name: str) -> float:  # noqa: ARG002
        return self.most


@dataclass
class Waiting:
    tenant: str
    line: Any


def a_lane(state: LaneState = LaneState.OPEN) -> Any:
    """A lane that takes what it is given, and never ends it."""
    taken: list[Any] = []
    return SimpleNamespace(
        state=state, taken=taken, offer=lambda delivery, _finished: taken.append(delivery)
    )


def a_dispatcher(flow: Flow, gate: Gate, clock: ManualClock) -> Dispatcher:
    return Dispatcher(
        TOPICS,
        concurrency=256,
        clock=clock,
        flow=flow,
        gate=gate,
        # The key names the provider that an intent is routed to.
        outline=lambda one: Outline(tenant="t", route=((one.key or b"").decode(),)),
        weights={},
    )


def deliver(
    dispatcher: Dispatcher, flow: Flow, count: int, *, topic: str, to: str, size: int = 2
) -> None:
    """Deliver as a consumer does: a partition that is paused delivers no more."""
    for offset in range(count):
        for partition in range(12):
            if (topic, partition) not in flow.paused:
                dispatcher.put(
                    an_incoming(
                        b"x" * size,
                        topic=topic,
                        partition=partition,
                        offset=offset,
                        key=to.encode(),
                    )
                )


def test_urgent_work_of_a_healthy_provider_is_read_on_behind_a_flood_for_one_that_is_out() -> None:
    flow, clock = Flow(), ManualClock(NOW)
    dispatcher = a_dispatcher(flow, Gate("azure"), clock)
    lanes = {number: a_lane() for number in range(12)}
    dispatcher.resume(lanes)
    deliver(dispatcher, flow, 3_000, topic=TOPICS.intents, to="azure")
    deliver(dispatcher, flow, 500, topic=TOPICS.urgent, to="openai")
    dispatcher._dispatch()
    assert not any(topic == TOPICS.urgent for topic, _ in flow.paused)
    assert dispatcher.running == 256
    assert dispatcher.waiting < 3_000 * 12


def a_deferred(offset: int, *, to: str, due_in_s: float, size: int = 2) -> Incoming:
    state = DeferralState(
        due_at_ms=NOW_MS + int(due_in_s * 1000),
        count=1,
        hop=1,
        reason="rate_limit",
        intent_id=f"i-{offset}",
        source=an_incoming().source,
    )
    return an_incoming(
        b"x" * size,
        topic=TOPICS.deferred[1],
        partition=0,
        offset=offset,
        key=to.encode(),
        headers=((DEFERRAL_HEADER, state.to_json()),),
    )


def read_on(dispatcher: Dispatcher, flow: Flow, records: Iterator[Incoming]) -> int:
    """Deliver what a consumer would, for as long as the partition is not paused."""
    count = 0
    while (TOPICS.deferred[1], 0) not in flow.paused and (one := next(records, None)) is not None:
        dispatcher.put(one)
        dispatcher._dispatch()
        count += 1
    return count


def test_deferred_work_of_a_provider_that_is_out_blocks_none_behind_it() -> None:
    flow, lane = Flow(), a_lane()
    dispatcher = a_dispatcher(flow, Gate("azure"), ManualClock(NOW))
    dispatcher.resume({0: lane})
    due = [a_deferred(number, to="azure", due_in_s=-1) for number in range(1_000)]
    read_on(dispatcher, flow, iter([*due, a_deferred(1_000, to="openai", due_in_s=-1)]))
    assert [one.incoming.offset for one in lane.taken] == [1_000]


def test_of_deferred_work_that_is_not_due_only_a_little_is_read_ahead() -> None:
    flow, lane, clock = Flow(), a_lane(), ManualClock(NOW)
    dispatcher = a_dispatcher(flow, Gate("azure"), clock)
    dispatcher.resume({0: lane})
    records = iter([a_deferred(number, to="azure", due_in_s=30) for number in range(1_000)])
    assert read_on(dispatcher, flow, records) == FEW_RECORDS
    clock.advance(31)  # due, and its provider is out: what is behind it is read on
    assert dispatcher._dispatch() is not None
    assert flow.paused == set()


def test_large_deferred_records_that_are_not_due_are_bounded_in_bytes() -> None:
    flow, clock = Flow(), ManualClock(NOW)
    dispatcher = a_dispatcher(flow, Gate(), clock)
    dispatcher.resume({0: a_lane()})
    records = iter([a_deferred(n, to="openai", due_in_s=30, size=MIB) for n in range(1_000)])
    assert read_on(dispatcher, flow, records) == 1
    assert dispatcher._dispatch() == pytest.approx(30)
    clock.advance(30)
    dispatcher._dispatch()
    assert (flow.paused, dispatcher.running) == (set(), 1)


def test_records_of_a_mebibyte_are_bounded_in_bytes_and_not_by_their_number_alone() -> None:
    flow = Flow()
    dispatcher = a_dispatcher(flow, Gate("openai"), ManualClock(NOW))
    dispatcher.resume({number: a_lane() for number in range(12)})
    deliver(dispatcher, flow, 200, topic=TOPICS.intents, to="openai", size=MIB)
    assert len(flow.paused) == 12
    assert dispatcher.waiting <= 64 + 12


def test_a_partition_that_was_paused_is_read_on_when_its_records_have_gone() -> None:
    flow, gate = Flow(), Gate("openai")
    dispatcher = a_dispatcher(flow, gate, ManualClock(NOW))
    dispatcher.resume({number: a_lane() for number in range(12)})
    deliver(dispatcher, flow, 200, topic=TOPICS.intents, to="openai", size=MIB)
    gate.out.clear()
    dispatcher._dispatch()
    assert (dispatcher.waiting, flow.paused) == (0, set())


def test_a_stopping_worker_takes_nothing_new_whatever_a_rebalance_says() -> None:
    flow = Flow()
    dispatcher = a_dispatcher(flow, Gate(), ManualClock(NOW))
    lanes = {0: a_lane()}
    dispatcher.resume(lanes)
    dispatcher.stop()
    dispatcher.resume(lanes)  # a rebalance comes during the drain
    dispatcher.put(an_incoming(partition=0, key=b"openai"))
    dispatcher._dispatch()
    assert lanes[0].taken == []


def test_opening_lanes_are_no_stall_and_the_clock_begins_with_the_first_work() -> None:
    clock = ManualClock(NOW)
    dispatcher = a_dispatcher(Flow(), Gate(), clock)
    watch = StallWatch(dispatcher, in_group=lambda: True, clock=clock, log=silent)
    lanes = {0: a_lane(LaneState.OPENING)}
    dispatcher.resume(lanes)
    clock.advance(10 * STALL_LIMIT_S)  # idle for long, then work comes while the ledger is read
    dispatcher.put(an_incoming(partition=0, key=b"openai"))
    clock.advance(10 * STALL_LIMIT_S)
    assert not watch.stalled()
    lanes[0].state = LaneState.OPEN
    dispatcher.lane_opened()
    assert not watch.stalled()
    clock.advance(STALL_LIMIT_S + 1)  # open, work is there, and nobody begins it
    assert watch.stalled()


def test_a_topic_that_was_deleted_and_made_anew_is_read_from_its_beginning() -> None:
    dispatcher, lane = a_dispatcher(Flow(), Gate(), ManualClock(NOW)), a_lane()
    dispatcher.resume({3: lane})

    def put(*offsets: int) -> list[int]:
        lane.taken.clear()
        for offset in offsets:
            dispatcher.put(an_incoming(offset=offset, key=b"openai"))
        dispatcher._dispatch()
        return [one.incoming.offset for one in lane.taken]

    assert put(7, 8, 9) == [7, 8, 9]
    earlier = list(lane.taken)
    for one in earlier[:2]:
        one.done()
    place = dispatcher.committable()
    assert place == {(TOPICS.intents, 3): 9}
    dispatcher.committed(place)
    assert put(0, 1) == [0, 1]
    lane.taken[0].done()
    earlier[2].done()  # it stood elsewhere: nothing of the new topic is done by it
    assert dispatcher.committable() == {(TOPICS.intents, 3): 1}


def test_a_member_that_fetches_nothing_more_is_stalled_and_one_that_is_out_is_not() -> None:
    clock, member = ManualClock(NOW), [False]
    dispatcher = a_dispatcher(Flow(), Gate(), clock)
    watch = StallWatch(dispatcher, in_group=lambda: member[0], clock=clock, log=silent)
    clock.advance(10 * STALL_LIMIT_S)  # the broker is away
    assert not watch.deaf()
    member[0] = True
    clock.advance(STALL_LIMIT_S - 1)
    assert not watch.deaf()
    dispatcher.fetched()  # there was nothing, and we know
    clock.advance(STALL_LIMIT_S - 1)
    assert not watch.deaf()
    clock.advance(2)
    assert watch.deaf()


def test_a_tenant_that_waits_in_several_partitions_is_served_from_each_in_turn() -> None:
    queue: FairQueue[Waiting] = FairQueue({})
    for line in ("a", "b", "c"):
        for _ in range(3):
            queue.add(Waiting("t", line))
    queue.add(Waiting("late", "a"))

    taken = [queue.take(lambda _one: True) for _ in range(10)]
    order = [(one.tenant, one.line) for one in taken if one is not None]
    assert [line for tenant, line in order if tenant == "t"] == ["a", "b", "c"] * 3
    assert order.index(("late", "a")) <= 2  # and the other tenant has its turn beside them


def test_a_look_does_not_grow_with_the_tenants_that_wait_for_a_provider_that_is_out() -> None:
    looked: list[str] = []
    queue: FairQueue[Waiting] = FairQueue({})
    for number in range(25_000):
        queue.add(Waiting(f"tenant-{number}", ("workflow.intents", number % 12, ("azure",))))
    queue.add(Waiting("healthy", ("workflow.intents", 3, ("openai",))))

    def may_run(one: Waiting) -> bool:
        looked.append(one.tenant)
        return one.line[2] == ("openai",)

    taken = queue.take(may_run, is_blocked=lambda line: line[2] == ("azure",))
    assert taken is not None
    assert looked == ["healthy"]


def test_what_is_late_ends_although_its_provider_is_out() -> None:
    clock, flow = ManualClock(NOW), Flow()
    lanes = {0: a_lane()}
    dispatcher = Dispatcher(
        TOPICS,
        concurrency=4,
        clock=clock,
        flow=flow,
        gate=Gate("azure"),
        outline=lambda _one: Outline(
            tenant="t", route=("azure",), deadline_at_ms=clock.now_ms() + 5_000
        ),
        weights={},
    )
    dispatcher.resume(lanes)
    dispatcher.put(an_incoming(partition=0))
    assert dispatcher._dispatch() == pytest.approx(1.0)
    assert lanes[0].taken == []
    clock.advance(6)
    dispatcher._dispatch()
    assert len(lanes[0].taken) == 1


def test_one_at_a_time_neither_new_nor_returning_work_is_left_behind() -> None:
    """A provider that is probed takes one job in a look: it must not always be of the same kind."""
    clock, flow, gate = ManualClock(NOW), Flow(), OneMore()
    lanes = {0: a_lane()}
    dispatcher = a_dispatcher(flow, gate, clock)
    dispatcher.resume(lanes)
    for offset in range(6):
        dispatcher.put(a_deferred(offset, to="azure", due_in_s=-1))
        dispatcher.put(an_incoming(partition=0, offset=offset, key=b"azure"))
    for _ in range(6):
        gate.most += 1
        dispatcher._dispatch()
    topics = [one.incoming.topic for one in lanes[0].taken]
    assert topics.count(TOPICS.intents) == topics.count(TOPICS.deferred[1]) == 3


def test_the_oldest_of_what_waits_is_told_by_when_it_was_written_and_never_before_it_is_due() -> (
    None
):
    clock, flow = ManualClock(NOW), Flow()
    dispatcher = a_dispatcher(flow, Gate("azure"), clock)
    dispatcher.resume({0: a_lane()})
    assert dispatcher.oldest_waiting_s == 0
    dispatcher.put(a_deferred(1, to="azure", due_in_s=60))
    clock.advance(59)
    assert dispatcher.oldest_waiting_s == 0
    clock.advance(5)
    assert dispatcher.oldest_waiting_s == pytest.approx(4)
    dispatcher.put(an_incoming(b"x", topic=TOPICS.intents, partition=0, key=b"azure"))
    dispatcher.put(an_incoming(b"x", topic=TOPICS.intents, partition=0, offset=1, key=b"openai"))
    assert dispatcher.oldest_waiting_s == pytest.approx(64)
    dispatcher._dispatch()
    assert dispatcher.oldest_waiting_s == pytest.approx(64), "one provider is out"
    dispatcher.suspend()
    assert dispatcher.oldest_waiting_s == 0


def supervised(begin: Any) -> Supervisor:
    supervisor = Supervisor(log=silent)

    async def run() -> None:
        begin(supervisor)
        async with asyncio.timeout(5):
            await supervisor.until_stopped()

    asyncio.run(run())
    return supervisor


async def _raises() -> None:
    raise ZeroDivisionError


async def _returns() -> None:
    return


@pytest.mark.parametrize("task", [_raises, _returns])
def test_a_task_that_must_not_end_ends_the_worker_with_its_name(task: Any) -> None:
    supervisor = supervised(lambda one: one.keep("the dispatcher", task()))
    assert str(supervisor.failure).startswith("the dispatcher ended unexpectedly")


def test_a_task_that_may_end_ends_the_worker_only_by_an_error() -> None:
    def begin(supervisor: Supervisor) -> None:
        supervisor.once("opening lane 1", _returns())
        supervisor.once("opening lane 2", _raises())

    supervisor = supervised(begin)
    assert "opening lane 2 ended unexpectedly (ZeroDivisionError)" in str(supervisor.failure)


def test_the_first_failure_is_the_one_that_is_told() -> None:
    def begin(supervisor: Supervisor) -> None:
        supervisor.end("first")
        supervisor.end("second")

    assert str(supervised(begin).failure) == "first"


class SlowToEnd:
    """A pacer whose producer takes its time to stop."""

    def __init__(self) -> None:
        self.running = 0
        self.may_end = asyncio.Event()

    async def run(self) -> None:
        self.running += 1
        try:
            await asyncio.Event().wait()
        finally:
            await self.may_end.wait()
            self.running -= 1


def test_deliveries_are_paced_by_one_also_when_their_lane_is_back_at_once() -> None:
    async def run() -> None:
        pacer, parts = SlowToEnd(), a_real_lane(ModelBroker(), Told(), ManualClock(NOW))._parts
        rebalance = Rebalance(
            parts.settings,
            parts,
            dispatcher=None,  # type: ignore[arg-type] # the lanes stay out of it
            flow=None,  # type: ignore[arg-type]
            lease=None,  # type: ignore[arg-type]
            capacity=None,  # type: ignore[arg-type]
            pacer=pacer,  # type: ignore[arg-type]
            supervisor=Supervisor(log=silent),
            clock=parts.clock,
            log=silent,
        )
        for wanted in (True, False, True, True):
            rebalance._pace_deliveries(wanted=wanted)
            for _ in range(3):
                await asyncio.sleep(0)
            assert pacer.running == 1
        pacer.may_end.set()
        for _ in range(5):
            await asyncio.sleep(0)
        assert pacer.running == 1
        await rebalance.close()

    asyncio.run(run())

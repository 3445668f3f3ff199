"""Three kinds of broker errors, and what a lane does about each."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import errors

from agents.clock import ManualClock, SystemDice
from agents.deciding.budgets import Crossing, OverBudget, Spending
from agents.log import silent
from schemas.budgets import BudgetSpec
from schemas.codec import derive_intent_id
from schemas.events import LedgerRecord
from schemas.vocabulary import WorkflowStatus
from streams.failpoints import FailPoints
from streams.kafka import journal as journal_module
from streams.kafka.clients import _Admin, reached
from streams.kafka.faults import FaultKind, RefusedWriteError, kind_of, right_missing
from streams.kafka.patience import pause_s
from streams.lanes.job import Delivery, LaneEvents, LaneParts
from streams.lanes.lane import Lane, LaneState
from streams.lanes.ledger import Ledger
from streams.messages.offset_tracker import OffsetTracker
from streams.messages.records import OutRecord
from tests.builders import NOW, NOW_MS, an_incoming
from tests.model.test_lane_model import SETTINGS, TOPICS, ModelBroker, ModelJournal, ModelProducer


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errors.ProducerFenced(), FaultKind.FENCED),
        (errors.TopicAuthorizationFailedError(), FaultKind.RIGHT),
        (errors.TransactionalIdAuthorizationFailed(), FaultKind.RIGHT),
        (errors.ClusterAuthorizationFailedError(), FaultKind.RIGHT),
        (errors.MessageSizeTooLargeError(), FaultKind.RECORD),
        (errors.PolicyViolationError(), FaultKind.RECORD),
        (errors.KafkaTimeoutError(), FaultKind.INDEFINITE),
        (errors.InvalidProducerEpoch(), FaultKind.INDEFINITE),
        (errors.NotLeaderForPartitionError(), FaultKind.INDEFINITE),
        (TimeoutError(), FaultKind.INDEFINITE),
        (ValueError(), FaultKind.INDEFINITE),
        (RefusedWriteError("t", ValueError()), FaultKind.RECORD),
        (RefusedWriteError("t", errors.ProducerFenced()), FaultKind.FENCED),
        (RefusedWriteError("t", errors.KafkaTimeoutError()), FaultKind.INDEFINITE),
    ],
)
def test_each_error_is_of_one_kind(error: Exception, kind: FaultKind) -> None:
    assert kind_of(error) is kind


def test_a_missing_right_is_named_with_its_topic() -> None:
    refused = RefusedWriteError("workflow.results", errors.TopicAuthorizationFailedError())
    assert right_missing(refused) == "WRITE on topic workflow.results"
    assert right_missing(TimeoutError()) == "a right"
    # Whoever reads names one topic, a transaction names all that it may not write.
    read = errors.TopicAuthorizationFailedError("workflow.ledger")
    assert right_missing(read) == "READ on topic workflow.ledger"
    written = errors.TopicAuthorizationFailedError({"workflow.state", "workflow.cache"})
    assert right_missing(written) == "WRITE on topic workflow.cache, workflow.state"
    group = errors.GroupAuthorizationFailedError("workflow.orchestrator")
    assert right_missing(group) == "READ on group workflow.orchestrator"
    lane = RefusedWriteError("t", errors.TransactionalIdAuthorizationFailed("workflow.lane.0"))
    assert right_missing(lane) == "WRITE on transactional id workflow.lane.0"
    assert "transactional id" in right_missing(errors.TransactionalIdAuthorizationFailed())


def test_pauses_grow_and_are_bounded() -> None:
    assert [pause_s(n) for n in (1, 2, 3)] == [0.2, 0.4, 0.8]
    assert pause_s(1_000_000) == 5.0


class PickyProducer(ModelProducer):
    """Refuses records by a rule; counts its transactions."""

    async def send(self, topic: str, **record: Any) -> Awaitable[object]:
        broker: Any = self._broker
        error = broker.refuses(OutRecord(topic, record["key"], record["value"]))
        if error is None:
            return await super().send(topic, **record)
        failed: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        failed.set_exception(error)
        return failed


class PickyBroker(ModelBroker):
    def __init__(self, refuses: Any) -> None:
        super().__init__()
        self.refuses = refuses

    async def open_producer(self, lane: int) -> Any:
        await super().open_producer(lane)
        return PickyProducer(self, lane)


class Told:
    def __init__(self) -> None:
        self.broken: list[str] = []

    async def first(self) -> str:
        """Wait until a lane says why its worker must end."""
        async with asyncio.timeout(5):
            while not self.broken:
                await asyncio.sleep(0)
        return self.broken[0]


def a_lane(broker: ModelBroker, told: Told, clock: ManualClock, **events: Any) -> Lane:
    parts = LaneParts(
        settings=SETTINGS,
        executor=None,  # type: ignore[arg-type] # what is offered here is decided without a call
        journal=ModelJournal(),  # type: ignore[arg-type]
        clock=clock,
        dice=SystemDice(1),
        worker="w",
        log=silent,
        fail_points=FailPoints(None),
        lease_holds=lambda: True,
        broker=broker,
        spending=Spending(()),
        events=LaneEvents(on_broken=told.broken.append, **events),
    )
    return Lane(3, parts)


def offered(lane: Lane, count: int) -> OffsetTracker:
    """Records that are no intents: each becomes a dead letter without a call."""
    tracker = OffsetTracker()
    for offset in range(count):
        tracker.deliver(offset)
        value = b"not json." + (b" too large" if offset == 7 else b"")
        delivery = Delivery(an_incoming(value, offset=offset), tracker)
        lane.offer(delivery, lambda: None)
    return tracker


async def until_idle(lane: Lane) -> None:
    async with asyncio.timeout(5):
        await lane.drained()


def is_large_letter(record: OutRecord) -> Exception | None:
    large = b"IHRvbyBsYXJnZQ" in (record.value or b"")  # " too large" in base64, inside the letter
    return errors.MessageSizeTooLargeError() if large else None


def test_one_record_that_never_passes_ends_alone_and_nothing_waits_behind_it() -> None:
    async def run() -> None:
        told, clock = Told(), ManualClock(NOW)
        broker = PickyBroker(
            lambda one: is_large_letter(one) if one.topic == TOPICS.dead_letters else None
        )
        lane = a_lane(broker, told, clock)
        await lane.open()
        tracker = offered(lane, 20)
        await until_idle(lane)
        letters = [one for one in broker.committed if one.topic == TOPICS.dead_letters]
        assert len(letters) == 20
        assert sum(b"outcome_refused" in (one.value or b"") for one in letters) == 1
        assert tracker.committable() == 20
        assert told.broken == []
        assert sum(clock.slept) > 0  # never a loop without a pause
        await lane.close()

    asyncio.run(run())


def test_a_lane_that_another_has_opened_says_so_and_starts_nothing_anew() -> None:
    async def run() -> None:
        told, fenced, broker = Told(), list[int](), ModelBroker()
        lane = a_lane(broker, told, ManualClock(NOW), on_fenced=fenced.append)
        await lane.open()
        await a_lane(broker, Told(), ManualClock(NOW)).open()
        epochs = dict(broker.epochs)
        tracker = offered(lane, 3)
        async with asyncio.timeout(5):
            while not fenced:
                await asyncio.sleep(0)
        assert (fenced, told.broken, broker.epochs) == ([3], [], epochs)
        assert broker.committed == []
        assert not tracker.committable()
        await lane.close()

    asyncio.run(run())


def test_a_budget_that_holds_work_up_is_told_with_the_next_outcome() -> None:
    async def run() -> None:
        crossings: list[Crossing] = []
        lane = a_lane(ModelBroker(), Told(), ManualClock(NOW), on_crossing=crossings.append)
        budget = BudgetSpec(tenant="acme", per="day", usd=Decimal(1))
        lane._parts.spending.stopped("acme", OverBudget(budget, Decimal("0.99"), 60.0), NOW)
        await lane.open()
        offered(lane, 2)
        await until_idle(lane)
        assert [(one.tenant, one.hard, one.spent_usd) for one in crossings] == [
            ("acme", True, Decimal("0.99"))
        ]
        await lane.close()

    asyncio.run(run())


def test_a_missing_right_ends_the_worker_by_name() -> None:
    async def run() -> None:
        told = Told()
        broker = PickyBroker(
            lambda one: (
                errors.TopicAuthorizationFailedError() if one.topic == TOPICS.events else None
            )
        )
        lane = a_lane(broker, told, ManualClock(NOW))
        await lane.open()
        offered(lane, 3)
        assert f"WRITE on topic {TOPICS.events}" in await told.first()
        await lane.close()

    asyncio.run(run())


def test_what_nobody_can_write_ends_the_worker() -> None:
    async def run() -> None:
        told = Told()
        broker = PickyBroker(lambda _one: errors.MessageSizeTooLargeError())
        lane = a_lane(broker, told, ManualClock(NOW))
        await lane.open()
        offered(lane, 1)
        assert "not even a minimal dead letter" in await told.first()
        await lane.close()

    asyncio.run(run())


def test_an_observer_that_raises_is_heard() -> None:
    async def run() -> None:
        told = Told()

        def raises(_outcome: object) -> None:
            raise ZeroDivisionError

        lane = a_lane(ModelBroker(), told, ManualClock(NOW), on_outcome=raises)
        await lane.open()
        offered(lane, 1)
        assert "ended unexpectedly (ZeroDivisionError)" in await told.first()
        await lane.close()

    asyncio.run(run())


def test_a_lane_fences_nobody_without_a_lease() -> None:
    async def run() -> None:
        broker, clock, holds = ModelBroker(), ManualClock(NOW), [False]
        lane = a_lane(broker, Told(), clock)
        object.__setattr__(lane._parts, "lease_holds", lambda: holds[0])
        opening = asyncio.get_running_loop().create_task(lane.open())
        for _ in range(50):
            await asyncio.sleep(0)
        assert (broker.epochs.total(), lane.state) == (0, LaneState.OPENING)
        holds[0] = True
        await asyncio.wait_for(opening, 5)
        assert lane.state is LaneState.OPEN
        await lane.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (None, b"{}"), (b"k", b"not json"), (b"k", b'{"status": "odd"}'), (b"\xff\xfe", b"{}"),
        (b"\x00start/k", b"[]"),
    ],
)  # fmt: skip
def test_a_foreign_record_in_the_ledger_says_so_by_a_value_error(
    key: bytes | None, value: bytes
) -> None:
    ledger = Ledger(sources=TOPICS.sources, window_ms=1000)
    with pytest.raises(ValueError, match=r".*"):
        ledger.load(key, value)
    assert len(ledger) == 0


def test_a_deferral_is_known_at_its_three_hundredth_hop() -> None:
    ledger = Ledger(sources=TOPICS.sources, window_ms=1000)
    record = LedgerRecord(
        outcome_id="o",
        status=WorkflowStatus.DEFERRED,
        deferrals=300,
        topic=TOPICS.deferred[0],
        offset=1,
        decided_at_ms=0,
    )
    ledger.put("k", record)
    entry = ledger.get("k")
    assert entry is not None
    assert not ledger.is_over(entry, at_ms=10**9)
    assert entry.deferrals == 300


def test_a_lane_that_is_closed_while_it_opens_fences_nobody() -> None:
    async def run() -> None:
        broker = ModelBroker()
        lane = a_lane(broker, Told(), ManualClock(NOW))
        opening = asyncio.get_running_loop().create_task(lane.open())
        await asyncio.sleep(0)
        await lane.close()
        await asyncio.wait_for(opening, 5)
        assert (broker.epochs.total(), lane.state) == (0, LaneState.CLOSED)

    asyncio.run(run())


def test_a_lane_that_is_fenced_while_it_opens_gives_up() -> None:
    async def run() -> None:
        class Fencing(ModelBroker):
            starts = 0

            async def open_producer(self, _lane: int) -> Any:
                self.starts += 1
                raise errors.ProducerFenced

        told: list[int] = []
        broker = Fencing()
        lane = a_lane(broker, Told(), ManualClock(NOW), on_fenced=told.append)
        await asyncio.wait_for(lane.open(), 5)
        assert (broker.starts, lane.state, told) == (1, LaneState.CLOSED, [3])

    asyncio.run(run())


def test_a_right_taken_away_later_ends_the_worker_too() -> None:
    async def run() -> None:
        told, clock = Told(), ManualClock(NOW)

        class Later(PickyBroker):
            async def open_producer(self, lane: int) -> Any:
                if self.epochs[lane]:
                    raise errors.TransactionalIdAuthorizationFailed
                return await super().open_producer(lane)

        lane = a_lane(Later(lambda _one: errors.KafkaTimeoutError()), told, clock)
        await lane.open()
        offered(lane, 1)
        assert "transactional id" in await told.first()
        await lane.close()

    asyncio.run(run())


def test_an_event_about_a_repeat_that_is_refused_ends_no_worker() -> None:
    async def run() -> None:
        told = Told()
        broker = PickyBroker(
            lambda one: (
                errors.MessageSizeTooLargeError()
                if b"duplicate_ignored" in (one.value or b"")
                else None
            )
        )
        lane = a_lane(broker, told, ManualClock(NOW))
        await lane.open()
        offered(lane, 1)
        await until_idle(lane)
        tracker = OffsetTracker()
        tracker.deliver(9)
        # The same record's id again, as a record of its own: known by the ledger, an event says so.
        lane.ledger.put(
            derive_intent_id("workflow.intents", 3, 9, NOW_MS),
            LedgerRecord(
                outcome_id="o",
                status=WorkflowStatus.COMPLETED,
                topic=TOPICS.urgent,
                offset=1,
                decided_at_ms=int(NOW.timestamp() * 1000),
            ),
        )
        lane.offer(Delivery(an_incoming(b"not json.", offset=9), tracker), lambda: None)
        await until_idle(lane)
        assert (told.broken, tracker.committable()) == ([], 10)
        assert len([one for one in broker.committed if one.topic == TOPICS.dead_letters]) == 1
        await lane.close()

    asyncio.run(run())


def test_the_journal_makes_its_producer_anew_after_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    class Producer:
        """The first one has lost a batch: the broker refuses all that follows."""

        def __init__(self) -> None:
            self.broken, self.written, self.stopped = not made, list[Any](), False
            made.append(self)

        async def start(self) -> None:
            """Connects."""

        async def stop(self) -> None:
            self.stopped = True

        async def send_and_wait(self, topic: str, value: bytes, **_: Any) -> None:
            if self.broken:
                raise errors.OutOfOrderSequenceNumber
            self.written.append((topic, value))

    monkeypatch.setattr(journal_module, "producer", lambda *_args, **_options: Producer())

    async def run() -> None:
        journal = journal_module.AttemptJournal(
            SETTINGS, clock=ManualClock(NOW), log=silent, fail_points=FailPoints(None)
        )
        await journal.start()
        records = [OutRecord("t", None, bytes([n])) for n in range(5)]
        await asyncio.wait_for(asyncio.gather(*(journal.write_record(one) for one in records)), 5)
        await journal.stop()
        assert len(made) == 2  # once for all who waited
        assert made[0].stopped
        assert sorted(made[1].written) == [("t", bytes([n])) for n in range(5)]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("error", "sent", "told"),
    [(errors.MessageSizeTooLargeError(), 1, 0), (errors.KafkaTimeoutError(), 2, 1)],
)
def test_the_journal_tells_of_each_failure_that_passes_and_sends_nothing_twice_that_does_not(
    monkeypatch: pytest.MonkeyPatch, error: errors.KafkaError, sent: int, told: int
) -> None:
    writes: list[str] = []
    said: list[str] = []

    class Producer:
        """Fails at its first record, and no more."""

        async def start(self) -> None:
            """Connects."""

        async def stop(self) -> None:
            """Disconnects."""

        async def send_and_wait(self, topic: str, _value: bytes, **_: Any) -> None:
            writes.append(topic)
            if len(writes) == 1:
                raise error

    monkeypatch.setattr(journal_module, "producer", lambda *_args, **_options: Producer())

    async def run() -> None:
        journal = journal_module.AttemptJournal(
            SETTINGS,
            clock=ManualClock(NOW),
            log=lambda event, **_: said.append(event.value),
            fail_points=FailPoints(None),
        )
        await journal.start()
        with suppress(RefusedWriteError):
            await journal.write_record(OutRecord("t", None, b"x"))
        await journal.stop()

    asyncio.run(run())
    assert (len(writes), len(said)) == (sent, told)


def test_an_admin_client_asks_a_broker_that_answers() -> None:
    """The library's own asks one by chance, also one that has just died."""

    class Client:
        cluster = SimpleNamespace(
            brokers=lambda: [SimpleNamespace(nodeId=1), SimpleNamespace(nodeId=2)]
        )

        def __init__(self, *alive: int) -> None:
            self.alive = alive

        async def send(self, node: int, _request: object) -> int:
            if node not in self.alive:
                raise errors.NodeNotReadyError
            return node

    async def asked(*alive: int) -> int:
        admin = _Admin.__new__(_Admin)
        admin._client = Client(*alive)
        return int(await admin._send_request(object()))

    assert asyncio.run(asked(1, 2)) == 1
    assert asyncio.run(asked(2)) == 2
    with pytest.raises(errors.NodeNotReadyError):
        asyncio.run(asked())


def test_a_client_whose_reader_leaves_while_it_starts_is_stopped() -> None:
    async def scene() -> list[str]:
        said, begun = list[str](), asyncio.Event()

        class Client:
            async def start(self) -> None:
                begun.set()
                await asyncio.Event().wait()

            async def stop(self) -> None:
                said.append("stopped")

        async def read() -> None:
            async with reached(SETTINGS, Client(), within_s=20):
                said.append("read")

        reading = asyncio.create_task(read())
        await begun.wait()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        return said

    assert asyncio.run(scene()) == ["stopped"]

"""The lane against a model broker: whatever happens in whatever order, one outcome for each intent.

The model knows transactions, fencing by epochs, commits whose answer is lost before or after they
took effect, crashes, take-overs with the old owner still running (a zombie), and rebalances that
deliver again from the committed offset.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaTimeoutError, ProducerFenced
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agents.clock import ManualClock, SystemDice
from agents.deciding.budgets import Spending
from agents.log import silent
from agents.task import Completed, Task
from schemas.attempt import ProviderAttempt
from schemas.settings import Settings
from streams.failpoints import FailPoints
from streams.lanes.job import Delivery, LaneEvents, LaneParts
from streams.lanes.lane import Lane, LaneState
from streams.lanes.ledger import Ledger
from streams.lanes.packing import Written
from streams.lanes.reach import horizon_ms
from streams.messages.offset_tracker import OffsetTracker
from streams.messages.records import OutRecord
from tests.builders import NOW, a_result, an_attempt, an_incoming

#: Rounds in which nothing happens, after which nothing will.
QUIET_ROUNDS = 5
SETTINGS = Settings()
TOPICS = SETTINGS.topics


class ModelBroker:
    """Committed records and, for each lane, the epoch of its newest producer."""

    def __init__(self) -> None:
        self.committed: list[OutRecord] = []
        self.epochs = Counter[int]()
        self.trouble: list[str] = []
        self.horizon: Callable[[], int] = lambda: 0

    async def open_producer(self, lane: int) -> "ModelProducer":
        # Long enough for an old owner to commit before it is fenced.
        for _ in range(15):
            await asyncio.sleep(0)
        self.epochs[lane] += 1
        return ModelProducer(self, lane)

    async def mark_ends(self, _lane: int, _client: "ModelProducer") -> dict[TopicPartition, int]:
        return {}

    async def read_ledger(
        self, _lane: int, ledger: Ledger, _ends: Mapping[TopicPartition, int]
    ) -> int:
        await asyncio.sleep(0)
        ledger.advance(self.horizon())
        entries = [one for one in self.committed if one.topic == TOPICS.ledger]
        for record in entries[ledger.next_offset :]:
            ledger.load(record.key or b"", record.value)
        ledger.next_offset = len(entries)
        for record in self.committed:
            if record.topic == TOPICS.replays:
                ledger.replays.load(record.value or b"")
        await asyncio.sleep(0)
        return len(entries)

    async def horizons(self, lanes: Iterable[int]) -> dict[int, int]:
        return dict.fromkeys(lanes, self.horizon())

    def results(self) -> Counter[str]:
        return Counter(
            json.loads(one.value or b"")["intent_id"]
            for one in self.committed
            if one.topic == TOPICS.results
        )


class ModelProducer:
    """One producer; fenced when a newer one was opened."""

    def __init__(self, broker: ModelBroker, lane: int) -> None:
        self._broker = broker
        self._lane = lane
        self._epoch = broker.epochs[lane]
        self._open: list[OutRecord] = []

    def _check(self) -> None:
        if self._epoch != self._broker.epochs[self._lane]:
            raise ProducerFenced

    async def begin_transaction(self) -> None:
        self._check()
        self._open = []

    async def send(
        self, topic: str, *, value: Any, key: Any, partition: Any, headers: Any
    ) -> Awaitable[object]:
        self._check()
        self._open.append(OutRecord(topic, key, value, tuple(headers), partition))
        done: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    async def write(self, records: Sequence[OutRecord]) -> list[Written]:
        return [
            (
                one.topic,
                await self.send(
                    one.topic,
                    value=one.value,
                    key=one.key,
                    partition=one.partition,
                    headers=one.headers,
                ),
            )
            for one in records
        ]

    async def commit_transaction(self) -> None:
        await asyncio.sleep(0)
        self._check()
        trouble = self._broker.trouble.pop(0) if self._broker.trouble else "none"
        if trouble == "lost before":
            raise KafkaTimeoutError
        self._broker.committed += self._open
        if trouble == "lost after":
            raise KafkaTimeoutError

    async def stop(self) -> None:
        self._open = []


class ModelExecutor:
    """Paid calls that end when the machine says so."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, asyncio.Future[None]]] = []
        self.made: Counter[str] = Counter()
        self.orphans: list[int] = []

    async def execute(self, task: Task, permit: Any) -> Completed:
        await permit.wait()
        await permit.confirm()
        self.made[task.intent_id] += 1
        self.orphans.append(task.orphans)
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.calls.append((task.intent_id, answer))
        await answer
        return Completed(a_result(task), an_attempt(task))

    def pending(self) -> list[asyncio.Future[None]]:
        return [answer for _, answer in self.calls if not answer.done()]


class ModelJournal:
    async def write_record(self, _record: OutRecord) -> None:
        await asyncio.sleep(0)

    def post_record(self, _record: OutRecord) -> None:
        """A start that is taken back."""

    def post(self, _attempt: ProviderAttempt, _traceparent: str | None) -> None:
        """Journalled as unused."""


class ModelWorker:
    """One owner of the lane: the current one, or a zombie."""

    def __init__(
        self,
        broker: ModelBroker,
        clock: ManualClock,
        dice: SystemDice,
        start: int,
        journal: Any = None,
    ) -> None:
        self.executor = ModelExecutor()
        self.holds = True
        self.fenced = False
        self.position = OffsetTracker()
        self.next = start
        parts = LaneParts(
            settings=SETTINGS,
            executor=self.executor,  # type: ignore[arg-type]
            journal=journal or ModelJournal(),
            clock=clock,
            dice=dice,
            worker="w",
            log=silent,
            fail_points=FailPoints(None),
            lease_holds=lambda: self.holds,
            broker=broker,
            spending=Spending(()),
            events=LaneEvents(on_fenced=lambda _lane: setattr(self, "fenced", True)),
        )
        self.lane = Lane(3, parts)
        self.opening = asyncio.get_running_loop().create_task(self.lane.open())


class LaneMachine(RuleBasedStateMachine):
    """Rules are what the world does; invariants are the promise."""

    @initialize()
    def begin(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.broker = ModelBroker()
        self.clock = ManualClock(NOW)
        self.dice = SystemDice(1)
        self.source: list[str] = []
        self.written: list[int] = []
        self.day = 0
        self.broker.horizon = self._horizon
        self.committed = 0
        self.handovers = 0
        self.troubles = 0
        self.zombies: list[ModelWorker] = []
        self.worker = self._run(self._new_worker())
        self._settle()

    # ── the world ───────────────────────────────────────────────────────────────────────────

    @rule(number=st.integers(0, 4), at_once=st.booleans())
    def publish(self, number: int, at_once: bool) -> None:
        """Few ids, so that repeats are common; most are delivered before anything else happens."""
        self._publish(f"i-{number}-{self.day}" if self.day else f"i-{number}")
        if at_once:
            self._deliver()
            self._settle()

    @rule()
    @precondition(lambda self: self.worker.next < len(self.source))
    def deliver(self) -> None:
        self._deliver()
        self._settle()

    @rule(choice=st.integers(0, 20))
    @precondition(lambda self: self.worker.executor.pending())
    def finish_a_call(self, choice: int) -> None:
        pending = self.worker.executor.pending()
        pending[choice % len(pending)].set_result(None)
        self._settle()

    @rule()
    @precondition(lambda self: any(one.executor.pending() for one in self.zombies))
    def a_zombie_finishes(self) -> None:
        for zombie in self.zombies:
            for answer in zombie.executor.pending():
                answer.set_result(None)
        self._settle()

    @rule(how=st.sampled_from(["lost before", "lost after"]))
    def the_next_commit_is_indefinite(self, how: str) -> None:
        self.broker.trouble.append(how)
        self.troubles += 1

    @rule()
    def commit_offsets(self) -> None:
        self._commit_offsets()

    @rule()
    def a_day_passes(self) -> None:
        """What comes from now on is new; what is not committed may come again all the same."""
        self.clock.advance(2 * SETTINGS.hybrid_deduplication_window)
        self.day += 1
        self.worker.lane.ledger.advance(self._horizon())
        self.worker.lane.ledger.prune()

    @rule()
    def crash(self) -> None:
        """kill -9: nothing of the old owner runs on."""
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self._hand_over()
        self._settle()

    @rule(sees_it=st.booleans(), finishes=st.booleans())
    def take_over(self, sees_it: bool, finishes: bool) -> None:
        """The old owner runs on for a while, its lease gone or (in doubt) still held."""
        zombie = self.worker
        zombie.holds = not sees_it
        self.zombies.append(zombie)
        self._hand_over()
        if finishes:
            for answer in zombie.executor.pending():
                answer.set_result(None)
        self._settle()

    @rule(how=st.sampled_from(["lost before", "lost after"]), decided=st.integers(0, 3))
    @precondition(lambda self: self.worker.lane.state is LaneState.OPEN)
    @precondition(lambda self: self.worker.executor.pending())
    def away_and_back(self, how: str, decided: int) -> None:
        """Out of the group with a commit in doubt; another has the lane, then it comes back."""
        away = self.worker
        away.holds = False
        self.broker.trouble.append(how)
        self.troubles += 1
        away.executor.pending()[0].set_result(None)
        self._settle()  # it does not open anew what may be somebody else's
        self._hand_over()
        self._settle()
        other = self.worker
        self.zombies.append(other)
        while other.next < len(self.source) and other.lane.state is LaneState.OPEN:
            self._deliver()
        self._settle()
        for answer in other.executor.pending()[:decided]:
            answer.set_result(None)
        self._settle()
        self._commit_offsets()
        self._run(other.lane.close())
        away.lane.suspend()
        away.position, away.next, away.holds = OffsetTracker(), self.committed, True
        self.handovers += 1
        self.worker = away
        away.lane.resume()
        self._settle()

    @rule()
    @precondition(lambda self: self.worker.lane.state is LaneState.OPEN)
    def rebalance(self) -> None:
        """The lane comes back: what runs goes on, and is delivered again from the committed offset."""
        self.worker.lane.suspend()
        self._settle()
        self.worker.position = OffsetTracker()
        self.worker.next = self.committed
        self.worker.lane.resume()
        self._settle()

    # ── the promise ─────────────────────────────────────────────────────────────────────────

    @invariant()
    def no_intent_has_two_results(self) -> None:
        doubled = {one: count for one, count in self.broker.results().items() if count > 1}
        assert not doubled

    @invariant()
    def no_call_is_repeated_without_a_handover(self) -> None:
        made = sum((one.executor.made for one in [self.worker, *self.zombies]), Counter[str]())
        assert all(count <= 1 + self.handovers for count in made.values())

    @invariant()
    def who_is_fenced_never_starts_a_producer_again(self) -> None:
        assert self.broker.epochs.total() <= 1 + self.handovers + self.troubles

    def teardown(self) -> None:
        """When the faults end, everything ends: each intent once, every offset committed."""
        if not hasattr(self, "loop"):
            return
        self.broker.trouble.clear()
        quiet = 0
        for _ in range(200):
            before = self._told()
            if self.worker.fenced:
                self._hand_over()
            if self.worker.lane.state is LaneState.OPEN and self.worker.next < len(self.source):
                self._deliver()
            for one in [self.worker, *self.zombies]:
                for answer in one.executor.pending():
                    answer.set_result(None)
            self._settle()
            quiet = quiet + 1 if self._told() == before else 0
            if quiet == QUIET_ROUNDS:
                break
        self._commit_offsets()
        results = self.broker.results()
        try:
            assert results == Counter(set(self.source))
            assert self.committed == len(self.source)
        finally:
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.run_until_complete(asyncio.sleep(0))
            self.loop.close()

    # ── machinery ───────────────────────────────────────────────────────────────────────────

    def _publish(self, intent_id: str) -> None:
        self.source.append(intent_id)
        self.written.append(self.clock.now_ms())

    def _horizon(self) -> int:
        """What a broker says of the source's committed offset."""
        head = self.written[self.committed : self.committed + 1]
        return horizon_ms(head, now_ms=self.clock.now_ms())

    def _run(self, coroutine: Any) -> Any:
        return self.loop.run_until_complete(coroutine)

    async def _new_worker(self) -> ModelWorker:
        return ModelWorker(self.broker, self.clock, self.dice, self.committed)

    def _hand_over(self) -> None:
        self.handovers += 1
        self.worker = self._run(self._new_worker())

    def _deliver(self) -> None:
        worker = self.worker
        if worker.lane.state is not LaneState.OPEN:
            return
        offset, worker.next = worker.next, worker.next + 1
        intent_id = self.source[offset]
        value = json.dumps(
            {"type": "message_generation", "user_id": "u", "data": {}, "intent_id": intent_id}
        ).encode()
        incoming = replace(
            an_incoming(value),
            offset=offset,
            timestamp_ms=self.written[offset],
            topic=TOPICS.intents,
        )
        if worker.position.deliver(offset):
            self._run(self._offer(worker, incoming))

    async def _offer(self, worker: ModelWorker, incoming: Any) -> None:
        worker.lane.offer(Delivery(incoming, worker.position), lambda: None)

    def _commit_offsets(self) -> None:
        offset = self.worker.position.committable()
        if offset is not None:
            self.worker.position.committed(offset)
            self.committed = offset

    def _told(self) -> tuple[object, ...]:
        """What changes while there is something left to do."""
        owners = [self.worker, *self.zombies]
        return (
            self.worker,
            self.worker.lane.state,
            self.worker.next,
            [len(one.executor.calls) for one in owners],
            sum(len(one.executor.pending()) for one in owners),
            len(self.broker.committed),
            self.worker.position.committable(),
        )

    def _settle(self) -> None:
        async def idle() -> None:
            """Let all that can run have run: what waits now waits for the machine."""
            ready: Collection[object] = self.loop._ready  # type: ignore[attr-defined]
            for _ in range(80):
                await asyncio.sleep(0)
                if not ready:
                    return

        self._run(idle())
        if self.worker.fenced:
            # What the worker does: end, and be started again.
            self._hand_over()
            self._run(idle())


def test_what_the_old_owner_commits_while_it_is_taken_over_is_not_run_again() -> None:
    """The ledger is read after the producer has started: before that the old owner may still write."""
    world = LaneMachine()
    world.begin()
    world.publish(number=1, at_once=True)
    world.take_over(sees_it=False, finishes=True)
    world.deliver()
    assert not world.worker.executor.pending()
    assert world.broker.results() == {"i-1": 1}
    world.teardown()


def test_a_zombie_is_fenced_and_stays_so() -> None:
    world = LaneMachine()
    world.begin()
    world.publish(number=1, at_once=True)
    world.take_over(sees_it=False, finishes=False)
    world.a_zombie_finishes()
    world.who_is_fenced_never_starts_a_producer_again()
    assert world.broker.results() == {}
    world.teardown()


def test_what_others_decided_while_we_were_away_is_not_decided_again() -> None:
    """Seen with a frozen broker: an answer that waited for its commit became a second outcome."""
    world = LaneMachine()
    world.begin()
    for number in range(3):
        world.publish(number=number, at_once=True)
    world.away_and_back(how="lost before", decided=2)
    world.no_intent_has_two_results()
    assert world.broker.results() == {"i-0": 1, "i-1": 1}
    assert len(world.worker.executor.pending()) == 1  # what nobody decided goes on
    world.teardown()


def test_a_day_later_a_take_over_runs_nothing_again_that_is_decided() -> None:
    """The first intent waits, so no offset is committed, and Kafka brings all of them again."""
    world = LaneMachine()
    world.begin()
    for number in range(101):
        world._publish(f"i-{number}")
        world._deliver()
    world._settle()
    for answer in world.worker.executor.pending()[1:]:
        answer.set_result(None)
    world._settle()
    world.commit_offsets()
    assert (world.committed, world.broker.results().total()) == (0, 100)
    world.a_day_passes()
    world.crash()
    for _ in range(101):
        world._deliver()
    world._settle()
    assert world.worker.executor.made == {"i-0": 1}
    world.teardown()


TestLane = LaneMachine.TestCase
TestLane.settings = settings(
    max_examples=150,
    stateful_step_count=30,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # shrinking takes minutes here
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

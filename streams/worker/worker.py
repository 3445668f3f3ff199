"""One worker: Faust app, intake, lanes, journal, lease; from start to clean stop."""

import asyncio
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any

from aiokafka import ConsumerRecord
from aiokafka.errors import KafkaError

from agents.clock import Clock, Dice
from agents.deciding.budgets import Spending
from agents.deciding.cache import AnswerCache
from agents.executing.executor import Executor
from agents.log import Log
from agents.pricing.prices import PriceBook
from agents.providers.adapters import Provider
from agents.task import Completed, Deferred, Failed, Outcome
from schemas.budgets import SpendRecord
from schemas.events import CachedAnswer
from schemas.settings import Settings
from schemas.vocabulary import LogEvent
from streams.deliveries.pacer import DeliveryPacer
from streams.failpoints import FailPoints
from streams.kafka.clients import BrokerUnavailableError
from streams.kafka.following import follow
from streams.kafka.journal import AttemptJournal
from streams.kafka.topics import check_topics, require_usable
from streams.lanes.broker import KafkaLaneBroker
from streams.lanes.job import LaneParts
from streams.lanes.lane import Lane, LaneState
from streams.membership.faust_app import TP, Offsets, build_app
from streams.membership.lease import Lease
from streams.membership.single_instance import require_free_instance
from streams.messages.identity import outline
from streams.worker.assembly import capacity_of, hedging_of, policy_of, router_of
from streams.worker.dispatcher import Dispatcher
from streams.worker.incidents import Incidents

__all__ = ["Worker", "WorkerEndedError"]

#: Work is waiting, slots are free, and nothing has begun or ended for this long: a silent stall.
STALL_LIMIT_S = 120
STALLED_STATUS = 76
#: Deliveries are paced by one process: the one that has this lane.
DELIVERIES_LANE = 0
#: After the drain budget, whatever a stop still does may take this long.
STOP_GRACE_S = 15


class WorkerEndedError(Exception):
    """Raised when a worker ends itself; the message says why and what to do."""


class Worker:
    """Runs until `stop`; everything of it lives on one loop (Faust's consumer has a thread)."""

    def __init__(
        self,
        settings: Settings,
        *,
        name: str,
        providers: dict[str, Provider],
        prompts: dict[str, str],
        clock: Clock,
        dice: Dice,
        log: Log,
    ) -> None:
        """Put the parts together; `run` starts them."""
        self._settings = settings
        self._name = name
        self._providers = providers
        self._clock = clock
        self._log = log
        fail_points = FailPoints(settings.hybrid_fail_point)
        self._lease = Lease(session_timeout_s=settings.hybrid_session_timeout, clock=clock, log=log)
        self._journal = AttemptJournal(settings, clock=clock, log=log, fail_points=fail_points)
        self._incidents = Incidents(
            settings.topics,
            flow=self,
            journal=self._journal,
            clock=clock,
            dice=dice,
            worker=name,
            log=log,
        )
        router = router_of(settings, providers)
        self.capacity = capacity_of(
            settings, providers, clock=clock, on_change=self._incidents.health_changed
        )
        self.dispatcher = Dispatcher(
            settings.topics,
            concurrency=settings.hybrid_concurrency,
            clock=clock,
            flow=self,
            gate=self.capacity,
            outline=partial(outline, router=router, max_bytes=settings.hybrid_max_intent_bytes),
            weights=settings.tenant_weights,
        )
        self._partitions = settings.hybrid_partitions
        self._pacer = DeliveryPacer(settings, clock=clock, dice=dice, worker=name, log=log)
        self._pacing: asyncio.Task[None] | None = None
        self._spending = Spending(settings.budgets)
        self._cache = AnswerCache(settings.hybrid_cache_bytes)
        self.lanes: dict[int, Lane] = {}
        self.outcomes: Counter[str] = Counter()
        self._parts = LaneParts(
            settings=settings,
            executor=Executor(
                providers=providers,
                router=router,
                capacity=self.capacity,
                policy=policy_of(settings),
                hedging=hedging_of(settings),
                spending=self._spending,
                cache=self._cache,
                cache_ttl_s=settings.hybrid_cache_ttl,
                prices=PriceBook(settings.prices),
                prompts=prompts,
                journal=self._journal,
                clock=clock,
                dice=dice,
                worker=name,
                log=log,
            ),
            journal=self._journal,
            clock=clock,
            dice=dice,
            worker=name,
            group=settings.worker_group,
            log=log,
            fail_points=fail_points,
            lease_holds=self._lease.holds,
            broker=KafkaLaneBroker(settings, clock=clock, log=log, spending=self._spending),
            spending=self._spending,
            on_crossing=self._incidents.crossed,
            on_outcome=self._count,
            on_fenced=self._after_fencing,
        )
        self._app = build_app(
            settings,
            clock=clock,
            put=self.dispatcher.put,
            heard=self._lease.heard,
            committable=self._committable,
            committed=self.dispatcher.committed,
        )
        self._app.on_partitions_assigned.connect(self._assigned)
        self._app.on_partitions_revoked.connect(self._revoked)
        self._stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._assigned_once = False
        self.failure: BaseException | None = None

    # ── life ────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Run until `stop`; raises BrokerUnavailableError, TopicsError, InstanceTakenError."""
        self._partitions = require_usable(self._settings, await check_topics(self._settings))
        await require_free_instance(self._settings, clock=self._clock, log=self._log)
        try:
            await asyncio.wait_for(self._journal.start(), 20)
        except (KafkaError, TimeoutError) as error:
            raise BrokerUnavailableError(self._settings, error) from error
        self._log(LogEvent.WORKER_STARTED, worker=self._name, pid=os.getpid())
        self._lease.begin()
        self._spawn(self._lease.tick_forever())
        self._spawn(self.dispatcher.dispatch_forever())
        self._spawn(self._watch_stalls())
        self._spawn(self._prune_ledgers())
        self._follow(self._settings.topics.cache, self._cached)
        if self._settings.budgets:
            self._follow(self._settings.topics.spend, self._spent)
        app = asyncio.create_task(self._app.start())
        crashed = asyncio.create_task(self._until_crashed(app))
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({stopping, crashed}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (crashed, stopping):
                task.cancel()
            await self._stop_cleanly(app)

    def stop(self) -> None:
        """Ask for a clean stop."""
        self._stopping.set()

    @property
    def ready(self) -> bool:
        """Whether every lane that is ours is open, and work is taken."""
        return (
            self._assigned_once
            and not self.dispatcher.halted
            and all(lane.state is LaneState.OPEN for lane in self.lanes.values())
        )

    async def _stop_cleanly(self, app: asyncio.Task[Any]) -> None:
        """Finish calls within the drain budget, commit, leave; bounded whatever happens."""
        budget = self._settings.hybrid_drain_budget
        self._log(LogEvent.WORKER_STOPPING, in_flight=self._in_flight())
        watchdog = threading.Timer(budget + STOP_GRACE_S, os._exit, args=(0,))
        watchdog.daemon = True
        watchdog.start()
        self.dispatcher.hold()
        await self._drain(budget)
        with suppress(Exception):  # the ledger makes a missed offset commit harmless
            await asyncio.wait_for(self._app.consumer.commit(), 3)
        self.dispatcher.suspend()
        await asyncio.gather(*(lane.close() for lane in self.lanes.values()))
        app.cancel()
        with suppress(Exception, asyncio.CancelledError):
            await asyncio.wait_for(self._app.stop(), 8)
        for task in {*self._tasks, *({self._pacing} if self._pacing else ())}:
            task.cancel()
        await self._journal.stop()
        for provider in self._providers.values():
            with suppress(Exception):  # nothing depends on it any more
                await asyncio.wait_for(provider.close(), 2)
        watchdog.cancel()
        self._log(LogEvent.WORKER_STOPPED, worker=self._name, outcomes=dict(self.outcomes))

    async def _until_crashed(self, start: asyncio.Task[Any]) -> None:
        """Return when the Faust app could not start, or has crashed."""
        while not self._app._crashed.is_set():  # noqa: SLF001 - mode's only sign of a crash
            if start.done() and start.exception() is not None:
                self.failure = start.exception()
                return
            await self._clock.sleep(0.2)
        self.failure = self._app._crash_reason  # noqa: SLF001

    def _spawn(self, coroutine: Any) -> None:  # noqa: ANN401
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ── rebalances ──────────────────────────────────────────────────────────────────────────

    async def _revoked(self, _app: object, revoked: Iterable[TP], **_: object) -> None:
        """Everything is given up at each rebalance: finish what can be finished in the budget."""
        if not self.lanes:
            return
        self._log(LogEvent.PARTITIONS_REVOKED, lanes=sorted({tp.partition for tp in revoked}))
        self.dispatcher.hold()
        await self._drain(self._settings.hybrid_drain_budget)
        with suppress(Exception):  # the ledger makes a missed offset commit harmless
            await asyncio.wait_for(self._app.consumer.commit(), 2)
        self.dispatcher.suspend()
        for lane in self.lanes.values():
            lane.suspend()

    async def _assigned(self, _app: object, assigned: Iterable[TP], **_: object) -> None:
        """Keep the lanes that came back, close those that went, open those that are new."""
        by_topic: dict[str, set[int]] = {name: set() for name in self._settings.topics.sources}
        for tp in assigned:
            by_topic.setdefault(tp.topic, set()).add(tp.partition)
        numbers = by_topic[self._settings.topics.intents]
        if any(found != numbers for found in by_topic.values()):
            self._end(
                "members of the group subscribe to different topics, so that lanes are torn apart; "
                "stop the workers of the other version or configuration"
            )
            return
        self._lease.heard()
        self._assigned_once = True
        gone = [self.lanes.pop(number) for number in set(self.lanes) - numbers]
        for lane in gone:
            self._spawn(lane.close())
        self._pace_deliveries(wanted=DELIVERIES_LANE in numbers)
        for lane in self.lanes.values():
            lane.resume()
        for number in sorted(numbers - set(self.lanes)):
            self._open_lane(number)
        self.capacity.set_share(len(numbers) / self._partitions)
        self._log(LogEvent.PARTITIONS_ASSIGNED, lanes=sorted(numbers))
        self.dispatcher.resume(self.lanes)

    def _pace_deliveries(self, *, wanted: bool) -> None:
        """Run the pacer where lane 0 is, and nowhere else."""
        running = self._pacing is not None and not self._pacing.done()
        if wanted and not running:
            self._pacing = asyncio.get_running_loop().create_task(self._pacer.run())
        elif self._pacing is not None and not wanted:
            self._pacing.cancel()

    def _open_lane(self, number: int) -> None:
        lane = Lane(number, self._parts)
        self.lanes[number] = lane
        self._spawn(self._open(lane))

    async def _open(self, lane: Lane) -> None:
        await lane.open()
        self.dispatcher.poke()
        if self.ready:
            self._log(LogEvent.WORKER_READY, worker=self._name, lanes=len(self.lanes))

    def _after_fencing(self, number: int) -> None:
        """A fenced lane that stays assigned to us is opened anew, after a session timeout.

        Usually a rebalance takes it away before that. It is not when the broker itself ended a
        transaction that took too long: then nobody else would run the lane.
        """
        self._spawn(self._reopen_later(number, self.lanes.get(number)))

    async def _reopen_later(self, number: int, fenced: Lane | None) -> None:
        await self._clock.sleep(self._settings.hybrid_session_timeout)
        if fenced is not None and self.lanes.get(number) is fenced and self._lease.holds():
            # What was in flight is not delivered again without a rebalance: restart for it.
            self._end(f"lane {number} was fenced, and is still ours; start the worker again")

    def _end(self, why: str) -> None:
        """Stop with a failure."""
        self._log(LogEvent.WORKER_STALLED, level="error", why=why)
        self.failure = WorkerEndedError(why)
        self.stop()

    async def _drain(self, budget_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(budget_s):
                await asyncio.gather(*(lane.drained() for lane in self.lanes.values()))

    # ── flow control, offsets, counts ───────────────────────────────────────────────────────

    def pause(self, topic: str, partition: int) -> None:
        """Fetch no more from a partition."""
        self._app.consumer.pause_partitions({TP(topic, partition)})

    def resume(self, topic: str, partition: int) -> None:
        """Fetch from a partition again."""
        consumer = self._app.consumer
        if TP(topic, partition) in consumer.assignment():
            consumer.resume_partitions({TP(topic, partition)})

    def look_again(self) -> None:
        """See what waits in a new light: a provider's breaker has moved."""
        self.dispatcher.poke()

    def halt_for(self, seconds: float, *, then: Callable[[], None]) -> None:
        """Take no work for a while."""
        self._spawn(self._halted(seconds, then))

    async def _halted(self, seconds: float, then: Callable[[], None]) -> None:
        self.dispatcher.halt(halted=True)
        await self._clock.sleep(seconds)
        then()
        self.dispatcher.halt(halted=False)

    def _committable(self) -> Offsets:
        return self.dispatcher.committable()

    def _in_flight(self) -> int:
        return sum(lane.in_flight for lane in self.lanes.values())

    def _count(self, outcome: Outcome) -> None:
        match outcome:
            case Completed():
                self.outcomes["completed"] += 1
            case Failed():
                self.outcomes["failed"] += 1
            case Deferred():
                self.outcomes["deferred"] += 1
        self._incidents.note(outcome)

    # ── what other workers say ──────────────────────────────────────────────────────────────

    def _follow(self, topic: str, take: Callable[[ConsumerRecord], None]) -> None:
        self._spawn(follow(self._settings, topic, take, clock=self._clock, log=self._log))

    def _cached(self, record: ConsumerRecord) -> None:
        answer = CachedAnswer.model_validate_json(record.value or b"")
        self._cache.put((record.key or b"").decode(), answer)

    def _spent(self, record: ConsumerRecord) -> None:
        self._spending.learn(SpendRecord.model_validate_json(record.value or b""))

    # ── watching ────────────────────────────────────────────────────────────────────────────

    async def _watch_stalls(self) -> None:
        """End the process when work waits, slots are free and nothing moves."""
        while True:
            await self._clock.sleep(5)
            idle_s = self._clock.monotonic() - self.dispatcher.last_progress
            stuck = self.dispatcher.ready_to_run() > 0 and self.dispatcher.running == 0
            if stuck and idle_s > STALL_LIMIT_S:
                self._log(
                    LogEvent.WORKER_STALLED,
                    level="error",
                    waiting=self.dispatcher.waiting,
                    idle_ms=int(idle_s * 1000),
                )
                os._exit(STALLED_STATUS)

    async def _prune_ledgers(self) -> None:
        while True:
            await self._clock.sleep(60)
            for lane in list(self.lanes.values()):
                lane.ledger.prune(now_ms=self._clock.now_ms())
                await self._clock.sleep(0)

"""A worker put together: the one place that knows all of its parts."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from agents.capacity.turns import Capacity
from agents.clock import Clock, Dice
from agents.deciding.budgets import Spending
from agents.deciding.cache import AnswerCache
from agents.executing.executor import Executor
from agents.log import Log
from agents.pricing.prices import PriceBook
from agents.providers.adapters import Provider
from agents.task import Outcome
from schemas.settings import Settings
from streams.deliveries.pacer import DeliveryPacer
from streams.failpoints import FailPoints
from streams.kafka.journal import AttemptJournal
from streams.lanes.broker import KafkaLaneBroker
from streams.lanes.job import LaneEvents, LaneParts
from streams.membership.faust_app import build_app
from streams.membership.lease import Lease
from streams.messages.identity import outline
from streams.worker.assembly import capacity_of, hedging_of, policy_of, router_of
from streams.worker.dispatcher import Dispatcher
from streams.worker.flow import Flow
from streams.worker.followers import Followers
from streams.worker.incidents import Incidents
from streams.worker.outcomes import OutcomeCounts
from streams.worker.rebalance import Rebalance
from streams.worker.stall_watch import StallWatch
from streams.worker.supervisor import Supervisor
from streams.worker.worker import Worker, WorkerParts

__all__ = ["build_worker"]


@dataclass(frozen=True, slots=True)
class _Ground:
    """What nearly every part stands on."""

    settings: Settings
    name: str
    providers: Mapping[str, Provider]
    prompts: Mapping[str, str]
    clock: Clock
    dice: Dice
    log: Log


def build_worker(
    settings: Settings,
    *,
    name: str,
    providers: Mapping[str, Provider],
    prompts: Mapping[str, str],
    clock: Clock,
    dice: Dice,
    log: Log,
) -> Worker:
    """Put a worker together; nothing is started. Raises ValueError for a wrong combination."""
    ground = _Ground(settings, name, providers, prompts, clock, dice, log)
    fail_points = FailPoints(settings.hybrid_fail_point)
    supervisor = Supervisor(log=log)
    lease = Lease(session_timeout_s=settings.hybrid_session_timeout, clock=clock, log=log)
    journal = AttemptJournal(settings, clock=clock, log=log, fail_points=fail_points)
    flow = Flow(supervisor=supervisor, clock=clock)
    incidents = Incidents(
        settings.topics, flow=flow, journal=journal, clock=clock, dice=dice, worker=name, log=log
    )
    capacity = capacity_of(settings, providers, clock=clock, on_change=incidents.health_changed)
    dispatcher = _dispatcher(ground, flow, capacity)
    spending, cache = Spending(settings.budgets), AnswerCache(settings.hybrid_cache_bytes)
    outcomes = OutcomeCounts()

    def on_outcome(outcome: Outcome) -> None:
        outcomes.note(outcome)
        incidents.note(outcome)

    lane_parts = LaneParts(
        settings=settings,
        executor=_executor(ground, capacity, spending, cache, journal),
        journal=journal,
        clock=clock,
        dice=dice,
        worker=name,
        log=log,
        fail_points=fail_points,
        lease_holds=lease.holds,
        broker=KafkaLaneBroker(settings, clock=clock, log=log, spending=spending),
        spending=spending,
        events=LaneEvents(
            on_outcome=on_outcome, on_crossing=incidents.crossed, on_broken=supervisor.end
        ),
    )
    rebalance = Rebalance(
        settings,
        lane_parts,
        dispatcher=dispatcher,
        flow=flow,
        lease=lease,
        capacity=capacity,
        pacer=DeliveryPacer(settings, clock=clock, dice=dice, worker=name, log=log),
        supervisor=supervisor,
        clock=clock,
        log=log,
    )
    app = build_app(
        settings,
        clock=clock,
        put=dispatcher.put,
        heard=lease.heard,
        committable=dispatcher.committable,
        committed=dispatcher.committed,
    )
    app.on_partitions_assigned.connect(rebalance.assigned)
    app.on_partitions_revoked.connect(rebalance.revoked)
    flow.attach(app, dispatcher)
    parts = WorkerParts(
        supervisor=supervisor,
        journal=journal,
        lease=lease,
        dispatcher=dispatcher,
        rebalance=rebalance,
        capacity=capacity,
        flow=flow,
        followers=Followers(settings, cache=cache, spending=spending, clock=clock, log=log),
        stall_watch=StallWatch(dispatcher, clock=clock, log=log),
        outcomes=outcomes,
        app=app,
        providers=tuple(providers.values()),
    )
    return Worker(settings, parts, name=name, clock=clock, log=log)


def _dispatcher(ground: _Ground, flow: Flow, capacity: Capacity) -> Dispatcher:
    settings = ground.settings
    router = router_of(settings, ground.providers)
    return Dispatcher(
        settings.topics,
        concurrency=settings.hybrid_concurrency,
        clock=ground.clock,
        flow=flow,
        gate=capacity,
        outline=partial(outline, router=router, max_bytes=settings.hybrid_max_intent_bytes),
        weights=settings.tenant_weights,
    )


def _executor(
    ground: _Ground,
    capacity: Capacity,
    spending: Spending,
    cache: AnswerCache,
    journal: AttemptJournal,
) -> Executor:
    settings = ground.settings
    return Executor(
        providers=ground.providers,
        router=router_of(settings, ground.providers),
        capacity=capacity,
        policy=policy_of(settings),
        hedging=hedging_of(settings),
        spending=spending,
        cache=cache,
        cache_ttl_s=settings.hybrid_cache_ttl,
        prices=PriceBook(settings.prices),
        prompts=ground.prompts,
        journal=journal,
        clock=ground.clock,
        dice=ground.dice,
        worker=ground.name,
        log=ground.log,
    )

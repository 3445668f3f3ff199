"""A worker put together: the one place that knows all of its parts."""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import partial

from agents.capacity.turns import Capacity
from agents.clock import Clock, Dice
from agents.deciding.budgets import Spending
from agents.deciding.cache import AnswerCache
from agents.executing.executor import Executor
from agents.executing.ground import Ground
from agents.log import Log
from agents.pricing.book import book_of
from agents.pricing.prices import PriceBook
from agents.providers.adapters import Provider
from agents.task import Outcome
from schemas.attempt import ProviderAttempt
from schemas.settings import Settings
from streams.failpoints import FailPoints
from streams.kafka.content_keys import empty_vault, learn_all
from streams.kafka.journal import AttemptJournal
from streams.lanes.broker import KafkaLaneBroker
from streams.lanes.contents import Contents
from streams.lanes.job import LaneEvents, LaneParts
from streams.membership.faust_app import App, build_app
from streams.membership.lease import Lease
from streams.messages.identity import outline
from streams.messages.orders import Orders
from streams.messages.sealing import Vault
from streams.telemetry.traces import NOBODY, Hears
from streams.worker.assembly import capacity_of, router_of, rules_of
from streams.worker.dispatcher import Dispatcher
from streams.worker.flow import Flow
from streams.worker.followers import Followers
from streams.worker.incidents import Incidents
from streams.worker.lane_zero import at_lane_zero
from streams.worker.overseer import Overseer
from streams.worker.price_watch import PriceWatch
from streams.worker.rebalance import Rebalance
from streams.worker.stall_watch import StallWatch
from streams.worker.supervisor import Supervisor
from streams.worker.tallies import Tallies
from streams.worker.worker import Worker, WorkerParts

__all__ = ["build_worker"]


@dataclass(frozen=True, slots=True)
class _Base:
    """What nearly every part is built on."""

    settings: Settings
    providers: Mapping[str, Provider]
    prompts: Mapping[str, str]
    ground: Ground
    fail_points: FailPoints
    supervisor: Supervisor
    vault: Vault
    traces: Hears


@dataclass(frozen=True, slots=True)
class _Shared:
    """Parts that several others talk to."""

    lease: Lease
    journal: AttemptJournal
    flow: Flow
    incidents: Incidents
    capacity: Capacity
    dispatcher: Dispatcher
    orders: Orders
    overseer: Overseer
    spending: Spending
    cache: AnswerCache
    tallies: Tallies
    prices: PriceBook


def build_worker(
    settings: Settings,
    *,
    name: str,
    providers: Mapping[str, Provider],
    prompts: Mapping[str, str],
    clock: Clock,
    dice: Dice,
    log: Log,
    traces: Hears = NOBODY,
) -> Worker:
    """Put a worker together; nothing is started. Raises ValueError for a wrong combination."""
    base = _Base(
        settings,
        providers,
        prompts,
        Ground(clock, dice, name, log, says_info=settings.logs_info),
        FailPoints(settings.hybrid_fail_point),
        Supervisor(log=log),
        empty_vault(settings),
        traces,
    )
    shared = _shared(base)
    rebalance = Rebalance(
        settings,
        _lane_parts(base, shared),
        dispatcher=shared.dispatcher,
        flow=shared.flow,
        lease=shared.lease,
        capacity=shared.capacity,
        pacer=at_lane_zero(
            settings,
            base.ground,
            providers=providers,
            prompts=prompts,
            prices=shared.prices,
            fail_points=base.fail_points,
            lease_holds=shared.lease.holds,
            vault=base.vault,
        ),
        supervisor=base.supervisor,
        clock=clock,
        log=log,
    )
    shared.overseer.lanes = rebalance.lanes.values
    parts = WorkerParts(
        supervisor=base.supervisor,
        journal=shared.journal,
        lease=shared.lease,
        dispatcher=shared.dispatcher,
        rebalance=rebalance,
        capacity=shared.capacity,
        flow=shared.flow,
        followers=_followers(base, shared),
        watches=_watches(base, shared),
        tallies=shared.tallies,
        app=_app(base, shared, rebalance),
        providers=tuple(providers.values()),
    )
    return Worker(settings, parts, name=name, clock=clock, log=log)


def _followers(base: _Base, shared: _Shared) -> Followers:
    return Followers(
        base.settings,
        cache=shared.cache,
        spending=shared.spending,
        ordered=shared.overseer.take,
        vault=base.vault,
        clock=base.ground.clock,
        log=base.ground.log,
    )


def _watches(base: _Base, shared: _Shared) -> dict[str, Callable[[], Coroutine[None, None, None]]]:
    clock, log = base.ground.clock, base.ground.log
    lease = shared.lease
    stalls = StallWatch(
        shared.dispatcher, in_group=lambda: lease.heard_lately, clock=clock, log=log
    )
    prices = PriceWatch(base.settings, shared.prices, clock=clock, log=log)
    return {
        "the watch over stalls": stalls.watch_forever,
        "the watch over prices": prices.watch_forever,
        "the watch over pauses": shared.overseer.look_forever,
    }


def _shared(base: _Base) -> _Shared:
    settings, ground = base.settings, base.ground
    clock, log = ground.clock, ground.log
    tallies = Tallies()

    def on_ended(attempt: ProviderAttempt) -> None:
        tallies.note_attempt(attempt)
        base.traces.ended(attempt)

    journal = AttemptJournal(
        settings,
        clock=clock,
        log=log,
        fail_points=base.fail_points,
        on_broken=base.supervisor.end,
        on_ended=on_ended,
    )
    flow = Flow(supervisor=base.supervisor, clock=clock)
    incidents = Incidents(
        settings.topics,
        flow=flow,
        journal=journal,
        clock=clock,
        dice=ground.dice,
        worker=ground.worker,
        log=log,
    )
    changed = incidents.health_changed
    capacity = capacity_of(settings, base.providers, clock=clock, on_change=changed)
    orders = Orders()
    dispatcher = _dispatcher(base, flow, capacity, orders)
    return _Shared(
        orders=orders,
        lease=Lease(session_timeout_s=settings.hybrid_session_timeout, clock=clock, log=log),
        journal=journal,
        flow=flow,
        incidents=incidents,
        capacity=capacity,
        dispatcher=dispatcher,
        overseer=Overseer(orders, dispatcher=dispatcher, capacity=capacity, clock=clock, log=log),
        spending=Spending(settings.budgets),
        cache=AnswerCache(settings.hybrid_cache_bytes),
        tallies=tallies,
        prices=book_of(settings),
    )


def _lane_parts(base: _Base, shared: _Shared) -> LaneParts:
    settings, ground, incidents = base.settings, base.ground, shared.incidents

    def on_outcome(outcome: Outcome) -> None:
        shared.tallies.note_outcome(outcome)
        incidents.note(outcome)

    return LaneParts(
        settings=settings,
        executor=_executor(base, shared),
        journal=shared.journal,
        clock=ground.clock,
        dice=ground.dice,
        worker=ground.worker,
        log=ground.log,
        fail_points=base.fail_points,
        lease_holds=shared.lease.holds,
        broker=KafkaLaneBroker(
            settings, clock=ground.clock, log=ground.log, spending=shared.spending
        ),
        spending=shared.spending,
        events=LaneEvents(
            on_outcome=on_outcome,
            on_crossing=incidents.crossed,
            on_broken=base.supervisor.end,
            on_begun=base.traces.begun,
            on_committed=base.traces.committed,
            orders=shared.orders,
            contents=Contents(
                base.vault, partial(learn_all, settings, base.vault, ground.clock, ground.log)
            ),
        ),
    )


def _app(base: _Base, shared: _Shared, rebalance: Rebalance) -> App:
    """Build what Faust does here: it delivers records, and says when lanes come and go."""
    dispatcher, opened = shared.dispatcher, base.vault.opened
    app = build_app(
        base.settings,
        clock=base.ground.clock,
        put=lambda incoming: dispatcher.put(opened(incoming)),
        heard=shared.lease.heard,
        fetched=dispatcher.fetched,
        committable=dispatcher.committable,
        committed=dispatcher.committed,
    )
    app.on_partitions_assigned.connect(rebalance.assigned)
    app.on_partitions_revoked.connect(rebalance.revoked)
    shared.flow.attach(app, dispatcher)
    return app


def _dispatcher(base: _Base, flow: Flow, capacity: Capacity, orders: Orders) -> Dispatcher:
    settings = base.settings
    router = router_of(settings, base.providers)
    return Dispatcher(
        settings.topics,
        concurrency=settings.hybrid_concurrency,
        clock=base.ground.clock,
        flow=flow,
        gate=capacity,
        outline=partial(outline, router=router, max_bytes=settings.hybrid_max_intent_bytes),
        weights=settings.tenant_weights,
        orders=orders,
    )


def _executor(base: _Base, shared: _Shared) -> Executor:
    settings = base.settings
    return Executor(
        providers=base.providers,
        router=router_of(settings, base.providers),
        capacity=shared.capacity,
        rules=rules_of(settings, prices=shared.prices, prompts=base.prompts),
        spending=shared.spending,
        cache=shared.cache,
        journal=shared.journal,
        ground=base.ground,
    )

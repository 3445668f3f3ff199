"""Every line of the policy table, through the executor and both adapters, by HTTP to the simulator."""

import asyncio
import time
import uuid
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from agents.capacity.breaker import BreakerPolicy
from agents.capacity.limiter import ProviderLimits
from agents.capacity.turns import Capacity
from agents.clock import ManualClock, SystemDice
from agents.deciding.budgets import Spending
from agents.deciding.cache import AnswerCache
from agents.deciding.hedging import HedgePolicy
from agents.deciding.policy import Override, RetryPolicy
from agents.deciding.routes import Router
from agents.executing.executor import Executor, Rules
from agents.executing.ground import Ground
from agents.executing.prompts import load_prompts
from agents.log import silent
from agents.pricing.prices import PriceBook
from agents.providers.building import azure_provider, openai_provider
from agents.task import NOTHING, Completed, Deferred, Failed, Outcome, Paid, Task
from hybrid.stack import simulator
from hybrid.stack.process import free_port
from schemas.attempt import ProviderAttempt
from schemas.budgets import BudgetSpec
from schemas.events import DeferralState, KeptCall
from schemas.vocabulary import AttemptStatus, DeadLetterReason, FailureKind
from tests.builders import NOW, a_task, an_intent

#: Long enough for a busy machine; what hangs is given up sooner.
TIME_LIMIT_S = 20.0
SHORT_LIMIT_S = 0.3
OTHER = {"openai": "azure", "azure": "openai"}
TYPES = {"openai": "message_generation", "azure": "content_planning"}


class Free:
    """A lane that always may."""

    async def wait(self) -> None:
        pass

    async def confirm(self) -> None:
        pass

    async def keep(self, _call: KeptCall) -> None:
        pass

    def let_go(self, _attempt_id: str) -> None:
        pass


@dataclass
class Record:
    """A journal that remembers."""

    written: list[ProviderAttempt] = field(default_factory=list)

    async def write(self, attempt: ProviderAttempt, _traceparent: str | None) -> None:
        self.written.append(attempt)

    def post(self, attempt: ProviderAttempt, _traceparent: str | None) -> None:
        self.written.append(attempt)


@dataclass
class Run:
    """What came of one intent."""

    outcome: Outcome
    calls: list[simulator.Call]
    slept: list[float]
    written: list[ProviderAttempt]

    @property
    def providers(self) -> list[str]:
        return [call.provider for call in self.calls]


class World:
    """Both adapters before one simulator; waits move a clock and take no time."""

    def __init__(self, first: str) -> None:
        self.first, self.other = first, OTHER[first]
        self.simulator = simulator.Simulator()
        for faults in self.simulator.faults.values():
            faults.latency_ms = 0
            faults.retry_after = None
        self.clock = ManualClock(NOW)
        self.policy: dict[str, Any] = {"jitter": 0.0}
        self.time_limits = {"openai": TIME_LIMIT_S, "azure": TIME_LIMIT_S}
        self.hedging = HedgePolicy()
        self.spending = Spending(())
        self.breaker_calls = 1000
        self.runs = 1
        #: So many executions of the same intent at the same time; the last one's outcome counts.
        self.beside = 1
        #: Executions of the intent before, with which a worker died.
        self.orphans = 0
        self.outcomes: list[Outcome] = []

    def plan(self, provider: str, *acts: str, retry_after: str | None = None) -> None:
        self.simulator.faults[provider].plan = list(acts)
        self.simulator.faults[provider].retry_after = retry_after

    def hang(self, provider: str) -> None:
        """Have a provider hang for good; nobody waits long for it."""
        self.time_limits[provider] = SHORT_LIMIT_S
        self.simulator.faults[provider].always = "hang"

    def always(self, act: str, *providers: str, retry_after: str | None = None) -> None:
        for provider in providers or (self.first, self.other):
            self.simulator.faults[provider].always = act
            self.simulator.faults[provider].retry_after = retry_after

    async def _booked(self, executor: Executor, task: Task) -> Outcome:
        """Execute, and book what it cost, as a lane does."""
        outcome = await executor.execute(task, Free())
        self.spending.add(0, task.intent.tenant, outcome.paid, self.clock.now())
        return outcome

    def run(
        self, text: str = "hello", *, deferral: DeferralState | None = None, **changes: Any
    ) -> Run:
        intent = an_intent(type=TYPES[self.first], **{"data": {"note": text}, **changes})

        async def once() -> Run:
            port = free_port()
            runner = await simulator.serve(self.simulator, port=port)
            url = f"http://127.0.0.1:{port}"
            common: dict[str, Any] = {
                "api_key": "k",
                "concurrency": 4,
                "clock": self.clock,
            }
            providers = {
                "openai": openai_provider("openai", base_url=f"{url}/v1", model="gpt-3.5-turbo",
                    timeout_s=self.time_limits["openai"], **common),
                "azure": azure_provider(
                    "azure", endpoint=url, api_version="2024-10-21", deployment="gpt-4-turbo",
                    timeout_s=self.time_limits["azure"], **common
                ),
            }  # fmt: skip
            journal = Record()
            executor = Executor(
                providers=providers,
                router=Router({name: one.kind for name, one in providers.items()}),
                capacity=Capacity(
                    {name: ProviderLimits() for name in providers},
                    BreakerPolicy(calls=self.breaker_calls),
                    clock=self.clock,
                ),
                rules=Rules(
                    RetryPolicy(**self.policy), self.hedging, PriceBook(), load_prompts(), 3600
                ),
                spending=self.spending,
                cache=AnswerCache(1_000_000),
                journal=journal,
                ground=Ground(self.clock, SystemDice(1), "w", silent),
            )
            try:
                for _ in range(self.runs):
                    self.clock.slept.clear()
                    self.simulator.calls.clear()
                    journal.written.clear()
                    tasks = [
                        a_task(
                            intent=intent,
                            deferral=deferral,
                            orphans=self.orphans,
                            execution_id=f"{uuid.UUID(int=n)}",
                        )
                        for n in range(self.beside)
                    ]
                    self.outcomes = await asyncio.gather(
                        *(self._booked(executor, task) for task in tasks)
                    )
            finally:
                for provider in providers.values():
                    await provider.close()
                await runner.cleanup()
            return Run(
                self.outcomes[-1],
                list(self.simulator.calls),
                list(self.clock.slept),
                journal.written,
            )

        return asyncio.run(once())


@pytest.fixture(params=["openai", "azure"])
def world(request: pytest.FixtureRequest) -> World:
    return World(request.param)


def test_what_works_is_one_call(world: World) -> None:
    run = world.run()
    assert isinstance(run.outcome, Completed)
    assert run.providers == [world.first]


@pytest.mark.parametrize("act", ["hang", "reset", "500", "503", "529", "408", "409"])
def test_what_passes_is_retried_after_1_2_5_seconds_then_the_other_is_asked(
    world: World, act: str
) -> None:
    if act == "hang":
        world.hang(world.first)
    world.always(act, world.first)
    run = world.run()
    assert isinstance(run.outcome, Completed)
    assert run.providers == [world.first] * 4 + [world.other]
    assert run.slept == [1.0, 2.0, 5.0]
    kinds = {"hang": "timeout", "reset": "connection"}
    steps = [(one.from_, one.to, one.reason) for one in run.outcome.result.fallback_history]
    assert steps == [(world.first, world.other, f"{world.first}_{kinds.get(act, 'server_error')}")]


def test_every_call_is_on_record_before_it_and_after_it(world: World) -> None:
    world.plan(world.first, "503", "ok")
    run = world.run()
    statuses = [one.status for one in run.written]
    assert statuses == [AttemptStatus.STARTED, AttemptStatus.FINISHED, AttemptStatus.STARTED]
    assert {one.attempt_id for one in run.written} == {call.attempt_id for call in run.calls}


def test_an_outage_of_both_defers_until_the_ladder_is_used_up(world: World) -> None:
    world.always("503")
    run = world.run()
    assert isinstance(run.outcome, Deferred)
    assert run.providers == [world.first] * 4 + [world.other] * 4


def an_outage(world: World) -> DeferralState:
    """Have both providers down, and a worker's breakers say so."""
    world.breaker_calls = 4
    world.always("503")
    outcome = world.run().outcome
    assert isinstance(outcome, Deferred)
    assert (outcome.state.count, outcome.state.outage_ms) == (0, world.clock.now_ms())
    world.breaker_calls = 1000
    return outcome.state


def test_an_outage_goes_on_in_the_next_workers_life(world: World) -> None:
    """A new worker's breakers are closed, and few calls do not open them: seen to end intents."""
    state = an_outage(world)
    waits = []
    for pause_s in (10, 30, *[3600] * 6):
        world.clock.advance(pause_s)
        outcome = world.run(deferral=state).outcome  # each by a worker that has just started
        assert isinstance(outcome, Deferred)
        state = outcome.state
        waits.append(state.not_before_ms - world.clock.now_ms())
    assert (state.count, state.hop) == (0, 9)
    # As long as it has lasted, calls included: longer and longer, up to the longest delay.
    assert waits == [26_000, 72_000, *[600_000] * 6]


def test_an_outage_ends_with_the_first_answer_to_anybody(world: World) -> None:
    state = an_outage(world)
    world.clock.advance(10)
    world.plan(world.first, "ok")
    world.runs = 2
    outcome = world.run(deferral=state).outcome
    assert isinstance(outcome, Deferred)
    assert (outcome.state.count, outcome.state.outage_ms) == (1, None)


def test_an_outage_before_which_a_worker_was_answered_goes_on_there(world: World) -> None:
    """A survivor takes over what waits, and has called nobody since."""
    late = an_outage(world).model_copy(update={"outage_ms": world.clock.now_ms() + 60_000})
    world.clock.advance(10)
    world.plan(world.first, "ok")
    world.runs = 2
    outcome = world.run(deferral=late).outcome
    assert isinstance(outcome, Deferred)
    assert (outcome.state.count, outcome.state.outage_ms) == (0, late.outage_ms)


def test_what_fails_alone_is_no_outage_in_any_workers_life(world: World) -> None:
    world.always("503")
    state: DeferralState | None = None
    for _ in range(3):
        outcome = world.run(deferral=state).outcome
        assert isinstance(outcome, Deferred)
        state = outcome.state
        world.clock.advance(600)
    outcome = world.run(deferral=state).outcome
    assert isinstance(outcome, Failed)
    assert outcome.reason is DeadLetterReason.EXHAUSTED


def test_a_rate_limit_without_retry_after_waits_1_2_5_seconds(world: World) -> None:
    world.always("429", world.first)
    run = world.run()
    assert run.providers == [world.first] * 4 + [world.other]
    assert run.slept == [1.0, 2.0, 5.0]


def test_a_short_retry_after_is_waited_for(world: World) -> None:
    world.plan(world.first, "429", "ok", retry_after="3")
    run = world.run()
    assert (run.providers, run.slept) == ([world.first] * 2, [3.0])


def test_a_long_retry_after_turns_to_the_other_at_once(world: World) -> None:
    world.plan(world.first, "429", retry_after="30")
    run = world.run()
    assert (run.providers, run.slept) == ([world.first, world.other], [])


def test_rate_limits_everywhere_defer_by_retry_after(world: World) -> None:
    world.always("429", retry_after="45")
    run = world.run()
    assert isinstance(run.outcome, Deferred)
    assert run.providers == [world.first, world.other]
    assert run.outcome.state.not_before_ms == world.clock.now_ms() + 45_000
    assert run.outcome.topic_index == 1


@pytest.mark.parametrize(
    ("status", "code"), [("401", ""), ("403", ""), ("404", ""), ("429", "insufficient_quota")]
)
def test_a_refused_key_quota_or_deployment_turns_to_the_other_and_never_dead_letters(
    world: World, status: str, code: str
) -> None:
    directive = f"[[sim:status={status},code={code}]]" if code else ""
    if not code:
        world.plan(world.first, status)
        run = world.run()
        assert isinstance(run.outcome, Completed)
        assert (run.providers, run.slept) == ([world.first, world.other], [])
        world.always(status)
    world.simulator.calls.clear()
    run = world.run(directive)
    assert isinstance(run.outcome, Deferred)
    assert run.providers == [world.first, world.other]


@pytest.mark.parametrize(
    ("status", "code"),
    [("400", ""), ("422", ""), ("400", "context_length_exceeded"), ("400", "content_filter")],
)
def test_a_wrong_request_is_a_dead_letter_after_one_call(
    world: World, status: str, code: str
) -> None:
    run = world.run(f"[[sim:status={status}{',code=' + code if code else ''}]]")
    assert isinstance(run.outcome, Failed)
    assert run.outcome.reason is DeadLetterReason.REJECTED
    assert run.providers == [world.first]


def test_a_model_that_the_intent_named_is_asked_for_at_the_other_provider(world: World) -> None:
    world.plan(world.first, "404")
    run = world.run(model="gpt-the-other-serves")
    assert isinstance(run.outcome, Completed)
    assert run.providers == [world.first, world.other]
    assert run.outcome.result.fallback_history[0].reason == f"{world.first}_model_not_found"


def test_a_model_that_nobody_serves_is_the_intents_mistake(world: World) -> None:
    world.always("404")
    run = world.run(model="gpt-nobody-serves")
    assert isinstance(run.outcome, Failed)
    assert run.outcome.reason is DeadLetterReason.REJECTED
    assert run.providers == [world.first, world.other]


@pytest.mark.parametrize("code", ["context_length_exceeded", "content_filter"])
def test_where_configured_another_provider_is_asked_after_a_refusal(
    world: World, code: str
) -> None:
    world.policy["fallback_on"] = frozenset(
        {FailureKind.CONTEXT_LENGTH, FailureKind.CONTENT_FILTER}
    )
    run = world.run(f"[[sim:status=400,code={code}]]")
    assert run.providers == [world.first, world.other]
    assert isinstance(run.outcome, Failed)


def test_a_wrong_answer_is_repaired_once_then_the_other_is_asked_then_it_ends(world: World) -> None:
    schema = {"type": "object", "required": ["plan"]}
    run = world.run("[[sim:text=no json]]", response_schema=schema)
    assert isinstance(run.outcome, Failed)
    assert run.outcome.reason is DeadLetterReason.EXHAUSTED
    assert run.providers == [world.first] * 2 + [world.other] * 2
    assert run.slept == [0.0, 0.0]


def test_the_deadline_ends_it_and_bounds_the_last_call(world: World) -> None:
    world.always("503")
    run = world.run(deadline_ms=2_500)
    assert isinstance(run.outcome, Failed)
    assert run.outcome.reason is DeadLetterReason.DEADLINE
    assert sum(run.slept) < 2.5


def test_the_money_limit_bounds_the_answer_and_ends_it(world: World) -> None:
    price = {"openai": Decimal("0.000002"), "azure": Decimal("0.00001")}[world.first]
    run = world.run(max_cost_usd=str(price * 1500))
    assert isinstance(run.outcome, Completed)
    started = run.written[0]
    assert started.cost_upper_usd is not None
    assert started.cost_upper_usd <= price * 1500
    run = world.run(max_cost_usd=str(price))
    assert isinstance(run.outcome, Failed)
    assert (run.outcome.reason, run.calls) == (DeadLetterReason.BUDGET, [])


def test_an_open_breaker_costs_no_call(world: World) -> None:
    world.breaker_calls, world.runs = 4, 2
    world.always("503", world.first)
    run = world.run()
    assert isinstance(run.outcome, Completed)
    assert run.providers == [world.other]
    assert run.outcome.result.fallback_history[0].reason == f"{world.first}_unavailable"


def test_all_breakers_open_defer_without_a_call(world: World) -> None:
    world.breaker_calls, world.runs = 4, 2
    world.always("503")
    run = world.run()
    assert isinstance(run.outcome, Deferred)
    assert (run.calls, run.outcome.state.count) == ([], 0)


def test_the_originals_matrix_can_be_configured(world: World) -> None:
    world.policy["overrides"] = {
        (world.first, FailureKind.TIMEOUT): Override(provider=world.other),
        (world.first, FailureKind.RATE_LIMIT): Override(defer_s=60.0),
    }
    world.time_limits[world.first] = SHORT_LIMIT_S
    world.plan(world.first, "hang")
    assert world.run().providers == [world.first, world.other]
    world.simulator.calls.clear()
    world.plan(world.first, "429", retry_after="1")
    run = world.run()
    assert isinstance(run.outcome, Deferred)
    assert run.outcome.topic_index == 1


@pytest.mark.parametrize(
    ("then", "changes", "reason"),
    [
        ("defer", {}, None),
        ("defer", {"deadline_ms": 5_000}, DeadLetterReason.DEADLINE),
        ("dead_letter", {}, DeadLetterReason.BUDGET),
    ],
)
def test_a_tenant_over_its_budget_waits_or_ends_without_a_call(
    world: World, then: str, changes: dict[str, Any], reason: DeadLetterReason | None
) -> None:
    budget = {"tenant": "*", "per": "day", "usd": "1", "then": then}
    world.spending = Spending([BudgetSpec.model_validate(budget)])
    world.spending.add(0, "default", Paid(Decimal(1)), NOW)
    run = world.run(**changes)
    assert run.calls == []
    if reason is None:
        assert isinstance(run.outcome, Deferred)
        assert (run.outcome.state.reason, run.outcome.state.count) == ("budget", 0)
    else:
        assert isinstance(run.outcome, Failed)
        assert run.outcome.reason is reason


# ── hedging ─────────────────────────────────────────────────────────────────────────────────


class RealTime(ManualClock):
    """Waits for real, for calls that run side by side."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def monotonic(self) -> float:
        return time.monotonic()


@pytest.fixture
def hedged(world: World) -> World:
    """Twenty quick calls have been seen; from then on the first provider is slow."""
    world.clock = RealTime(NOW)
    world.policy["retry_delays"] = (0.01, 0.01, 0.01)
    world.hedging = HedgePolicy(who=frozenset({"critical"}), most_share=0.5)
    world.simulator.faults[world.first].plan = ["ok"] * 20
    world.runs = 21
    return world


def test_a_slow_call_gets_a_rival_and_the_first_good_answer_wins(hedged: World) -> None:
    hedged.simulator.faults[hedged.first].always = "hang"
    run = hedged.run(priority="critical")
    assert isinstance(run.outcome, Completed)
    assert run.outcome.result.provider == hedged.other
    assert run.providers == [hedged.first, hedged.other]
    assert run.outcome.last_attempt.hedge
    lost = next(one for one in run.written if one.status is AttemptStatus.FINISHED)
    assert (lost.provider, lost.outcome.value, lost.error_code) == (
        hedged.first,
        "cancelled",
        "hedge_lost",
    )
    assert lost.cost_upper_usd
    assert not lost.used_result


def test_a_rival_that_fails_does_not_end_the_first_call(hedged: World) -> None:
    hedged.simulator.faults[hedged.other].always = "503"
    hedged.simulator.faults[hedged.first].rate_slow = 1.0
    run = hedged.run("[[sim:latency_ms=10]]", priority="critical")
    assert isinstance(run.outcome, Completed)
    assert run.outcome.result.provider == hedged.first
    finished = [one for one in run.written if one.status is AttemptStatus.FINISHED]
    assert [(one.provider, one.hedge) for one in finished] in ([], [(hedged.other, True)])


def test_nobody_else_is_hedged_and_caps_hold(hedged: World) -> None:
    hedged.hang(hedged.first)
    assert hedged.run(priority="medium").providers == [hedged.first] * 4 + [hedged.other]
    hedged.simulator.faults[hedged.first].plan = ["ok"] * 20
    hedged.hedging = HedgePolicy(who=frozenset({"critical"}), most_usd_an_hour=Decimal("0.00001"))
    assert hedged.run(priority="critical").providers[1] == hedged.first


@pytest.mark.parametrize(
    ("directive", "by_azure"),
    [
        ("status=400,code=content_filter", True),
        ("status=400,code=context_length_exceeded", True),
        ("status=408", True),
        ("status=400,code=invalid_request", False),
        ("status=429", False),
        ("status=503", False),
    ],
)
def test_azure_may_charge_for_what_it_refused_after_it_had_begun(
    world: World, directive: str, *, by_azure: bool
) -> None:
    """Then the call keeps its upper bound; a call that OpenAI refused costs nothing."""
    run = world.run(f"[[sim:{directive}]]")
    refused = [one for one in run.written if one.status is AttemptStatus.FINISHED]
    refused += [run.outcome.last_attempt] if run.outcome.last_attempt else []
    assert refused
    for one in refused:
        assert one.cost_usd == 0
        charged = by_azure and one.provider == "azure"
        assert bool(one.cost_upper_usd) == charged, one.provider


# ── an intent's own time ────────────────────────────────────────────────────────────────────


def test_an_intent_waits_for_its_own_time_over_hops_and_starts_then() -> None:
    """Two hours and seven seconds: nothing is called before, whoever looks; exact at the end."""
    world, hops = World("openai"), 0
    start = world.clock.now() + timedelta(hours=2, seconds=7, milliseconds=250)
    state: DeferralState | None = None
    while True:
        run = world.run(deferral=state, not_before=start)
        if not isinstance(run.outcome, Deferred):
            break
        assert run.calls == [], "nothing is called before its time"
        state, hops = run.outcome.state, hops + 1
        assert (state.reason, state.count, state.hop) == ("not_before", 0, hops)
        assert state.until_ms == start.timestamp() * 1000
        world.clock.advance((state.due_at_ms - world.clock.now_ms()) / 1000)
    assert hops == 2 * 6 + 1
    assert isinstance(run.outcome, Completed)
    assert world.clock.now() == start
    assert run.outcome.result.timings.total_ms < 1_000, "its own wait is no wait of ours"


def test_its_own_time_goes_before_a_spent_budget_and_after_what_is_invalid() -> None:
    world = World("openai")
    world.spending = Spending([BudgetSpec(tenant="*", per="day", usd=Decimal("0.01"))])
    world.spending.add(3, "default", Paid(Decimal(1)), NOW)
    early = world.clock.now() + timedelta(days=2)
    run = world.run(not_before=early)
    assert isinstance(run.outcome, Deferred)
    assert run.outcome.state.reason == "not_before"
    for wrong, code in (
        ({"deadline_ms": 3_600_000}, "not_before"),
        ({"response_schema": {"type": "no such type"}}, "response_schema"),
    ):
        run = world.run(not_before=early, **wrong)
        assert isinstance(run.outcome, Failed)
        assert (run.outcome.reason, run.outcome.code) == (DeadLetterReason.INVALID_INTENT, code)
    world.orphans = 2  # workers died between the record's reading and its first hop
    run = world.run(not_before=early)
    assert run.outcome.paid == NOTHING, "no call can have been made"

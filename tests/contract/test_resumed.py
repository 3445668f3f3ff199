"""What becomes of answers that a provider keeps when the execution that asked for them has ended."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from agents.capacity.breaker import BreakerPolicy
from agents.capacity.limiter import ProviderLimits
from agents.capacity.turns import Capacity
from agents.clock import SystemClock, SystemDice
from agents.deciding.budgets import Spending
from agents.deciding.cache import AnswerCache
from agents.deciding.hedging import HedgePolicy
from agents.deciding.policy import RetryPolicy
from agents.deciding.routes import Router
from agents.executing.executor import Executor, Rules
from agents.executing.ground import Ground
from agents.executing.ports import NO_TAKER, LaneLostError
from agents.executing.prompts import load_prompts
from agents.pricing.prices import PriceBook
from agents.providers.building import openai_provider
from agents.task import Completed, Failed, Outcome, Task
from hybrid.stack.process import free_port
from hybrid.stack.simulated import Faults
from hybrid.stack.simulator import Simulator, serve
from schemas.budgets import BudgetSpec
from schemas.events import KeptCall
from schemas.outcome import RecordSource
from schemas.vocabulary import AttemptOutcome, AttemptStatus, DeadLetterReason, LogEvent
from tests.builders import a_task, an_intent
from tests.contract.test_policy_lines import Record
from tests.integration.driving import soon

EARLIER, LATER = "01900000-0000-7000-8000-000000000001", "01900000-0000-7000-8000-000000000002"


@dataclass
class Remembering:
    """A lane that always may, and what it has been told to keep."""

    calls: dict[str, KeptCall] = field(default_factory=dict)
    #: Which of its notes is refused, because the lane is another's by then; 0 = none.
    lost_at: int = 0
    noted: int = 0

    async def wait(self) -> None:
        pass

    async def confirm(self) -> None:
        pass

    async def keep(self, call: KeptCall) -> None:
        self.noted += 1
        if self.noted == self.lost_at:
            raise LaneLostError
        self.calls[call.attempt.attempt_id] = call

    def let_go(self, attempt_id: str) -> None:
        self.calls.pop(attempt_id, None)

    @property
    def places(self) -> list[str]:
        return [one.attempt.provider_request_id for one in self.calls.values()]


@dataclass
class World:
    """Two providers that keep their answers, and one worker after the other."""

    port: int
    simulator: Simulator = field(default_factory=Simulator)
    journal: Record = field(default_factory=Record)
    spending: Spending = field(default_factory=lambda: Spending(()))
    hedging: HedgePolicy = field(default_factory=HedgePolicy)
    logged: list[str] = field(default_factory=list)
    header: str = ""
    limit_s: float = 20.0
    latency_ms: float = 300.0
    text: str = "[[sim:tokens=300]]"
    closing: list[Callable[[], Awaitable[None]]] = field(default_factory=list)

    @property
    def faults(self) -> Faults:
        return self.simulator.faults["openai"]

    def log(self, event: LogEvent, /, **_fields: object) -> None:
        self.logged.append(event.value)

    def worker(self) -> Executor:
        clock = SystemClock()
        providers = {
            name: openai_provider(
                name, api_key="k", base_url=f"http://127.0.0.1:{self.port}/v1",
                model="gpt-3.5-turbo", timeout_s=self.limit_s, concurrency=4, clock=clock,
                api="responses", background=True, idempotency_header=self.header,
            )
            for name in ("openai", "second")
        }  # fmt: skip
        self.closing += [one.close for one in providers.values()]
        return Executor(
            providers=providers, router=Router(dict.fromkeys(providers, "openai")),
            capacity=Capacity(
                {name: ProviderLimits() for name in providers}, BreakerPolicy(), clock=clock
            ),
            rules=Rules(
                RetryPolicy(retry_delays=(0.01,)), self.hedging, PriceBook(), load_prompts(), 3600
            ),
            spending=self.spending, cache=AnswerCache(1_000_000), journal=self.journal,
            ground=Ground(clock, SystemDice(), "w", self.log),
        )  # fmt: skip

    def task(self, kept: tuple[KeptCall, ...] = (), *, ago_s: float = 0, **intent: Any) -> Task:
        written = datetime.now(UTC) - timedelta(seconds=ago_s)
        return a_task(
            intent=an_intent(data={"note": self.text}, **intent),
            execution_id=LATER if kept else EARLIER,
            source=RecordSource(topic="workflow.intents", partition=3, offset=7, timestamp=written),
            orphans=len({one.attempt.execution_id for one in kept}),
            kept=kept,
        )

    async def give_up(
        self, permit: Remembering, *, waiting: int = 1, message: str | None = None, **intent: Any
    ) -> tuple[KeptCall, ...]:
        """Execute until so many answers are waited for, then lose the lane, or die."""
        running = asyncio.create_task(self.worker().execute(self.task(**intent), permit))

        async def places() -> list[str]:
            return [one for one in permit.places if one]

        await soon(places, lambda found: len(found) == waiting, within_s=15)
        running.cancel(message)
        await asyncio.gather(running, return_exceptions=True)
        return tuple(permit.calls.values())

    async def go_on(self, kept: tuple[KeptCall, ...], **intent: Any) -> Outcome:
        return await self.worker().execute(self.task(kept, **intent), Remembering())

    async def until(self, *outcomes: str) -> None:
        """Wait until the provider's log is this."""

        async def look() -> list[str]:
            return [call.outcome for call in self.simulator.calls]

        await soon(look, lambda found: found == list(outcomes), within_s=15)

    @property
    def ended(self) -> dict[str, Any]:
        """The newest record of each call that has an end."""
        return {
            one.attempt_id: one
            for one in self.journal.written
            if one.status is AttemptStatus.FINISHED
        }


Steps = Callable[[World], Awaitable[None]]


def in_a_world(steps: Steps, **settings: Any) -> None:
    async def all_of_it() -> None:
        world = World(free_port(), **settings)
        world.faults.latency_ms = world.latency_ms
        runner = await serve(world.simulator, port=world.port)
        try:
            await steps(world)
        finally:
            for close in world.closing:
                await close()
            await runner.cleanup()

    asyncio.run(all_of_it())


def completed(outcome: Outcome) -> Completed:
    assert isinstance(outcome, Completed), outcome
    return outcome


def test_the_next_owner_fetches_the_answer_and_it_is_paid_once() -> None:
    async def steps(world: World) -> None:
        (kept,) = await world.give_up(Remembering())
        assert not world.ended, "it has no end yet, and none of us says so"
        outcome = completed(await world.go_on((kept,)))
        await world.until("200")
        attempt = outcome.last_attempt
        assert attempt is not None
        assert attempt.attempt_id == kept.attempt.attempt_id
        assert attempt.provider_request_id == kept.attempt.provider_request_id
        assert (attempt.cost_usd, attempt.used_result) == (Decimal("0.0006"), True)
        assert (outcome.paid.usd, outcome.paid.uncertain_usd) == (Decimal("0.0006"), 0)
        assert outcome.result.total_cost_usd == Decimal("0.0006")
        assert outcome.result.metadata.attempt == 1
        assert world.logged.count("answer_fetched") == 1

    in_a_world(steps)


def test_it_is_fetched_also_where_nothing_more_may_be_spent() -> None:
    async def steps(world: World) -> None:
        kept = await world.give_up(Remembering())
        world.spending = Spending((BudgetSpec(tenant="*", per="day", usd=Decimal("0.000001")),))
        world.spending.add(0, "default", completed(await world.go_on(kept)).paid, datetime.now(UTC))
        completed(await world.go_on(kept))
        await world.until("200")

    in_a_world(steps)


def test_one_that_is_kept_no_more_is_on_record_with_its_bound_and_asked_for_anew() -> None:
    async def steps(world: World) -> None:
        world.faults.keeping.retention_s = 0
        world.faults.latency_ms = 5
        world.faults.keeping.looks = ["503"] * 3
        (kept,) = await world.give_up(Remembering())
        world.faults.keeping.looks = []
        await world.until("200")
        world.faults.keeping.retention_s = 60
        outcome = completed(await world.go_on((kept,)))
        await world.until("200", "200")
        gone = world.ended[kept.attempt.attempt_id]
        assert (gone.error_code, gone.cost_usd) == ("response_gone", 0)
        assert gone.cost_upper_usd == kept.attempt.cost_upper_usd > 0
        assert outcome.paid.uncertain_usd == gone.cost_upper_usd

    in_a_world(steps)


def test_one_of_which_nothing_was_heard_is_bounded_and_told() -> None:
    async def steps(world: World) -> None:
        permit = Remembering()
        world.faults.latency_ms = 5
        await world.give_up(permit)
        (kept,) = permit.calls.values()
        lost = kept.model_copy(
            update={"attempt": kept.attempt.model_copy(update={"provider_request_id": ""})}
        )
        outcome = completed(await world.go_on((lost,)))
        await world.until("200", "200")
        assert outcome.paid.uncertain_usd == kept.attempt.cost_upper_usd
        assert world.logged.count("answer_lost") == 1
        assert kept.attempt.attempt_id not in world.ended, "it stays without an end"

    in_a_world(steps)


def test_where_requests_have_keys_it_is_found() -> None:
    async def steps(world: World) -> None:
        world.faults.keeping.idempotent = True
        permit = Remembering()
        await world.give_up(permit)
        (kept,) = permit.calls.values()
        lost = kept.model_copy(
            update={"attempt": kept.attempt.model_copy(update={"provider_request_id": ""})}
        )
        outcome = completed(await world.go_on((lost,)))
        await world.until("200")
        assert outcome.last_attempt is not None
        assert outcome.last_attempt.attempt_id == kept.attempt.attempt_id
        assert outcome.paid.uncertain_usd == 0

    in_a_world(steps, header="Idempotency-Key")


def test_a_response_that_failed_meanwhile_is_decided_by_the_policy() -> None:
    async def steps(world: World) -> None:
        kept = await world.give_up(Remembering())
        outcome = await world.go_on(kept)
        assert isinstance(outcome, Failed)
        assert (outcome.reason, outcome.code) == (DeadLetterReason.REJECTED, "invalid_prompt")
        await world.until("failed")
        assert [one.attempt_id for one in outcome.attempts] == [kept[0].attempt.attempt_id]

    in_a_world(steps, text="[[sim:ends=failed,code=invalid_prompt]]")


def test_after_the_deadline_it_is_cancelled_and_its_price_known_where_it_was_whole() -> None:
    async def steps(world: World) -> None:
        world.faults.latency_ms = 50
        world.faults.keeping.looks = ["503"] * 2
        (kept,) = await world.give_up(Remembering(), deadline_ms=60_000)
        world.faults.keeping.looks = []
        await world.until("200")
        late = world.task((kept,), ago_s=90, deadline_ms=60_000)
        outcome = await world.worker().execute(late, Remembering())
        assert isinstance(outcome, Failed)
        assert outcome.reason is DeadLetterReason.DEADLINE

        async def ended() -> Any:
            return world.ended[kept.attempt.attempt_id]

        attempt = await soon(ended, lambda one: bool(one.cost_usd), within_s=15)
        assert (attempt.cost_usd, attempt.used_result) == (Decimal("0.0006"), False)

    in_a_world(steps)


@pytest.mark.parametrize("message", [NO_TAKER, None])
def test_what_nobody_takes_is_cancelled_and_what_somebody_may_take_is_not(
    message: str | None,
) -> None:
    async def steps(world: World) -> None:
        (kept,) = await world.give_up(Remembering(), message=message) or (None,)
        if message is None:
            assert kept is not None
            assert not world.simulator.calls
        else:
            await world.until("cancelled")
            (attempt,) = world.ended.values()
            assert attempt.outcome is AttemptOutcome.CANCELLED

    in_a_world(steps, text="[[sim:hang]]")


def test_the_loser_of_two_calls_is_cancelled() -> None:
    async def steps(world: World) -> None:
        worker = world.worker()
        for _ in range(20):  # some experience, before which nothing is hedged
            completed(await worker.execute(world.task(), Remembering()))
        world.simulator.calls.clear()
        world.faults.plan = ["hang", "ok"]
        permit = Remembering()
        outcome = completed(await worker.execute(world.task(priority="critical"), permit))
        assert outcome.result.provider == "second"
        await world.until("200", "cancelled")
        hedge_lost = [one for one in world.ended.values() if one.error_code == "hedge_lost"]
        assert [one.outcome for one in hedge_lost] == [AttemptOutcome.CANCELLED]
        assert len(permit.calls) == 1, "only the winner's answer may still be fetched"

    in_a_world(
        steps, hedging=HedgePolicy(who=frozenset({"critical"}), most_share=0.5), latency_ms=20
    )


def test_where_its_place_cannot_be_noted_it_is_cancelled() -> None:
    async def steps(world: World) -> None:
        with pytest.raises(LaneLostError):
            await world.worker().execute(world.task(), Remembering(lost_at=2))
        await world.until("cancelled")
        (attempt,) = world.ended.values()
        assert attempt.outcome is AttemptOutcome.CANCELLED

    in_a_world(steps, text="[[sim:hang]]")


def test_a_lane_that_is_lost_before_the_call_makes_none() -> None:
    async def steps(world: World) -> None:
        with pytest.raises(LaneLostError):
            await world.worker().execute(world.task(), Remembering(lost_at=1))
        assert not world.simulator.calls
        (attempt,) = world.ended.values()
        assert attempt.cost_upper_usd == 0

    in_a_world(steps)

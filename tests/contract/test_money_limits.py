"""Money limits against a simulator that always writes as much as it may, a token for each byte."""

from decimal import Decimal
from typing import Any

import pytest

from agents.deciding.budgets import Spending
from agents.task import Completed, Deferred, Failed, Paid
from hybrid.stack.simulator import MOST_WRITTEN
from schemas.attempt import ProviderAttempt
from schemas.budgets import BudgetSpec
from schemas.events import DeferralState
from schemas.vocabulary import AttemptStatus, DeadLetterReason
from tests.builders import NOW, NOW_MS, a_task
from tests.contract.test_policy_lines import Run, World, hedged, world

__all__ = ["hedged", "world"]

GREEDY = "[[sim:greedy]]"


def spent(run: Run) -> Decimal:
    """Give what was paid, and what calls that were given up may have cost."""
    bounds = {one.attempt_id: one.cost_upper_usd or Decimal(0) for one in run.written}
    last = run.outcome.last_attempt
    if last is not None:
        bounds[last.attempt_id] = last.cost_upper_usd or Decimal(0)
    return sum(bounds.values(), Decimal(0))


@pytest.mark.parametrize("model", ["gpt-5", "gpt-5.4-pro", "gpt-4o", "gpt-3.5-turbo"])
@pytest.mark.parametrize("usd", ["0.02", "0.10"])
def test_an_answer_costs_no_more_than_the_intent_allows(model: str, usd: str) -> None:
    run = World("openai").run(GREEDY, model=model, max_cost_usd=usd)
    if isinstance(run.outcome, Failed):
        assert (run.outcome.code, run.calls) == ("max_cost_reached", [])
        return
    assert isinstance(run.outcome, Completed)
    assert run.outcome.result.total_cost_usd is not None
    assert 0 < run.outcome.result.total_cost_usd <= Decimal(usd)
    assert run.written[0].cost_upper_usd is not None
    assert run.outcome.result.total_cost_usd <= run.written[0].cost_upper_usd <= Decimal(usd)


def test_what_is_sent_beside_the_messages_is_counted_too() -> None:
    schema = {"type": "object", "description": "é" * 20_000}
    run = World("openai").run(
        f"{GREEDY}[[sim:text={{}}]]", model="gpt-4o", max_cost_usd="0.15", response_schema=schema
    )
    assert isinstance(run.outcome, Completed)
    assert run.outcome.result.total_cost_usd is not None
    assert Decimal("0.1") < run.outcome.result.total_cost_usd <= Decimal("0.15")


def test_a_call_whose_price_nobody_knows_is_not_made_under_a_limit(world: World) -> None:
    run = world.run(model="no-such-model-x1", max_cost_usd="100")
    assert isinstance(run.outcome, Failed)
    assert run.calls == []
    assert (run.outcome.reason, run.outcome.code) == (DeadLetterReason.BUDGET, "price_unknown")
    assert "no price is known for model no-such-model-x1" in run.outcome.message
    assert "[[prices]]" in run.outcome.suggested_action
    assert isinstance(world.run(model="no-such-model-x1").outcome, Completed)


def test_retries_and_fallbacks_are_paid_from_the_same_money(world: World) -> None:
    world.hang(world.first)
    usd = "0.05"
    run = world.run(GREEDY, max_cost_usd=usd)
    assert run.calls
    assert spent(run) <= Decimal(usd)


def test_a_call_and_its_rival_are_paid_from_the_same_money(hedged: World) -> None:
    """What pays for both to the last digit allows a rival; a little less does not."""

    def started(usd: Decimal) -> list[ProviderAttempt]:
        hedged.simulator.faults[hedged.first].plan = ["ok"] * 20
        hedged.time_limits[hedged.first] = 0.6
        run = hedged.run(priority="critical", max_output_tokens=100, max_cost_usd=str(usd))
        assert spent(run) <= usd
        return [one for one in run.written if one.status is AttemptStatus.STARTED]

    hedged.simulator.faults[hedged.first].always = "hang"
    first, rival = started(Decimal(1))[:2]
    assert (first.hedge, rival.hedge) == (False, True)
    both = (first.cost_upper_usd or Decimal(0)) + (rival.cost_upper_usd or Decimal(0))
    assert any(one.hedge for one in started(both))
    assert not any(one.hedge for one in started(both - Decimal("0.000001")))


def test_a_deferral_does_not_forget_what_may_have_been_paid(world: World) -> None:
    """A call that timed out and one without a price count on, however often the intent waits."""
    state = DeferralState(
        due_at_ms=NOW_MS, count=1, hop=1, reason="timeout", intent_id="i-1",
        source=a_task().source, spent_usd=None, exposure_usd=Decimal("0.0499"),
    )  # fmt: skip
    assert isinstance(world.run(max_cost_usd="0.05", deferral=state).outcome, Failed)
    assert isinstance(world.run(max_cost_usd="0.15", deferral=state).outcome, Completed)
    world.always("hang")
    world.time_limits = dict.fromkeys(world.time_limits, 0.2)
    world.policy["retry_delays"] = ()
    run = world.run(max_output_tokens=10, max_cost_usd="9", deferral=state)
    assert isinstance(run.outcome, Deferred)
    after = run.outcome.state
    assert after.spent_usd is None
    assert after.exposure_usd == Decimal("0.0499") + spent(run)


# ── tenants' budgets ────────────────────────────────────────────────────────────────────────


def budgeted(world: World, spent: str, **changes: Any) -> BudgetSpec:
    """Give the tenant 0.025 USD a day of which so much is spent."""
    budget = BudgetSpec.model_validate({"tenant": "*", "per": "day", "usd": "0.025", **changes})
    world.spending = Spending([budget])
    world.spending.add(3, "default", Paid(Decimal(spent)), NOW)
    return budget


@pytest.mark.parametrize("then", ["defer", "dead_letter"])
def test_no_more_than_the_rest_of_a_budget_is_spent(then: str) -> None:
    world = World("openai")
    budget = budgeted(world, "0.024", then=then)
    run = world.run(GREEDY)
    assert isinstance(run.outcome, Completed)
    assert Decimal("0.0005") < (run.outcome.result.total_cost_usd or 0) <= Decimal("0.001")
    assert world.spending.counted(budget, "default", NOW) <= budget.usd
    run = world.run(GREEDY)
    assert isinstance(run.outcome, Deferred if then == "defer" else Failed), (
        "the rest pays for nothing"
    )
    assert run.calls == []
    (told,) = world.spending.news()
    assert (told.hard, told.tenant, told.period) == (True, "default", "2026-01-31")
    world.run(GREEDY)
    assert world.spending.news() == [], "told once in its period"


def test_calls_side_by_side_do_not_overrun_a_budget(world: World) -> None:
    """Twenty greedy calls at once: what one holds the others wait for, and nobody is cut meanwhile."""
    budget = budgeted(world, "0", usd="0.1")
    world.beside = 20
    world.simulator.faults[world.first].latency_ms = 50
    world.run(GREEDY)
    assert world.spending.counted(budget, "default", NOW) <= budget.usd
    put_aside = [one.state for one in world.outcomes if isinstance(one, Deferred)]
    assert put_aside
    assert {(one.reason, one.count, one.due_at_ms - NOW_MS) for one in put_aside} == {
        ("budget", 0, 10_000)
    }
    assert any(isinstance(one, Completed) for one in world.outcomes)


def test_a_budget_that_holds_nothing_back_is_overrun_by_what_is_in_flight() -> None:
    world = World("openai")
    budget = budgeted(world, "0.024", hold=False)
    assert isinstance(world.run(GREEDY).outcome, Completed)
    assert world.spending.counted(budget, "default", NOW) > budget.usd


def test_calls_that_timed_out_count_by_their_bounds(world: World) -> None:
    world.always("hang")
    world.time_limits = dict.fromkeys(world.time_limits, 0.2)
    world.policy["retry_delays"] = ()
    for uncertain, spent_usd in (("count", True), ("ignore", False)):
        budget = budgeted(world, "0", usd="100", uncertain=uncertain)
        run = world.run(max_output_tokens=10)
        assert isinstance(run.outcome, Deferred)
        counted = world.spending.counted(budget, "default", NOW)
        assert counted == (spent(run) if spent_usd else 0)


def test_a_call_whose_price_nobody_knows_counts_what_its_budget_says() -> None:
    world = World("openai")
    budget = budgeted(world, "0", unpriced_usd="0.02")
    assert isinstance(world.run(model="no-such-model-x1").outcome, Completed)
    assert world.spending.counted(budget, "default", NOW) == Decimal("0.02")
    assert isinstance(world.run(model="no-such-model-x1").outcome, Deferred)


def test_a_budget_with_plenty_left_tells_the_provider_nothing() -> None:
    world = World("openai")
    budgeted(world, "0", usd="1000")
    run = world.run(GREEDY)
    assert isinstance(run.outcome, Completed)
    assert run.outcome.result.cost_info.output_tokens == MOST_WRITTEN


# ── workers that died during a call ─────────────────────────────────────────────────────────


def test_calls_whose_end_nobody_knows_count_with_their_bounds(world: World) -> None:
    """As the record has them: started, no end, at most so much."""
    budget = budgeted(world, "0", usd="5", uncertain="count")
    alone = world.run(max_output_tokens=100).written[0].cost_upper_usd
    assert alone is not None
    before, world.orphans = world.spending.counted(budget, "default", NOW), 2
    run = world.run(max_output_tokens=100)
    assert isinstance(run.outcome, Completed)
    paid = run.outcome.result.total_cost_usd or Decimal(0)
    assert paid < alone, "what is on the intent's bill is known"
    counted = world.spending.counted(budget, "default", NOW) - before - paid
    assert 2 * alone <= counted <= 2 * 5 * alone, "of its providers the dearest counts"


def test_the_rest_of_a_limit_after_a_death_is_what_is_surely_left(world: World) -> None:
    usd = Decimal("0.05")
    (started,) = world.run(max_output_tokens=1_000, max_cost_usd=str(usd)).written
    world.orphans = 1
    run = world.run(GREEDY, max_output_tokens=1_000, max_cost_usd=str(usd))
    assert isinstance(run.outcome, Completed)
    assert started.cost_upper_usd is not None
    world.orphans = 50
    run = world.run(max_output_tokens=1_000, max_cost_usd=str(usd))
    assert isinstance(run.outcome, Failed)
    assert (run.outcome.code, run.calls) == ("max_cost_reached", [])


def test_of_a_model_without_a_price_the_calls_are_counted(world: World) -> None:
    world.orphans = 3
    run = world.run(model="no-such-model-x1")
    assert run.outcome.paid.unpriced == 4


def test_an_intent_over_its_tenants_budget_brings_its_orphans_along(world: World) -> None:
    budget = budgeted(world, "0.025")
    world.orphans = 1
    run = world.run(max_output_tokens=100)
    assert isinstance(run.outcome, Deferred)
    assert run.outcome.paid.uncertain_usd > 0
    assert world.spending.counted(budget, "default", NOW) > Decimal("0.025")


def test_an_invalid_intent_was_never_called_for(world: World) -> None:
    world.orphans = 1
    run = world.run(response_schema={"type": "no-such-type"})
    assert isinstance(run.outcome, Failed)
    assert run.outcome.paid.uncertain_usd == 0


def test_no_rival_starts_whose_price_nobody_knows(hedged: World) -> None:
    hedged.simulator.faults[hedged.first].always = "hang"
    hedged.time_limits[hedged.first] = 0.6
    run = hedged.run(priority="critical", model="no-such-model-x1")
    assert not any(one.hedge for one in run.written)

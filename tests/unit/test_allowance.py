"""How long an answer may be for the money that is left."""

from decimal import Decimal

import pytest

from agents.deciding.budgets import OverBudget, Room
from agents.executing.allowance import Length, Short, length_of, within_budget, within_limit
from agents.pricing.rates import Prompt, Rates, free
from schemas.budgets import BudgetSpec
from tests.builders import an_intent

#: A dollar a token, whatever it is.
RATES = Rates("x", *[Decimal(1_000_000)] * 7)
PROMPT = Prompt(100)


def whole(**changes: int) -> Length:
    return length_of(an_intent(**changes), 1_000, known=True, window=None)


@pytest.mark.parametrize(
    ("usd", "changes", "cap"),
    [
        (99, {}, None),
        (100, {}, None),
        (115, {}, None),
        (116, {}, 16),
        (600, {}, 500),
        (9_999, {}, 1_000),
        (102, {"max_output_tokens": 2}, 2),
        (101, {"max_output_tokens": 2}, None),
    ],
)
def test_an_answer_is_as_long_as_the_money_pays_for_or_is_not_asked_for(
    usd: int, changes: dict[str, int], cap: int | None
) -> None:
    """The prompt takes 100; of what is left 16 tokens at least, or as many as were asked for."""
    found = within_limit(whole(**changes), Decimal(usd), RATES, PROMPT)
    assert (found.cap if isinstance(found, Length) else None) == cap
    assert cap is not None or found == Short()


def test_what_costs_nothing_is_not_cut_and_what_has_no_price_is_not_asked_for() -> None:
    assert within_limit(whole(), Decimal(0), free("x"), PROMPT) == whole()
    assert within_limit(whole(), Decimal(9), None, PROMPT) == Short()


@pytest.mark.parametrize(
    ("known", "window", "asked", "longest"),
    [
        (True, None, None, 1_000),
        (True, 1_200, None, 600),
        (True, 8_000, 300, 300),
        (False, 1_000, None, 4_096),
        (False, 1_000, 50, 50),
    ],
)
def test_a_provider_is_told_a_length_that_its_model_takes(
    known: bool, window: int | None, asked: int | None, longest: int
) -> None:
    intent = an_intent(**({} if asked is None else {"max_output_tokens": asked}))
    found = length_of(intent, 1_000, known=known, window=window)
    assert (found.cap, found.longest) == (asked, longest)
    assert found.most == min(asked or 1_000, 1_000)


def a_room(usd: int, *, held: bool = False) -> Room:
    budget = BudgetSpec(tenant="t", per="day", usd=Decimal(1_000), unpriced_usd=Decimal(5))
    return Room(OverBudget(budget, Decimal(0), 60.0), Decimal(usd), held)


def test_money_that_others_hold_is_waited_for_and_the_last_of_it_is_used_up() -> None:
    over = a_room(0).over
    assert within_budget(whole(), a_room(600, held=True), Decimal(0), RATES, PROMPT) == Short(
        over, soon=True
    )
    cut = within_budget(whole(), a_room(600), Decimal(100), RATES, PROMPT)
    assert isinstance(cut, Length)
    assert (cut.cap, cut.cut) == (400, True)
    assert within_budget(whole(), a_room(110), Decimal(0), RATES, PROMPT) == Short(over)
    told = within_budget(whole(), a_room(2_000), Decimal(0), RATES, PROMPT)
    assert isinstance(told, Length)
    assert (told.cap, told.cut) == (1_000, False), "another model might write more"
    assert within_budget(whole(), a_room(200_000), Decimal(0), RATES, PROMPT) == whole()


def test_a_call_without_a_price_takes_what_its_budget_says_it_counts() -> None:
    assert within_budget(whole(), a_room(5), Decimal(0), None, PROMPT) == whole()
    assert within_budget(whole(), a_room(5), Decimal(1), None, PROMPT) == Short(a_room(5).over)

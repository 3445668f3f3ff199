"""What tenants spent, and answers that need not be paid for again."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.deciding.budgets import Spending
from agents.deciding.cache import AnswerCache, request_key, time_to_live_s
from agents.task import Paid
from schemas.budgets import BudgetSpec, SpendRecord
from schemas.events import CachedAnswer
from tests.builders import an_intent

NOON = datetime(2026, 1, 31, 12, 30, tzinfo=UTC)


def a_budget(**changes: Any) -> BudgetSpec:
    return BudgetSpec.model_validate({"tenant": "acme", "per": "day", "usd": "10", **changes})


def spend(spending: Spending, usd: str, *, lane: int = 0, now: datetime = NOON) -> list[bool]:
    """Spend, and give whether the limits that were reached are hard ones."""
    _, crossings = spending.add(lane, "acme", Paid(Decimal(usd)), now)
    return [one.hard for one in crossings]


@given(st.lists(st.tuples(st.integers(0, 3), st.decimals("0", "5", places=3)), max_size=20))
def test_a_budget_that_is_given_later_counts_what_was_spent_before(
    spent: list[tuple[int, Decimal]],
) -> None:
    """Nobody watched when it was spent; over a restart, in the periods at hand only."""
    first, later = Spending([]), Spending([a_budget()])
    first.add(0, "acme", Paid(Decimal(7)), NOON.replace(day=30))
    for lane, usd in spent:
        record, crossings = first.add(lane, "acme", Paid(usd), NOON)
        assert crossings == []
        later.learn(SpendRecord.model_validate_json(record.to_json()))
    total = sum((usd for _, usd in spent), Decimal(0))
    room = later.room("acme", NOON, execution="e")
    assert room is not None
    assert room.usd == 10 - total
    month = Spending([a_budget(per="month", usd=1)])
    month.learn(first.add(0, "acme", Paid(), NOON)[0])
    assert month.over("acme", NOON) is not None


def test_what_was_spent_in_earlier_months_is_forgotten() -> None:
    for watched in ([], [a_budget(per="month")]):
        spending = Spending(watched)
        for tenant in ("acme", "gone"):
            record, _ = spending.add(0, tenant, Paid(Decimal(1)), NOON)
            spending.learn(record)
        later = NOON.replace(month=2, day=1)
        record, _ = spending.add(1, "acme", Paid(Decimal(2)), later)
        spending.prune(later)
        kept = {tenant: lanes for tenant, lanes in spending._sums._own.items() if lanes}
        assert {tenant: list(lanes) for tenant, lanes in kept.items()} == {"acme": [1]}
        assert spending._sums._told == {}


def test_each_limit_is_told_once_and_the_hard_one_holds_until_the_next_period() -> None:
    spending = Spending([a_budget()])
    assert spend(spending, "7.9") == []
    assert spending.over("acme", NOON) is None
    assert spend(spending, "0.1", lane=1) == [False]
    assert spend(spending, "3", lane=2) == [True]
    assert spend(spending, "1") == []
    over = spending.over("acme", NOON)
    assert over is not None
    assert (over.spent_usd, over.resets_in_s) == (Decimal("12.0"), 11.5 * 3600)
    assert spending.over("acme", NOON.replace(month=2, day=1)) is None


@pytest.mark.parametrize(("per", "seconds"), [("hour", 1800), ("day", 41_400), ("month", 41_400)])
def test_periods_are_those_of_the_calendar(per: str, seconds: float) -> None:
    spending = Spending([a_budget(per=per)])
    spend(spending, "10")
    over = spending.over("acme", NOON)
    assert over is not None
    assert over.resets_in_s == seconds


def test_a_tenants_own_budget_wins_over_the_one_for_everybody() -> None:
    spending = Spending([a_budget(tenant="*", usd="1"), a_budget(usd="5")])
    spend(spending, "2")
    assert spending.over("acme", NOON) is None
    spending.add(0, "small", Paid(Decimal(2)), NOON)
    assert spending.over("small", NOON) is not None


@given(st.lists(st.tuples(st.integers(0, 3), st.decimals("0", "5", places=3)), max_size=30))
def test_sums_survive_a_restart_and_are_the_same_at_every_worker(
    spent: list[tuple[int, Decimal]],
) -> None:
    """Records are all that one worker knows of another, and all that is left after a crash."""
    first, other = Spending([a_budget()]), Spending([a_budget()])
    for lane, usd in spent:
        booked = first.add(lane, "acme", Paid(usd), NOON)
        other.learn(SpendRecord.model_validate_json(booked[0].to_json()))
    total = sum((usd for _, usd in spent), Decimal(0))
    budget = a_budget()
    assert first.counted(budget, "acme", NOON) == other.counted(budget, "acme", NOON) == total
    booked = other.add(0, "acme", Paid(Decimal(1)), NOON)
    assert other.counted(a_budget(per="month"), "acme", NOON) == total + 1


def test_what_was_booked_and_never_committed_is_forgotten_with_the_lane() -> None:
    spending = Spending([a_budget()])
    booked = spending.add(3, "acme", Paid(Decimal(2)), NOON)
    spending.learn(booked[0])
    spend(spending, "5", lane=3)
    spending.forget(3)
    assert spending.counted(a_budget(), "acme", NOON) == 2


@pytest.mark.parametrize(
    ("changes", "counted"),
    [
        ({}, "3"),
        ({"uncertain": "ignore"}, "1"),
        ({"unpriced_usd": "0.5"}, "4.5"),
        ({"unpriced_usd": "0.5", "uncertain": "ignore"}, "2.5"),
    ],
)
def test_what_may_have_been_charged_counts_unless_a_budget_says_otherwise(
    changes: dict[str, str], counted: str
) -> None:
    spending = Spending([a_budget(**changes)])
    spending.add(0, "acme", Paid(Decimal(1), Decimal(2), 3), NOON)
    assert spending.counted(a_budget(**changes), "acme", NOON) == Decimal(counted)
    restarted = Spending([a_budget(**changes)])
    booked = spending.add(0, "acme", Paid(), NOON)
    restarted.learn(SpendRecord.model_validate_json(booked[0].to_json()))
    assert restarted.counted(a_budget(**changes), "acme", NOON) == Decimal(counted)


def test_calls_in_flight_leave_less_room_for_others_until_they_end() -> None:
    spending = Spending(
        [a_budget(), a_budget(per="month", usd=12), a_budget(per="hour", usd=1, hold=False)]
    )
    spend(spending, "2")
    spending.hold("a", "acme", Decimal(3))
    spending.hold("b", "acme", Decimal(1))
    spending.hold("c", "other", Decimal(5))
    room = spending.room("acme", NOON, execution="a")
    assert room is not None
    assert (room.usd, room.held, room.over.budget.per) == (Decimal(7), True, "day")
    spending.release("b")
    spending.release("b")
    room = spending.room("acme", NOON, execution="a")
    assert room is not None
    assert (room.usd, room.held) == (Decimal(8), False)
    assert spending.room("other", NOON, execution="c") is None


def test_a_budget_that_holds_work_up_is_told_once_in_its_period() -> None:
    """Its rest may pay for no call: then nobody crosses its limit, and work waits all the same."""
    spending = Spending([a_budget()])
    spend(spending, "9.9999")
    room = spending.room("acme", NOON, execution="e")
    assert room is not None
    for _ in range(2):
        spending.stopped("acme", room.over, NOON)
    (told,) = spending.news()
    assert (told.hard, told.period, told.spent_usd) == (True, "2026-01-31", Decimal("9.9999"))
    assert spending.news() == []
    assert spend(spending, "1") == [], "it has been told"
    later = NOON.replace(month=2, day=1)
    spending.prune(later)
    assert spend(spending, "10", now=later) == [False, True]
    spending.stopped("acme", room.over, later)
    assert spending.news() == []


# ── the cache ───────────────────────────────────────────────────────────────────────────────


def an_answer(text: str, at_ms: int = 0) -> CachedAnswer:
    return CachedAnswer(provider="openai", served_model="m", content=text, stored_at_ms=at_ms)


MESSAGES = [{"role": "user", "content": "hello"}]


@pytest.mark.parametrize(
    "changes",
    [
        {"tenant": "other"},
        {"temperature": 0.5},
        {"max_output_tokens": 5},
        {"response_schema": {"type": "object"}},
    ],
)
def test_whatever_an_answer_depends_on_makes_another_request(changes: dict[str, Any]) -> None:
    same = request_key(an_intent(user_id="u-2", intent_id="i-9"), "m", MESSAGES)
    assert same == request_key(an_intent(), "m", MESSAGES)
    assert same != request_key(an_intent(**changes), "m", MESSAGES)
    assert same != request_key(an_intent(), "n", MESSAGES)


@pytest.mark.parametrize(
    ("cache", "ttl"),
    [(True, 60), (False, None), (None, None), ({}, 60), ({"ttl_seconds": 5}, 5),
     ({"ttl_seconds": 0}, None), ({"ttl_seconds": "x"}, None), ({"ttl_seconds": True}, None)],
)  # fmt: skip
def test_an_intent_says_how_old_an_answer_may_be(cache: Any, ttl: float | None) -> None:
    assert time_to_live_s(an_intent(cache=cache), 60) == ttl


def test_an_old_answer_is_not_given_and_an_older_one_replaces_nothing() -> None:
    cache = AnswerCache(10_000)
    cache.put("k", an_answer("new", 1_000))
    cache.put("k", an_answer("old", 500))
    found = cache.get("k", now_ms=60_000, ttl_s=60)
    assert found is not None
    assert found.content == "new"
    assert cache.get("k", now_ms=61_001, ttl_s=60) is None
    cache.clear()
    assert cache.get("k", now_ms=60_000, ttl_s=60) is None


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 2_000)), max_size=50))
def test_the_cache_never_grows_beyond_its_bytes(puts: list[tuple[str, int]]) -> None:
    cache = AnswerCache(5_000)
    for number, (key, size) in enumerate(puts):
        cache.put(key, an_answer("x" * size, number))
        assert cache._bytes <= 5_000
        assert cache._bytes == sum(len(one.content) + 500 for one in cache._answers.values())


def test_sums_are_right_also_of_more_tenants_than_are_kept_as_they_were_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agents.deciding.budgets.MOST_READ", 2)
    spending = Spending([])
    for _ in range(3):
        for tenant in ("a", "b", "c"):
            record, _ = spending.add(0, tenant, Paid(Decimal("0.5")), NOON)
            assert SpendRecord.model_validate_json(record.written) == record
    assert record.periods["day"] == ("2026-01-31", Decimal("1.5"))

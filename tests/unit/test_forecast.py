"""A month's cost from its days, against numbers counted by hand."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from streams.bill.forecast import day_at_rate, trend_of

TODAY = date(2026, 1, 28)


def days(*usd: float, today: float | None = None) -> dict[date, float]:
    """The days before today, the last of them yesterday."""
    found = {TODAY - timedelta(days=len(usd) - n): one for n, one in enumerate(usd)}
    return found if today is None else {**found, TODAY: today}


def test_the_day_comes_to_what_was_spent_and_the_last_hours_rate_to_midnight() -> None:
    six = datetime(2026, 1, 28, 18, tzinfo=UTC)
    assert day_at_rate(Decimal(10), Decimal(2), six) == Decimal(22)
    assert day_at_rate(Decimal(10), Decimal(0), six) == Decimal(10)


def test_a_line_goes_on_to_the_end_of_the_month_and_today_is_finished() -> None:
    """1, 2, … 14 dollars; 3 of today's 15; then 16, 17, 18 on the 29th to the 31st."""
    trend = trend_of(days(*range(1, 15), today=3), TODAY)
    assert trend.slope == pytest.approx(1)
    assert trend.so_far(TODAY) == pytest.approx(sum(range(1, 15)) + 3)
    assert trend.rest(TODAY) == pytest.approx((15 - 3) + 16 + 17 + 18)
    assert trend.made_of == "the trend of 14 days"


def test_days_of_last_month_make_the_trend_and_are_not_in_the_sum() -> None:
    today = date(2026, 2, 2)
    found = {today - timedelta(days=n): 10.0 for n in range(1, 20)}
    trend = trend_of(found, today)
    assert trend.so_far(today) == pytest.approx(10)
    assert trend.rest(today) == pytest.approx(10 * 27)  # 2 to 28 February


def test_a_day_without_calls_costs_nothing_and_a_fall_ends_at_0() -> None:
    assert trend_of({TODAY - timedelta(days=4): 8.0}, TODAY).rest(TODAY) == 0
    trend = trend_of(days(40, 30, 20, 10), TODAY)
    assert set(trend.expected.values()) == {0.0}


@pytest.mark.parametrize(
    ("found", "rest", "made_of"),
    [
        (days(4, 6), 4 * 5, "the mean of 2 days: too few for a trend"),
        (days(4, 6, today=2), 3 + 3 * 5, "the mean of 2 days: too few for a trend"),
        (days(today=7), 3 * 7, "the mean of 1 days: too few for a trend"),
    ],
)
def test_too_few_days_make_a_mean(found: dict[date, float], rest: float, made_of: str) -> None:
    trend = trend_of(found, TODAY)
    assert (trend.rest(TODAY), trend.made_of) == (pytest.approx(rest), made_of)


def test_what_is_spent_today_beyond_the_expected_is_not_taken_off_the_days_to_come() -> None:
    assert trend_of(days(5, 5, 5, today=50), TODAY).rest(TODAY) == pytest.approx(15)

"""Spend over time, for a chart; and what this month will cost, from the trend of its days."""

from datetime import date, timedelta
from typing import Unpack

from streams.bill.costs import ZERO, Table, daily
from streams.bill.dimensions import DIMENSIONS, Which, period
from streams.bill.forecast import TREND_DAYS, Trend, trend_of
from streams.store.clickhouse import ClickHouse

__all__ = ["month_ahead", "over_time"]


def month_ahead(store: ClickHouse, *, today: date) -> dict[str, Trend]:
    """Give each provider's days and what is expected of the rest of the month."""
    first = min(today.replace(day=1), today - timedelta(days=TREND_DAYS))
    by_provider = daily(store, first=first)
    return {name: trend_of(days, today) for name, days in sorted(by_provider.items())}


def over_time(store: ClickHouse, *, step: str, **which: Unpack[Which]) -> Table:
    """Give spend by `hour` or `day`: of `report` the columns that are drawn, in half its time."""
    condition, parameters = period(**which)
    statement = f"""
        SELECT {DIMENSIONS[step]} AS `{step}`, count() AS calls,
            toString(sum(a.cost_usd)) AS cost_usd,
            toString(sumIf(ifNull(a.cost_usd, {ZERO}), NOT used_result)) AS wasted_usd,
            countIf(status = 'finished' AND a.cost_usd IS NULL) AS unpriced
        FROM provider_attempts AS a FINAL WHERE {condition}
        GROUP BY `{step}` ORDER BY `{step}`
        """  # noqa: S608 - dimensions come from a fixed table
    return Table(*store.rows(statement, parameters))

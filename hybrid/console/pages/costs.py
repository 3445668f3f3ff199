"""What it cost: by what one groups it, over time, beside the time before; as CSV and as FOCUS."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from aiohttp import web

from hybrid.console.charts import Step, drawn
from hybrid.console.ground import GROUND, Ground
from hybrid.console.pages.choosing import FILTERS, Asked, as_csv, moment, read
from hybrid.console.views import usd
from schemas.base import format_time
from streams.bill import costs as questions
from streams.bill.costs import DIMENSIONS, Table
from streams.bill.months import over_time
from streams.store.clickhouse import ClickHouse

__all__ = ["costs", "costs_csv"]

BY = "provider,model"
#: Rows of the page; the CSV has all of them.
MOST = 200
WIDTH = 150
#: The month is asked about seldom; who comes first does not wait for it.
MONTH_WAIT_S = 0.5
#: Why money was spent that served nobody, as docs/costs.md has it.
CAUSES = {
    "orphan": "the call has no end on record: its worker died",
    "hedge": "another call of the same intent was faster",
    "cancelled": "the call was given up",
    "redelivery": "the intent was done once more",
    "replay": "a replay that failed again",
    "fallback": "another provider was asked, and failed too",
    "retry": "it was tried again",
}


@dataclass(frozen=True, slots=True)
class Spent:
    """What the page shows, and no more: it is kept for a while."""

    total: dict[str, Any]
    #: Of the time before, which is as long.
    before: dict[str, Any]
    rows: list[dict[str, Any]]
    more: int
    unpriced: list[dict[str, Any]]
    wasted: list[dict[str, Any]]
    #: By when each step begins.
    over_time: dict[datetime, dict[str, Any]]


async def costs(request: web.Request) -> web.Response:
    """Show what was spent, by what it is grouped."""
    ground = request.app[GROUND]
    asked = read("/costs", request.query, now=ground.clock.now(), by=BY)
    answer = await ground.sources.kept.get(
        asked.link(), lambda: ground.sources.noted(lambda store: _asked(store, asked))
    )
    spent, statements = answer.value
    chart, priceless = _charts(asked, spent)
    return ground.views.page(
        request,
        "costs.html",
        title="Costs",
        command=f"hybrid costs report --by {','.join(asked.by)}{asked.options}",
        asked=asked,
        filters=(*FILTERS, "since", "until"),
        dimensions=list(DIMENSIONS),
        spent=spent,
        beside=_beside(spent.total, spent.before),
        long=asked.until - asked.since,
        earlier=asked.link(
            since=format_time(asked.before["since"] or asked.since), until=format_time(asked.since)
        ),
        chart=chart,
        priceless=priceless,
        steps=[(begin, asked.part(begin), one) for begin, one in sorted(spent.over_time.items())],
        month=await _month(ground),
        causes=CAUSES,
        csv=asked.link("/costs.csv"),
        focus=asked.link("/costs/focus.csv", by=None),
        sql=statements,
        as_of=answer.as_of,
        width=WIDTH,
    )


def _asked(store: ClickHouse, asked: Asked) -> Spent:
    """Ask what there is to ask: a query over all calls takes its time."""
    table, whole = questions.spent(store, by=asked.by, **asked.which)
    total = whole.named()[0]
    if not total["calls"]:
        return Spent(total, total, [], 0, [], [], {})
    before = questions.total(store, **asked.before).named()[0]
    steps = over_time(store, step=asked.step, **asked.which)
    priceless = questions.unpriced(store, **asked.which) if total["unpriced"] else Table([], [])
    return Spent(
        total,
        before,
        _rows(table, asked),
        max(0, len(table.rows) - MOST),
        priceless.named(),
        questions.wasted(store, **asked.which).named(),
        {moment(one[asked.step]): one for one in steps.named()},
    )


def _rows(table: Table, asked: Asked) -> list[dict[str, Any]]:
    """Give the rows with their bars, and where each leads to."""
    rows = replace(table, rows=table.rows[:MOST]).named()
    dearest = max((Decimal(one["cost_usd"]) for one in rows if one["cost_usd"]), default=Decimal(0))
    return [
        {
            **row,
            "keys": [str(row[name]) for name in asked.by],
            "href": asked.further(row),
            "bar": int(WIDTH * Decimal(row["cost_usd"] or 0) / dearest) if dearest else 0,
        }
        for row in rows
    ]


def _beside(total: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    """Say how much more or less it is than in the time before; nothing where one is not known."""
    now, then = (Decimal(one["cost_usd"] or 0) for one in (total, before))
    if not then or total["cost_usd"] is None:
        return ""
    share = (now - then) / then * 100
    if abs(share) < 1:
        return "about as much as"
    return f"{abs(share):,.0f} % {'more' if share > 0 else 'less'} than"


def _charts(asked: Asked, spent: Spent) -> tuple[Any, Any]:
    """Draw the money over time, and apart from it the calls that no sum knows."""
    if not spent.over_time:
        return None, None
    money, calls = [], []
    for begin in asked.begins(min(spent.over_time)):
        one, href = spent.over_time.get(begin), asked.part(begin)
        when = f"{begin:%Y-%m-%d %H:%M} UTC"
        cost = Decimal((one or {}).get("cost_usd") or 0)
        lost, unknown = Decimal((one or {}).get("wasted_usd") or 0), (one or {}).get("unpriced", 0)
        said = (
            f"{when}: {usd(cost)}, of it {usd(lost)} served nobody" if one else f"{when}: no call"
        )
        stack = (("good", float(cost - lost)), ("bad", float(lost)))
        money.append(Step(begin, href, said, stack))
        without = f"{when}: {unknown:,} calls without a known price"
        calls.append(Step(begin, href, without, (("unsure", float(unknown)),)))
    form = "%m-%d %H:%M" if asked.step == "hour" else "%m-%d"
    return (
        drawn(money, said=lambda one: usd(Decimal(str(round(one, 9)))), when=form),
        drawn(calls, said=lambda one: f"{one:,.0f}", when=form),
    )


async def _month(ground: Ground) -> dict[str, Any]:
    """Say what `hybrid costs forecast` does, of all providers together."""
    seen = await ground.sources.month.get(wait_s=MONTH_WAIT_S)
    today, trends = ground.clock.now().date(), seen.value or {}
    so_far = sum(one.so_far(today) for one in trends.values())
    ahead = sum(one.rest(today) for one in trends.values())
    return {
        "seen": seen,
        "so_far": Decimal(str(round(so_far, 6))),
        "whole": Decimal(str(round(so_far + ahead, 6))),
        "made_of": sorted({one.made_of for one in trends.values()}),
    }


async def costs_csv(request: web.Request) -> web.Response:
    """Give the table as CSV, as the command writes it."""
    ground = request.app[GROUND]
    asked = read("/costs", request.query, now=ground.clock.now(), by=BY)
    table = await ground.sources.asked(
        lambda store: questions.report(store, by=asked.by, **asked.which)
    )
    return as_csv("costs", table)

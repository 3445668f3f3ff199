"""Where the time goes: by phase, by what one groups it, and over time; `hybrid costs latency`."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from aiohttp import web

from hybrid.console.charts import Step, drawn
from hybrid.console.ground import GROUND
from hybrid.console.pages.choosing import FILTERS, Asked, as_csv, moment, read
from hybrid.errors import UsageError
from hybrid.text import visible
from streams.bill import costs as questions
from streams.bill.costs import DIMENSIONS, PHASES, WHOLE
from streams.bill.dimensions import OF_OUTCOMES
from streams.store.clickhouse import ClickHouse
from streams.stories.words import duration

__all__ = ["latency", "latency_csv"]

#: Rows of the page; the CSV has all of them.
MOST = 200
WIDTH = 150
LEVELS = ("p50_ms", "p95_ms", "p99_ms")
#: Name and look of each line.
LINES = (("p50", "low"), ("p95", "middle"), ("p99", "high"))
#: What each phase is, in a few words.
MEANING = {
    "queue": "waiting in Kafka and for a place in the worker, before the first call",
    "limiter": "waiting for the providers' limits",
    "backoff": "waiting before a call is tried again",
    "provider": "the call itself",
    WHOLE: "from the intent's record to its result, all calls and waits together",
}


@dataclass(frozen=True, slots=True)
class Took:
    """What the page shows, and no more: it is kept for a while."""

    whole: dict[str, dict[str, Any]]
    rows: list[dict[str, Any]]
    more: int
    #: By when each step begins.
    over_time: dict[datetime, dict[str, Any]]


async def latency(request: web.Request) -> web.Response:
    """Show where the time goes."""
    ground = request.app[GROUND]
    asked = read("/latency", request.query, now=ground.clock.now(), by="provider")
    phase = request.query.get("phase") or WHOLE
    if phase not in MEANING:
        message = f"phase = {visible(phase)}: choose one of {', '.join(MEANING)}"
        raise UsageError(message)

    def ask(store: ClickHouse) -> Took:
        return _asked(store, asked, phase)

    answer = await ground.sources.kept.get(
        asked.link(phase=phase), lambda: ground.sources.noted(ask)
    )
    took, statements = answer.value
    return ground.views.page(
        request,
        "latency.html",
        title="Latency",
        command=f"hybrid costs latency --by {','.join(asked.by)}{asked.options}",
        asked=asked,
        filters=(*FILTERS, "since", "until"),
        dimensions=list(DIMENSIONS),
        phases=[(one, asked.link(phase=one), one == phase) for one in MEANING],
        meaning=MEANING,
        phase=phase,
        whole=took.whole,
        slowest=max(
            (took.whole[one] for one in PHASES if one in took.whole),
            key=lambda one: one["p95_ms"], default=None,
        ),
        rows=took.rows,
        more=took.more,
        chart=_chart(asked, took, phase),
        unknown_to=[one for one in asked.by if one not in OF_OUTCOMES],
        csv=asked.link("/latency.csv"),
        sql=statements,
        as_of=answer.as_of,
        width=WIDTH,
        ms=_ms,
    )  # fmt: skip


def _asked(store: ClickHouse, asked: Asked, phase: str) -> Took:
    """Ask what there is to ask: a query over all calls takes its time."""
    whole = {one["phase"]: one for one in questions.latency(store, by=(), **asked.which).named()}
    if not whole:
        return Took({}, [], 0, {})
    by_group = questions.latency(store, by=asked.by, **asked.which)
    steps = questions.latency(store, by=(asked.step,), phases=(phase,), **asked.which).named()
    rows = questions.Table(by_group.columns, by_group.rows[:MOST]).named()
    longest = max((one["p95_ms"] for one in rows), default=0)
    shown = [
        {
            **one,
            "keys": [str(one[name]) for name in asked.by],
            "href": asked.further(one),
            "costs": asked.further(one).replace("/latency?", "/costs?", 1),
            "bar": round(WIDTH * one["p95_ms"] / longest) if longest else 0,
        }
        for one in rows
    ]
    more = max(0, len(by_group.rows) - MOST)
    return Took(whole, shown, more, {moment(one[asked.step]): one for one in steps})


def _chart(asked: Asked, took: Took, phase: str) -> dict[str, Any] | None:
    """Draw one phase over time; a step in which nothing ended is a gap."""
    if not took.over_time:
        return None
    steps = []
    for begin in asked.begins(min(took.over_time)):
        found = took.over_time.get(begin)
        levels = tuple(float(found[one]) if found else None for one in LEVELS)
        said = ", ".join(
            f"{name} {_ms(value)}" for (name, _), value in zip(LINES, levels, strict=True)
            if value is not None
        )  # fmt: skip
        says = f"{begin:%Y-%m-%d %H:%M} UTC: {said or 'nothing ended'}"
        href = asked.part(begin, phase=phase)
        steps.append((begin, found, Step(begin, href, says, levels=levels)))
    picture = drawn(
        [step for _, _, step in steps],
        said=_ms, names=LINES, when="%m-%d %H:%M" if asked.step == "hour" else "%m-%d",
    )  # fmt: skip
    return {
        "drawn": picture,
        "rows": [(step.begin, step.href, found) for _, found, step in steps if found],
    }


def _ms(value: float) -> str:
    return duration(timedelta(milliseconds=float(value)))


async def latency_csv(request: web.Request) -> web.Response:
    """Give the table as CSV, as the command writes it."""
    ground = request.app[GROUND]
    asked = read("/latency", request.query, now=ground.clock.now(), by="provider")
    table = await ground.sources.asked(
        lambda store: questions.latency(store, by=asked.by, **asked.which)
    )
    return as_csv("latency", table)

"""The first page: what needs somebody, how work flows, what it costs, how the providers are."""

import asyncio
from decimal import Decimal
from typing import Any

from aiohttp import web

from hybrid.console.cards import Card, cards_of
from hybrid.console.ground import GROUND, Ground
from hybrid.standing import Standing, providers_of
from streams.bill.flow import Flow
from streams.bill.forecast import day_at_rate

__all__ = ["now", "render_live"]

#: So long the page waits for what is not known yet; what comes later comes over the stream.
WAIT_S = 0.25
#: So long the stream waits: it has time.
LIVE_WAIT_S = 12.0


async def now(request: web.Request) -> web.Response:
    """Show the page; its live part goes on by itself."""
    ground = request.app[GROUND]
    values = await _values(ground, wait_s=WAIT_S)
    count = len(values["cards"])
    return ground.views.page(
        request,
        "now.html",
        title=f"● {count} · Now" if count else "Now",
        heading="Now",
        command="hybrid status --watch",
        again_s=0 if values["standing"] else 3,
        **values,
    )


async def render_live(ground: Ground) -> str:
    """Render the live part, the same for all who look."""
    values = await _values(ground, wait_s=LIVE_WAIT_S)
    return ground.views.part("now_live.html", **values)


async def _values(ground: Ground, *, wait_s: float) -> dict[str, Any]:
    sources = ground.sources
    standing, alerts, letters, budgets, flow, hour = await asyncio.gather(
        sources.standing.get(wait_s=wait_s),
        sources.alerts.get(wait_s=wait_s),
        sources.open_letters.get(wait_s=wait_s),
        sources.budgets.get(wait_s=wait_s),
        sources.flow.get(wait_s=wait_s),
        sources.hour_usd.get(wait_s=wait_s),
    )
    cards: list[Card] = cards_of(
        now=ground.clock.now(),
        standing=standing.value,
        alerts=alerts.value or [],
        causes=letters.value.causes.sorted() if letters.value else [],
        budgets=budgets.value or [],
    )
    unknown = {
        name: one.problem
        for name, one in (
            ("how things stand", standing), ("alerts", alerts), ("dead letters", letters),
            ("budgets", budgets), ("outcomes", flow),
        )
        if one.problem
    }  # fmt: skip
    if standing.value is not None:
        unknown |= standing.value.unknown
    return {
        "cards": cards,
        "standing": standing.value,
        "letters": letters.value,
        "budgets": budgets.value,
        "flow": _drawn(flow.value),
        "hour_usd": hour.value,
        "day_usd": _day_usd(ground, standing.value, hour.value),
        "providers": providers_of(standing.value),
        "unknown_parts": unknown,
        "as_of": standing.as_of,
    }


def _day_usd(ground: Ground, standing: Standing | None, hour: Decimal | None) -> Decimal | None:
    """Say what the day comes to at the last hour's rate; None = that is not known."""
    spend = standing.spend if standing else None
    if not spend or hour is None or (spend["cost_usd"] is None and spend["calls"]):
        return None
    return day_at_rate(Decimal(spend["cost_usd"] or 0), hour, ground.clock.now())


def _drawn(flow: Flow | None) -> dict[str, Any] | None:
    """Give the hour as bars: height of 100 for the fullest minute."""
    if flow is None:
        return None
    most = max(*flow.completed, *flow.failed, 1)
    return {
        "completed": sum(flow.completed),
        "failed": sum(flow.failed),
        "bars": [
            {"x": number * 4, "good": round(good / most * 40, 1), "bad": round(bad / most * 40, 1)}
            for number, (good, bad) in enumerate(zip(flow.completed, flow.failed, strict=True))
        ],
    }

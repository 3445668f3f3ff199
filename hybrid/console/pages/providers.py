"""The providers: how the workers see them now, how calls ended and how long they took."""

from typing import Any

from aiohttp import web

from hybrid.console.ground import GROUND
from hybrid.console.pages.now import providers_of

__all__ = ["providers"]

WAIT_S = 8.0


async def providers(request: web.Request) -> web.Response:
    """Show the last hour of each provider, and how it is now."""
    ground = request.app[GROUND]
    standing = await ground.sources.standing.get(wait_s=WAIT_S)
    hour = await ground.sources.provider_hour.get(wait_s=WAIT_S)
    known = {one.name: one for one in providers_of(standing.value)}
    ended = _by_provider(hour.value.reliability) if hour.value else {}
    took = _by_provider(hour.value.latency, only="provider") if hour.value else {}
    names = list(dict.fromkeys([
        *known, *(one.name for one in ground.settings.provider_specs), *ended,
    ]))  # fmt: skip
    return ground.views.page(
        request,
        "providers.html",
        title="Providers",
        command="hybrid costs reliability --by provider --since 1h",
        rows=[
            {"name": one, "now": known.get(one), "ended": ended.get(one), "took": took.get(one)}
            for one in names
        ],
        standing=standing,
        hour=hour,
        shut=[one.name for one in known.values() if one.open_to < one.workers],
    )


def _by_provider(table: Any, *, only: str = "") -> dict[str, dict[str, Any]]:  # noqa: ANN401
    """Give the rows of a table by their provider; `only`: those of one phase."""
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    return {one["provider"]: one for one in rows if not only or one["phase"] == only}

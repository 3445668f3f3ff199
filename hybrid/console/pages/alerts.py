"""Alerts: those that are on first, then those that are over."""

from aiohttp import web

from hybrid.console.ground import GROUND

__all__ = ["alerts"]

WAIT_S = 8.0
#: So many are listed.
MOST = 300


async def alerts(request: web.Request) -> web.Response:
    """Show the alerts of the last week."""
    ground = request.app[GROUND]
    seen = await ground.sources.alerts.get(wait_s=WAIT_S)
    found = (seen.value or [])[:MOST]
    return ground.views.page(
        request,
        "alerts.html",
        title="Alerts",
        again_s=3 if seen.value is None else 0,
        seen=seen,
        alerts=found,
        on=sum(one.until is None for one in found),
        posts=ground.settings.hybrid_alert_webhook is not None,
    )

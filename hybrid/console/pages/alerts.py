"""Alerts: those that are on first, then those that are over; how far the webhook is with them."""

from datetime import timedelta

from aiohttp import web

from hybrid.console.fresh import Seen
from hybrid.console.ground import GROUND
from streams.alerts.delivering import Delivering

__all__ = ["alerts"]

WAIT_S = 8.0
#: So many are listed.
MOST = 300
#: Those that are over are listed for so long; how often each came is counted for longer.
OVER_FOR = timedelta(days=7)


async def alerts(request: web.Request) -> web.Response:
    """Show the alerts that are on, and those of the last week."""
    ground = request.app[GROUND]
    posts = ground.settings.hybrid_alert_webhook is not None
    seen = await ground.sources.alerts.get(wait_s=WAIT_S)
    unasked: Seen[Delivering] = Seen(None, None)
    webhook = await ground.sources.webhook.get(wait_s=WAIT_S) if posts else unasked
    first = ground.clock.now() - OVER_FOR
    found = [one for one in seen.value or [] if one.until is None or one.until >= first][:MOST]
    return ground.views.page(
        request,
        "alerts.html",
        title="Alerts",
        command="hybrid alerts --all --since 7d",
        again_s=3 if seen.value is None else 0,
        seen=seen,
        alerts=found,
        on=sum(one.until is None for one in found),
        posts=posts,
        webhook=webhook,
    )

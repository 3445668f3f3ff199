"""Alerts: those that are on first, then those that are over; how far the webhook is with them."""

from datetime import timedelta
from urllib.parse import quote

from aiohttp import web

from hybrid.console.fresh import Seen
from hybrid.console.ground import GROUND, Action, acted, who_asks
from streams.alerts.delivering import Delivering
from streams.alerts.proving import WebhookTestError, send_test

__all__ = ["alerts", "test"]

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
        said=ground.said.get(request.query.get("said", "")),
    )


async def test(request: web.Request) -> web.Response:
    """Send the webhook a test, and show what it answered; `hybrid alerts test` does the same."""
    ground, sentences = request.app[GROUND], list[str]()
    try:
        async for sentence in send_test(ground.settings, by=who_asks(request), clock=ground.clock):
            sentences.append(sentence)
        result = "taken"
    except WebhookTestError as error:
        sentences.append(str(error))
        result = "not taken"
    acted(request, Action.ALERT_TESTED, result)
    seen_at = f"/alerts?said={quote(ground.said.keep('; '.join(sentences)), safe='')}"
    raise web.HTTPSeeOther(seen_at)

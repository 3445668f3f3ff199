"""Audit: who did what, why, and what came of it, by the command line and here alike."""

from aiohttp import web

from hybrid.console.ground import GROUND

__all__ = ["audit"]

WAIT_S = 8.0
#: So many are listed.
MOST = 200


async def audit(request: web.Request) -> web.Response:
    """List what operators did, the newest first."""
    ground = request.app[GROUND]
    seen = await ground.sources.deeds.get(wait_s=WAIT_S)
    found = seen.value.newest(ground.clock.now()) if seen.value else []
    return ground.views.page(
        request,
        "audit.html",
        title="Audit",
        again_s=3 if seen.value is None else 0,
        seen=seen,
        deeds=found[:MOST],
        more=max(0, len(found) - MOST),
    )

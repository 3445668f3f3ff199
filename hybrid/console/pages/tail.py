"""The live tail: what happened to which intent, the newest first."""

from typing import Any

from aiohttp import web

from hybrid.console.ground import GROUND, Ground

__all__ = ["render_tail", "tail"]


async def tail(request: web.Request) -> web.Response:
    """Show what happened last; its live part goes on by itself."""
    ground = request.app[GROUND]
    return ground.views.page(
        request,
        "tail.html",
        title="Live tail",
        again_s=2 if not ground.tail.look().seen and not ground.tail.problem else 0,
        **_values(ground),
    )


async def render_tail(ground: Ground) -> str:
    """Render the live part, the same for all who look."""
    return ground.views.part("tail_live.html", **_values(ground))


def _values(ground: Ground) -> dict[str, Any]:
    newest = ground.tail.look()
    return {"events": newest.rows(), "seen": newest.seen, "problem": ground.tail.problem}

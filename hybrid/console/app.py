"""The console's routes, each with the role that it needs, and what stands before all of them."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from aiohttp import web

from hybrid.console.access import Role
from hybrid.console.assets import static
from hybrid.console.fresh import WORLD, sentence_of
from hybrid.console.ground import GROUND, Ground
from hybrid.console.guards import guard, with_headers
from hybrid.console.live import HUBS, STREAMS, Hub, Streams, live
from hybrid.console.pages import (
    alerts,
    audit,
    checks,
    content,
    costs,
    entering,
    focus,
    intent,
    latency,
    letters,
    now,
    plans,
    providers,
    tail,
    work,
)
from hybrid.errors import UsageError

__all__ = ["ROUTES", "build_app"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

#: A form is a few words.
MOST_BYTES = 64 * 1024


async def healthy(_request: web.Request) -> web.Response:
    """Say that the process answers."""
    return web.Response(text="ok\n")


NOBODY, VIEWER, OPERATOR = Role.NOBODY, Role.VIEWER, Role.OPERATOR
#: Method, path, what answers, and who may ask.
Route = tuple[str, str, Handler, Role]
#: What is not here is not served.
ROUTES: tuple[Route, ...] = (
    ("GET", "/healthz", healthy, NOBODY),
    ("GET", "/static/{name}", static, NOBODY),
    ("GET", "/login", entering.login, NOBODY),
    ("POST", "/login", entering.sign_in, NOBODY),
    ("GET", "/enter", entering.enter, NOBODY),
    ("POST", "/enter", entering.entered, NOBODY),
    ("POST", "/logout", entering.sign_out, VIEWER),
    ("GET", "/", now.now, VIEWER),
    ("GET", "/live/{page}", live, VIEWER),
    ("GET", "/letters", letters.letters, VIEWER),
    ("GET", "/letters/rows", letters.rows, VIEWER),
    ("GET", "/letters/dismiss", letters.changing, OPERATOR),
    ("POST", "/letters/dismiss", letters.change, OPERATOR),
    ("GET", "/letters/reopen", letters.changing, OPERATOR),
    ("POST", "/letters/reopen", letters.change, OPERATOR),
    ("GET", "/letters/{id}", letters.letter, VIEWER),
    ("POST", "/letters/{id}/content", content.letter_content, OPERATOR),
    ("POST", "/intents/content", content.result_content, OPERATOR),
    ("GET", "/intents", intent.intent, VIEWER),
    ("GET", "/costs", costs.costs, VIEWER),
    ("GET", "/costs.csv", costs.costs_csv, VIEWER),
    ("GET", "/costs/focus.csv", focus.costs_focus, VIEWER),
    ("GET", "/latency", latency.latency, VIEWER),
    ("GET", "/latency.csv", latency.latency_csv, VIEWER),
    ("GET", "/providers", providers.providers, VIEWER),
    ("GET", "/tail", tail.tail, VIEWER),
    ("GET", "/alerts", alerts.alerts, VIEWER),
    ("POST", "/alerts/test", alerts.test, OPERATOR),
    ("GET", "/work", work.work, VIEWER),
    ("POST", "/work/pause", work.hold, OPERATOR),
    ("POST", "/work/resume", work.hold, OPERATOR),
    ("GET", "/work/cancel", work.cancelling, OPERATOR),
    ("POST", "/work/cancel", work.cancel, OPERATOR),
    ("GET", "/audit", audit.audit, VIEWER),
    ("GET", "/settings", checks.settings, VIEWER),
    ("GET", "/doctor", checks.doctor, VIEWER),
    ("GET", "/plans", plans.plans, VIEWER),
    ("POST", "/plans", plans.make, OPERATOR),
    ("GET", "/plans/{plan}", plans.plan, VIEWER),
    ("POST", "/plans/{plan}/run", plans.run, OPERATOR),
    ("POST", "/plans/{plan}/resume", plans.run, OPERATOR),
    ("POST", "/plans/{plan}/pause", plans.control, OPERATOR),
    ("POST", "/plans/{plan}/stop", plans.control, OPERATOR),
)


def build_app(
    ground: Ground, hubs: Mapping[str, Hub], *, routes: Sequence[Route] = ROUTES
) -> web.Application:
    """Put the pages together; a test serves other routes."""
    needed: dict[web.AbstractRoute, Role] = {}
    app = web.Application(client_max_size=MOST_BYTES, middlewares=[told, guard(needed)])
    app[GROUND] = ground
    app[HUBS], app[STREAMS] = hubs, Streams()
    app.on_response_prepare.append(with_headers)
    for method, path, handler, role in routes:
        needed[app.router.add_route(method, path, handler)] = role

    async def close(_app: web.Application) -> None:
        app[STREAMS].close()
        for hub in hubs.values():
            await hub.close()
        await ground.tail.close()
        await ground.runs.close()
        ground.sources.close()

    app.on_shutdown.append(close)
    return app


@web.middleware
async def told(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Make a page of what went wrong: a sentence, and never a traceback."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < web.HTTPBadRequest.status_code:
            raise
        return _page(request, error.status, error.text or error.reason)
    except UsageError as error:
        return _page(request, web.HTTPBadRequest.status_code, str(error))
    except WORLD as error:
        return _page(request, web.HTTPServiceUnavailable.status_code, sentence_of(error))
    except Exception as error:
        request.app.logger.exception("a page failed")
        return _page(request, web.HTTPInternalServerError.status_code, sentence_of(error))


def _page(request: web.Request, status: int, sentence: str) -> web.Response:
    views = request.app[GROUND].views
    return views.page(
        request,
        "problem.html",
        title="That did not work",
        status=status,
        sentence=sentence.strip(),
        code=status,
    )

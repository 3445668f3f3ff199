"""What every request passes: whose Host it names, who asks, and whether they may."""

import hmac
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from hybrid.console.access import ROLE, SESSION, Role
from hybrid.console.ground import GROUND

__all__ = ["FORM_TOKEN", "HEADERS", "guard", "with_headers"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

#: Name of the field that each form has.
FORM_TOKEN = "form_token"  # noqa: S105 - a name
SAFE = frozenset({"GET", "HEAD"})
#: Nothing from elsewhere is loaded, nothing in a page is run, and no page is framed or kept.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not `no-referrer`, with which browsers say of their own forms that they come from nowhere.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


async def with_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Add what browsers are told to every answer, before it begins."""
    for name, value in HEADERS.items():
        response.headers[name] = value
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers.popall("Server", None)


def guard(needed: Mapping[web.AbstractRoute, Role]) -> Callable[..., Awaitable[web.StreamResponse]]:
    """Give the middleware; `needed` says the role for each route, and what it lacks is denied."""

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        ground = request.app[GROUND]
        if request.headers.get("Host", "").lower() not in ground.hosts:
            # A page whose name was made to point here (DNS rebinding) names its own host.
            raise web.HTTPMisdirectedRequest(
                text="this console is not served under that name: HYBRID_CONSOLE_ADDRESSES has it\n"
            )
        proxied = ground.access.proxied
        session = proxied.session(request) if proxied else None
        session = session or ground.access.session(request.cookies.get(ground.cookie))
        if session is not None:
            request[SESSION] = session
        request[ROLE] = session.role if session else ground.access.without_session
        route = request.match_info.route
        if request.match_info.http_exception is not None:
            return await handler(request)  # there is no such page: 404 or 405
        wanted = needed.get(route)
        if wanted is None or request[ROLE] < wanted:
            raise _denied(request, wanted)
        if request.method not in SAFE:
            _require_own_page(request)
            if session is not None:
                await _require_form_token(request, session.form_token)
        return await handler(request)

    return guarded


def _denied(request: web.Request, wanted: Role | None) -> web.HTTPException:
    if wanted is not None and request[ROLE] is Role.NOBODY and request.method in SAFE:
        return web.HTTPSeeOther("/login")
    return web.HTTPForbidden(text="this needs an operator: sign in first\n")


def _require_own_page(request: web.Request) -> None:
    """Refuse a form that another site's page sends; raises HTTPForbidden."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    own = origin is not None and origin.partition("://")[2].lower() == request.host.lower()
    if (site is None and not own) or (site is not None and site != "same-origin"):
        raise web.HTTPForbidden(text="this form was not sent from a page of this console\n")
    if origin is not None and not own:
        raise web.HTTPForbidden(text="this form was not sent from a page of this console\n")


async def _require_form_token(request: web.Request, wanted: str) -> None:
    """Refuse a form without the session's own token; raises HTTPForbidden, HTTPBadRequest."""
    try:
        given = (await request.post()).get(FORM_TOKEN)
    except ValueError:
        raise web.HTTPBadRequest(text="this is no form\n") from None
    text = given if isinstance(given, str) else ""
    if not hmac.compare_digest(text.encode("utf-8", "replace"), wanted.encode()):
        raise web.HTTPForbidden(text="this form is of another session: load the page again\n")

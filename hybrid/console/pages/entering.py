"""Signing in: by the link that the terminal prints, or with the token."""

from aiohttp import web

from hybrid.console.access import SESSION, SESSION_S
from hybrid.console.ground import GROUND, Action, acted

__all__ = ["enter", "entered", "login", "sign_in", "sign_out"]


async def login(request: web.Request) -> web.Response:
    """Show where one signs in."""
    return _page(request)


async def enter(request: web.Request) -> web.Response:
    """Show the button of the link that works once: only pressing it uses the link up."""
    return _page(request, code=request.query.get("code", ""))


async def entered(request: web.Request) -> web.Response:
    """Take the link's code."""
    cookie = request.app[GROUND].access.follow_link(await _field(request, "code"))
    return _let_in(request, cookie, "this link was used already, or another one was made since")


async def sign_in(request: web.Request) -> web.Response:
    """Take the token."""
    token, name = await _field(request, "token"), await _field(request, "name")
    cookie = request.app[GROUND].access.sign_in(token, name)
    return _let_in(request, cookie, "that is not the token")


async def sign_out(request: web.Request) -> web.Response:
    """End the session."""
    ground = request.app[GROUND]
    ground.access.sign_out(request.cookies.get(ground.cookie))
    acted(request, Action.SIGNED_OUT)
    response = web.HTTPSeeOther("/")
    response.del_cookie(ground.cookie, path="/")
    raise response


def _let_in(request: web.Request, cookie: str | None, problem: str) -> web.Response:
    ground = request.app[GROUND]
    if cookie is None:
        if ground.access.is_locked:
            problem = "too many wrong ones came: try again in a minute"
        return _page(request, problem=problem, status=403)
    session = ground.access.session(cookie)
    if session is not None:
        request[SESSION] = session
    acted(request, Action.SIGNED_IN)
    response = web.HTTPSeeOther("/")
    response.set_cookie(
        ground.cookie,
        cookie,
        max_age=int(SESSION_S),
        httponly=True,
        secure=ground.is_tls,
        samesite="Strict",
        path="/",
    )
    raise response


def _page(
    request: web.Request, *, code: str = "", problem: str = "", status: int = 200
) -> web.Response:
    ground = request.app[GROUND]
    return ground.views.page(
        request,
        "login.html",
        title="Sign in",
        status=status,
        code=code,
        problem=problem,
        takes_token=ground.access.takes_token,
    )


async def _field(request: web.Request, name: str) -> str:
    value = (await request.post()).get(name)
    return value if isinstance(value, str) else ""

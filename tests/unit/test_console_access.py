"""Who may do what on the console's pages: every route with every role, forged forms, foreign names."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any
from unittest.mock import Mock

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer, make_mocked_request
from multidict import CIMultiDict
from pydantic import SecretStr

from agents.clock import ManualClock
from agents.log import silent
from hybrid.console.access import MOST_WRONG, SESSION_S, WRONG_WITHIN_S, Access, Role
from hybrid.console.app import ROUTES, build_app
from hybrid.console.assets import LOCK, STATIC, asset, static
from hybrid.console.ground import Ground, Said
from hybrid.console.guards import HEADERS
from hybrid.console.live import Hub
from hybrid.console.proxied import Proxied
from hybrid.console.runs import Runs
from hybrid.console.serving import Place, place_of
from hybrid.console.sources import Sources
from hybrid.console.tail import Tail
from hybrid.console.views import Views
from hybrid.errors import UsageError
from schemas.settings import Settings
from tests.builders import NOW

TOKEN = "a-token-of-twenty-four-b"  # noqa: S105 - of nobody
OWN = {"Sec-Fetch-Site": "same-origin"}
TEMPLATES = STATIC.parent / "templates"
Client = TestClient[web.Request, web.Application]


async def reached(_request: web.Request) -> web.Response:
    return web.Response(text="reached")


#: The real routes, of which each only says that it was reached; signing in is as it is.
STUBS = tuple(
    (method, path, handler if path in {"/login", "/enter", "/logout"} else reached, role)
    for method, path, handler, role in ROUTES
)


def a_ground(
    *,
    is_local: bool = True,
    is_tls: bool = False,
    clock: ManualClock | None = None,
    proxied: Proxied | None = None,
) -> Ground:
    clock, settings = clock or ManualClock(NOW), Settings()
    sources = Sources(settings, [], clock=clock)
    return Ground(
        settings=settings,
        clock=clock,
        log=silent,
        access=Access(
            clock=clock, token=TOKEN, is_local=is_local, owner="ann@host", proxied=proxied
        ),
        sources=sources,
        tail=Tail(settings, clock=clock),
        runs=Runs(settings, clock=clock, on_change=sources.changed),
        said=Said(),
        views=Views(name="prod-eu", clock=clock),
        cookie="__Host-hybrid_console" if is_tls else "hybrid_console_1",
        is_tls=is_tls,
        hosts=frozenset({"ops.example.com"}),
    )


@asynccontextmanager
async def served(ground: Ground) -> Any:
    async def nothing() -> str:
        return ""

    app = build_app(ground, {"x": Hub(nothing, clock=ground.clock)}, routes=STUBS)
    async with TestClient(TestServer(app), headers={"Host": "ops.example.com"}) as client:
        yield client


def run(scene: Callable[[Client, Ground], Awaitable[None]], **how: Any) -> None:
    async def act() -> None:
        ground = a_ground(**how)
        async with served(ground) as client:
            await scene(client, ground)

    asyncio.run(act())


async def asked(client: Client, method: str, path: str, **more: Any) -> tuple[int, str]:
    path = re.sub(r"\{\w+\}", "x", path)
    async with client.request(method, path, allow_redirects=False, **more) as answer:
        return answer.status, await answer.text()


def signed_in(ground: Ground) -> tuple[dict[str, str], dict[str, str]]:
    """The cookie and the form of somebody who signed in."""
    cookie = ground.access.sign_in(TOKEN, "Ann")
    session = ground.access.session(cookie)
    assert cookie
    assert session
    return {"Cookie": f"{ground.cookie}={cookie}"}, {"form_token": session.form_token}


@pytest.mark.parametrize("role", list(Role))
def test_each_route_answers_those_who_may_ask_and_nobody_else(role: Role) -> None:
    async def scene(client: Client, ground: Ground) -> None:
        cookie, form = signed_in(ground) if role is Role.OPERATOR else ({}, {})
        for method, path, handler, needed in STUBS:
            given: dict[str, Any] = {"data": form} if method == "POST" else {}
            status, text = await asked(client, method, path, headers=cookie | OWN, **given)
            what = f"{method} {path} as {role.name}: {status} {text[:200]}"
            if role >= needed:
                assert handler is not reached or text == "reached", what
                assert status != 403 or path in {"/login", "/enter"}, what  # no token was given
            elif role is Role.NOBODY and method == "GET":
                assert status == 303, what
            else:
                assert status == 403, what
                assert "reached" not in text, what
            if path == "/logout" and role is Role.OPERATOR:
                cookie, form = signed_in(ground)

    run(scene, is_local=role is not Role.NOBODY)


def test_every_change_needs_an_operator_and_none_is_a_get() -> None:
    for method, path, _, role in ROUTES:
        assert method in {"GET", "POST"}
        if method == "POST" and path not in {"/login", "/enter", "/logout"}:
            assert role is Role.OPERATOR, path


def test_a_route_that_nobody_has_given_a_role_is_denied() -> None:
    async def scene(ground: Ground) -> None:
        async def nothing() -> str:
            return ""

        app = build_app(ground, {"x": Hub(nothing, clock=ground.clock)}, routes=STUBS)
        app.router.add_get("/forgotten", reached)
        async with TestClient(TestServer(app), headers={"Host": "ops.example.com"}) as client:
            cookie, _ = signed_in(ground)
            assert (await asked(client, "GET", "/forgotten", headers=cookie))[0] == 403
            assert (await asked(client, "GET", "/not-there", headers=cookie))[0] == 404
            assert (await asked(client, "DELETE", "/plans", headers=cookie))[0] == 405

    asyncio.run(scene(a_ground()))


@pytest.mark.parametrize(
    "host", ["evil.example", "ops.example.com.evil.example", "ops.example.com:1", "127.0.0.1", ""]
)
def test_a_foreign_name_is_refused_whoever_asks(host: str) -> None:
    """DNS rebinding: a name of somebody else's that was made to point here."""

    async def scene(client: Client, ground: Ground) -> None:
        cookie, _ = signed_in(ground)
        for path in ("/", "/healthz", "/login", "/not-there"):
            status, text = await asked(client, "GET", path, headers=cookie | {"Host": host})
            assert (status, "reached" in text) == (421, False)

    run(scene)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        OWN | {"Origin": "http://evil.example"},
        OWN | {"Origin": "null"},
    ],
    ids=str,
)
def test_a_form_that_another_site_sends_is_refused(headers: dict[str, str]) -> None:
    async def scene(client: Client, ground: Ground) -> None:
        cookie, form = signed_in(ground)
        for path in (
            "/plans",
            "/letters/dismiss",
            "/plans/x/run",
            "/work/pause",
            "/work/cancel",
            "/alerts/test",
            "/logout",
            "/enter",
        ):
            status, text = await asked(client, "POST", path, headers=cookie | headers, data=form)
            assert status == 403, path
            assert "not sent from a page of this console" in text

    run(scene)


def test_a_form_needs_the_sessions_own_token() -> None:
    async def scene(client: Client, ground: Ground) -> None:
        cookie, form = signed_in(ground)
        _, others = signed_in(ground)
        for wrong in ({}, {"form_token": ""}, {"form_token": "x"}, others):
            status, _ = await asked(client, "POST", "/plans", headers=cookie | OWN, data=wrong)
            assert status == 403
        for right in (OWN, {"Origin": "https://ops.example.com"}):
            status, _ = await asked(client, "POST", "/plans", headers=cookie | right, data=form)
            assert status == 200

    run(scene)


def test_the_link_works_once_and_only_when_its_button_is_pressed() -> None:
    async def scene(client: Client, ground: Ground) -> None:
        code = ground.access.link_code()
        status, page = await asked(client, "GET", f"/enter?code={code}")
        assert (status, code in page) == (200, True)  # whatever loads it ahead uses nothing up
        async with post(client, "/enter", {"code": code}) as answer:
            assert (answer.status, answer.headers["Location"]) == (303, "/")
            cookie = answer.headers["Set-Cookie"]
            assert re.match(r"hybrid_console_1=[\w-]{40,}; ", cookie)
            assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
            assert "Secure" not in cookie
        async with post(client, "/enter", {"code": code}) as answer:
            assert answer.status == 403
        assert ground.access.link_code() != code

    run(scene)


def test_the_token_signs_in_and_the_cookie_is_for_tls_where_the_console_is() -> None:
    async def scene(client: Client, ground: Ground) -> None:
        async with post(client, "/login", {"token": TOKEN[:-1]}) as answer:
            assert (answer.status, "Set-Cookie" in answer.headers) == (403, False)
        async with post(client, "/login", {"token": TOKEN, "name": " Ann \n O "}) as answer:
            cookie = answer.headers["Set-Cookie"]
            assert cookie.startswith("__Host-hybrid_console=")
            assert "Secure" in cookie
        value = cookie.partition("=")[2].partition(";")[0]
        session = ground.access.session(value)
        assert session is not None
        assert session.who == "Ann O (console)"

    run(scene, is_local=False, is_tls=True)


def test_guessing_is_held_up_even_for_who_then_has_the_right_one() -> None:
    clock = ManualClock(NOW)
    access = Access(clock=clock, token=TOKEN, is_local=False, owner="ann")
    for _ in range(MOST_WRONG):
        assert access.sign_in("wrong", "") is None
    assert access.is_locked
    assert access.sign_in(TOKEN, "") is None
    assert access.follow_link(access.link_code()) is None
    clock.advance(WRONG_WITHIN_S)
    assert access.sign_in(TOKEN, "") is not None


def test_a_session_ends_by_itself_and_by_signing_out() -> None:
    clock = ManualClock(NOW)
    access = Access(clock=clock, token=TOKEN, is_local=False, owner="ann")
    first, second = access.sign_in(TOKEN, ""), access.sign_in(TOKEN, "")
    access.sign_out(first)
    assert access.session(first) is None
    assert access.session(second) is not None
    clock.advance(SESSION_S)
    assert access.session(second) is None
    assert access.session("made up") is None
    assert access.session(None) is None


def test_every_answer_tells_browsers_to_load_and_run_nothing_from_elsewhere() -> None:
    async def scene(client: Client, _ground: Ground) -> None:
        for path in ("/", "/static/x", "/not-there", "/letters/dismiss"):
            async with client.get(path, allow_redirects=False) as answer:
                assert {name: answer.headers[name] for name in HEADERS} == HEADERS
                assert "Server" not in answer.headers
        assert "unsafe" not in HEADERS["Content-Security-Policy"]

    run(scene)


def test_a_file_has_an_address_of_what_it_holds_and_is_kept_under_no_other() -> None:
    async def scene() -> None:
        app = web.Application()
        app.router.add_get("/static/{name}", static)
        async with TestClient(TestServer(app)) as client:
            kept = {}
            for path in (asset("console.css"), "/static/console.css", "/static/console.css?v=0"):
                async with client.get(path) as answer:
                    assert await answer.read() == (STATIC / "console.css").read_bytes()
                    kept[path] = answer.headers["Cache-Control"]
        assert list(kept.values()) == ["private, max-age=31536000, immutable", *["no-cache"] * 2]
        digest = sha256((STATIC / "console.css").read_bytes()).hexdigest()
        assert digest.startswith(asset("console.css").partition("?v=")[2])
        assert 'href="/static/' not in (TEMPLATES / "base.html").read_text()

    asyncio.run(scene())


def test_templates_have_nothing_that_the_policy_forbids_and_name_no_other_host() -> None:
    for file in TEMPLATES.glob("*.html"):
        text = file.read_text()
        assert not re.search(r"\sstyle\s*=|\son\w+\s*=|<script(?![^>]*\ssrc=)|<style", text), file
        assert not re.search(r"https?://", text), file
        assert "| safe" not in text, file


def test_what_others_wrote_is_what_the_lock_says() -> None:
    locked = [line.split() for line in LOCK.read_text().splitlines()]
    for name, _origin, licence, digest in locked:
        assert digest == f"sha256:{sha256((STATIC / name).read_bytes()).hexdigest()}"
        assert licence == "0BSD"
    assert {one.name for one in STATIC.glob("*.min.js")} == {name for name, *_ in locked}


def test_this_machines_programs_may_look_and_others_sign_in() -> None:
    local = place_of(Settings(), host="127.0.0.1", port=9480)
    assert (local.is_local, local.address) == (True, "http://127.0.0.1:9480")
    assert local.hosts == {"127.0.0.1:9480", "localhost:9480", "[::1]:9480"}
    other = place_of(Settings(), host="127.0.0.2", port=9480)
    assert other.address == "http://127.0.0.2:9480"
    assert other.hosts == local.hosts | {"127.0.0.2:9480"}
    with pytest.raises(UsageError, match="HYBRID_CONSOLE_ADDRESSES"):
        place_of(Settings(), host="0.0.0.0", port=9480)  # noqa: S104
    named = Settings(hybrid_console_addresses=("https://Ops.example.com",))
    for host in ("0.0.0.0", "127.0.0.1"):  # noqa: S104
        with pytest.raises(UsageError, match="HYBRID_CONSOLE_TOKEN is not set"):
            place_of(named, host=host, port=9480)
    whole = named.model_copy(update={"hybrid_console_token": SecretStr(TOKEN)})
    place: Place = place_of(whole, host="127.0.0.1", port=9480)
    assert (place.is_local, place.is_tls) == (False, True)
    assert "ops.example.com" in place.hosts


@pytest.mark.parametrize(
    "wrong",
    [
        {"hybrid_console_token": "short"},
        {"hybrid_console_addresses": "ops.example.com"},
        {"hybrid_console_addresses": "https://ops.example.com/path"},
        {"hybrid_console_proxies": "the proxy"},
        {"hybrid_console_proxy_header": "X Forwarded: Email"},
    ],
    ids=str,
)
def test_settings_of_the_console_that_cannot_work_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        Settings.model_validate(wrong)


NAMED = {"X-Forwarded-Email": "ann@example.com"}


def behind(*addresses: str) -> Proxied:
    return Proxied("X-Forwarded-Email", addresses, ["ann@example.com"])


def test_who_signed_in_at_the_proxy_is_who_it_says_and_acts_where_they_are_named() -> None:
    async def scene(client: Client, ground: Ground) -> None:
        assert (await asked(client, "GET", "/"))[0] == 303  # nobody is named
        for name, status in (("ann@example.com", 200), ("bob@example.com", 403)):
            headers = {"X-Forwarded-Email": name}
            assert (await asked(client, "GET", "/", headers=headers))[0] == 200
            request = make_mocked_request("GET", "/", headers=headers, transport=transport())
            assert ground.access.proxied
            session = ground.access.proxied.session(request)
            assert session
            assert session.who == f"{name} (console)"
            form = {"form_token": session.form_token}
            done = await asked(client, "POST", "/plans", headers=headers | OWN, data=form)
            assert done[0] == status
            forged = await asked(client, "POST", "/plans", headers=headers | OWN, data={})
            assert forged[0] == 403

    run(scene, is_local=False, proxied=behind("10.0.0.0/8", "127.0.0.1"))


@pytest.mark.parametrize("name", ["ann@example.com", "", "bob"])
def test_the_proxys_header_from_anywhere_else_is_refused(name: str) -> None:
    async def scene(client: Client, ground: Ground) -> None:
        cookie, form = signed_in(ground)
        for headers in ({}, cookie):
            named = headers | {"X-Forwarded-Email": name}
            for method, path in (("GET", "/"), ("GET", "/healthz"), ("POST", "/plans")):
                sent = {"data": form} if method == "POST" else {}
                status, text = await asked(client, method, path, headers=named | OWN, **sent)
                assert (status, "reached" in text) == (403, False)

    run(scene, proxied=behind("10.0.0.0/8"))


def test_two_names_at_once_and_names_without_a_proxy_that_is_set_name_nobody() -> None:
    async def two(client: Client, _ground: Ground) -> None:
        headers = [*NAMED.items(), ("X-Forwarded-Email", "eve@example.com")]
        assert (await asked(client, "GET", "/", headers=headers))[0] == 403

    async def none(client: Client, _ground: Ground) -> None:
        assert (await asked(client, "GET", "/", headers=NAMED))[0] == 303

    run(two, is_local=False, proxied=behind("127.0.0.1"))
    run(none, is_local=False)


def test_a_header_without_the_proxies_that_may_send_it_is_refused_at_the_start() -> None:
    named = Settings(
        hybrid_console_addresses=("https://ops.example.com",),
        hybrid_console_proxy_header="X-Forwarded-Email",
    )
    with pytest.raises(UsageError, match="HYBRID_CONSOLE_PROXIES"):
        place_of(named, host="127.0.0.1", port=9480)
    whole = named.model_copy(update={"hybrid_console_proxies": ("127.0.0.1",)})
    assert not place_of(whole, host="127.0.0.1", port=9480).is_local


def transport() -> Any:
    found = Mock()
    found.get_extra_info = lambda name, default=None: (
        ("127.0.0.1", 1) if name == "peername" else default
    )
    return found


def post(client: Client, path: str, data: dict[str, str]) -> Any:
    return client.post(path, data=data, headers=OWN, allow_redirects=False)


def test_a_proxys_name_that_is_not_utf_8_can_be_written_into_records() -> None:
    request = Mock(remote="127.0.0.1", headers=CIMultiDict({"X-Forwarded-Email": "M\udcfcller"}))
    session = behind("127.0.0.1").session(request)
    assert session
    assert session.who == "M?ller (console)"

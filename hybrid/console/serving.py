"""The console as a process: where it is served, under which names, until a signal ends it."""

import asyncio
import ipaddress
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web

from agents.clock import Clock
from agents.log import Log
from hybrid.console.access import Access
from hybrid.console.app import build_app
from hybrid.console.ground import GROUND, Ground, Said
from hybrid.console.live import Hub
from hybrid.console.pages.now import render_live
from hybrid.console.pages.tail import render_tail
from hybrid.console.proxied import proxied_of
from hybrid.console.runs import Runs
from hybrid.console.sources import Sources
from hybrid.console.tail import Tail
from hybrid.console.views import Views
from hybrid.errors import UsageError
from hybrid.stopping import on_signals
from schemas.settings import Settings

__all__ = ["Place", "made", "place_of", "serve", "write_link"]

#: Names of this machine, whatever the console is called otherwise.
LOCAL = ("127.0.0.1", "localhost", "[::1]")
STOP_S = 5.0
#: The tail is rendered so often.
TAIL_S = 1.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a console is served, and who can reach it."""

    host: str
    port: int
    is_local: bool
    hosts: frozenset[str]
    #: What people open.
    address: str
    is_tls: bool


def place_of(settings: Settings, *, host: str, port: int) -> Place:
    """Decide it; raises UsageError for a place that would be open to everybody."""
    is_local = _is_loopback(host)
    if not is_local and not settings.hybrid_console_addresses:
        message = (
            f"--host {host}: others reach it there; say under which address they open it with "
            "HYBRID_CONSOLE_ADDRESSES, such as https://ops.example.com"
        )
        raise UsageError(message)
    behind = bool(settings.hybrid_console_addresses)
    header = settings.hybrid_console_proxy_header
    if header and not settings.hybrid_console_proxies:
        message = (
            f"HYBRID_CONSOLE_PROXY_HEADER = {header}: say from whom it is taken with "
            "HYBRID_CONSOLE_PROXIES, such as 10.0.0.7; anybody could write it otherwise"
        )
        raise UsageError(message)
    if (behind or not is_local) and settings.hybrid_console_token is None and not header:
        message = (
            "HYBRID_CONSOLE_TOKEN is not set: who reaches the console from another machine signs "
            "in with it; `openssl rand -base64 24` makes one"
        )
        raise UsageError(message)
    names = {urlsplit(one).netloc for one in settings.hybrid_console_addresses}
    shown = f"[{host}]" if ":" in host else host
    names |= {f"{name}:{port}" for name in (*LOCAL, *((shown,) if is_local else ()))}
    first = next(iter(settings.hybrid_console_addresses), f"http://{shown}:{port}")
    return Place(
        host, port, is_local and not behind, frozenset(names), first, first.startswith("https://")
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def made(
    settings: Settings,
    place: Place,
    *,
    metrics: list[str],
    owner: str,
    on_link: Callable[[str], None],
    clock: Clock,
    log: Log,
) -> web.Application:
    """Put a console together; `on_link` hears of each link that makes an operator, once."""
    sources = Sources(settings, metrics, clock=clock)
    token = settings.hybrid_console_token
    ground = Ground(
        settings=settings,
        clock=clock,
        log=log,
        access=Access(
            clock=clock,
            token=token.get_secret_value() if token else None,
            is_local=place.is_local,
            owner=owner,
            proxied=proxied_of(settings),
            on_link=lambda code: on_link(f"{place.address}/enter?code={code}"),
        ),
        sources=sources,
        tail=Tail(settings, clock=clock),
        runs=Runs(settings, clock=clock, on_change=sources.changed),
        said=Said(),
        views=Views(name=settings.hybrid_console_name, clock=clock),
        cookie="__Host-hybrid_console" if place.is_tls else f"hybrid_console_{place.port}",
        is_tls=place.is_tls,
        hosts=place.hosts,
    )
    first = Hub(lambda: render_live(ground), clock=clock)
    tail = Hub(lambda: render_tail(ground), clock=clock, tick_s=TAIL_S)
    return build_app(ground, {"now": first, "tail": tail})


async def serve(app: web.Application, place: Place, *, ready: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT; raises UsageError for a port that cannot be used."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=STOP_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, place.host, place.port).start()
    except OSError as error:
        await runner.cleanup()
        message = (
            f"port {place.port} on {place.host} cannot be used ({error.strerror}); choose another "
            "with --port"
        )
        raise UsageError(message) from error
    await app[GROUND].sources.warm()
    stopped = asyncio.Event()
    on_signals(stopped.set)
    ready()
    await stopped.wait()
    with suppress(TimeoutError):  # what still reads is read-only, or goes on when it is resumed
        await asyncio.wait_for(runner.cleanup(), 2 * STOP_S)


def write_link(file: Path, link: str) -> None:
    """Put the link where only the owner of the process reads it."""
    scratch = file.with_name(f"{file.name}.new")
    scratch.unlink(missing_ok=True)
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(link + "\n")
    scratch.replace(file)

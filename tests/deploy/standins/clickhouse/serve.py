"""ClickHouse's engine, as the official image serves it: its variables, its port, its log-in."""

import asyncio
import base64
import hmac
import os
import signal
from pathlib import Path

from aiohttp import web

from hybrid.stack.clickhouse_gateway import MAX_BODY, ClickHouseGateway

FOLDER = Path("/var/lib/clickhouse/engine")
PORT = 8123


def credentials_of(request: web.Request) -> tuple[str, str]:
    """Give name and password, from any of the places where a client may put them."""
    kind, _, coded = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() == "basic":
        name, _, password = base64.b64decode(coded).decode().partition(":")
        return name, password
    headers, query = request.headers, request.query
    return (
        headers.get("X-ClickHouse-User") or query.get("user", ""),
        headers.get("X-ClickHouse-Key") or query.get("password", ""),
    )


class Server:
    """The gateway behind a log-in."""

    def __init__(self, gateway: ClickHouseGateway, user: str, password: str) -> None:
        self._gateway = gateway
        self._known = f"{user}:{password}"

    async def handle(self, request: web.Request) -> web.Response:
        """Answer who says the right name and password."""
        said = ":".join(credentials_of(request))
        if not hmac.compare_digest(said.encode(), self._known.encode()):
            text = "Code: 516. DB::Exception: Authentication failed (AUTHENTICATION_FAILED)\n"
            code = {"X-ClickHouse-Exception-Code": "516"}
            return web.Response(status=403, text=text, headers=code)
        return await self._gateway.handle(request)

    async def serve(self, host: str) -> web.AppRunner:
        """Listen until the runner is cleaned up."""
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_get("/ping", self._ping)
        app.router.add_route("*", "/", self.handle)
        app.router.add_route("*", "/{database:[A-Za-z_][A-Za-z0-9_]*}", self.handle)
        runner = web.AppRunner(app, access_log=None, auto_decompress=False)
        await runner.setup()
        await web.TCPSite(runner, host, PORT).start()
        return runner

    async def _ping(self, _request: web.Request) -> web.Response:
        return web.Response(text="Ok.\n")


async def main() -> None:
    """Serve until the container is stopped.

    As the official image does, a first start listens on localhost only while it makes the database.
    """
    new = not FOLDER.exists()  # noqa: ASYNC240 - nobody is served yet
    gateway = ClickHouseGateway(FOLDER)
    user, password = os.environ["CLICKHOUSE_USER"], os.environ["CLICKHOUSE_PASSWORD"]
    server = Server(gateway, user, password)
    if new:
        runner = await server.serve("127.0.0.1")
        gateway._session.query(f"CREATE DATABASE IF NOT EXISTS {os.environ['CLICKHOUSE_DB']}")
        await runner.cleanup()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    runner = await server.serve("0.0.0.0")  # noqa: S104 - inside its container
    await stopped.wait()
    await runner.cleanup()


asyncio.run(main())

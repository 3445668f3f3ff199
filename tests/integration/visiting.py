"""Visiting the console: a browser without JavaScript, and a console of a test's own."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from agents.clock import SystemClock
from hybrid.console.serving import Place, made
from hybrid.stack.process import free_port
from schemas.settings import Settings
from schemas.vocabulary import LogEvent

__all__ = ["OWN", "Visitor", "shape_of", "sign_in", "visit"]

#: What stands for itself in a path, and is one of many alike.
IDS = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|[pc]-[0-9a-f]{12}")
#: Words of an address of which each value is a page of its own kind.
TOLD_APART = ("state", "only")
OWN = {"Sec-Fetch-Site": "same-origin"}
Client = TestClient[web.Request, web.Application]


class Visitor:
    """A browser without JavaScript: it follows links and sends forms as they stand."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def get(self, path: str, *, status: int = 200) -> str:
        async with self.client.get(path) as answer:
            text = await answer.text()
            assert answer.status == status, text
            return text

    async def send(self, page: str, action: str, **more: str) -> tuple[str, str]:
        """Send a page's form; gives where that led to, and what is there."""
        form = next(
            one for one in re.findall(r"<form method=\"post\".*?</form>", page, re.DOTALL)
            if f'action="{action}"' in one
        )  # fmt: skip
        hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form))
        async with self.client.post(action, data=hidden | more, headers=OWN) as answer:
            text = await answer.text()
            assert answer.status == 200, text
            return answer.url.path, text


def visit(settings: Settings, metrics: list[str], scene: Callable[..., Awaitable[None]]) -> Any:
    """Open a console of its own and run a scene in it; gives what it logged."""
    links: list[str] = []
    said: list[dict[str, Any]] = []

    def log(event: LogEvent, /, *, level: str = "info", **fields: object) -> None:
        said.append({"event": event, "level": level, **fields})

    async def act() -> None:
        port = free_port()
        host = f"127.0.0.1:{port}"
        place = Place(
            "127.0.0.1", port, is_local=True, hosts=frozenset({host}), address=f"http://{host}", is_tls=False,
        )  # fmt: skip
        app = made(
            settings, place, metrics=metrics, owner="ann@host", on_link=links.append,
            clock=SystemClock(), log=log,
        )  # fmt: skip
        async with TestClient(TestServer(app, port=port)) as client:
            await scene(Visitor(client), links)

    asyncio.run(act())
    return said


async def sign_in(visitor: Visitor, links: list[str]) -> None:
    """Follow the operator's link."""
    page = await visitor.get(f"/enter{links[-1].partition('/enter')[2]}")
    path, page = await visitor.send(page, "/enter")
    assert path == "/"
    assert "ann@host (console)" in page


def shape_of(path: str) -> str:
    """Name a link's kind: where it leads, and by which words; one of each kind is followed."""
    place, _, query = path.partition("?")
    words = dict(parse_qsl(query, keep_blank_values=True))
    kept = [f"{name}={value}" if name in TOLD_APART else name for name, value in words.items()]
    return f"{IDS.sub('X', place)}?{'&'.join(sorted(kept))}"

"""The page Alerts: a test of the webhook, and Kafka that refuses to say how far the webhook is."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from aiokafka.errors import GroupAuthorizationFailedError
from pydantic import SecretStr

from agents.clock import ManualClock
from hybrid.console.app import build_app
from hybrid.console.fresh import Fresh
from hybrid.console.ground import Ground
from hybrid.console.live import Hub
from schemas.settings import Settings
from streams.alerts.standing import AlertStanding, standing_alerts
from tests.builders import NOW
from tests.unit.test_console_access import a_ground, signed_in
from tests.unit.test_console_pages import an_alert

OWN = {"Host": "ops.example.com", "Sec-Fetch-Site": "same-origin"}
SETTINGS = Settings(hybrid_alert_webhook=SecretStr("http://127.0.0.1:9/"))


def ground_with_an_alert(settings: Settings = SETTINGS) -> Ground:
    async def known() -> list[AlertStanding]:
        return standing_alerts([(NOW, an_alert(message="calls are slow"))])

    ground = replace(a_ground(), settings=settings)
    ground.sources.alerts = Fresh(known, clock=ManualClock(NOW), keep_s=5)
    return ground


@asynccontextmanager
async def served(ground: Ground) -> AsyncIterator[TestClient[Any, Any]]:
    async def nothing() -> str:
        return ""

    app = build_app(ground, {"x": Hub(nothing, clock=ground.clock)})
    async with TestClient(TestServer(app), headers=OWN) as client:
        yield client


class Refusing:
    """A broker that does not let the group be seen."""

    async def find_coordinator(self, group: str) -> int:
        raise GroupAuthorizationFailedError(group)


def test_without_the_right_to_see_the_webhooks_group_the_alerts_are_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @asynccontextmanager
    async def refusing(_settings: Settings) -> AsyncIterator[Refusing]:
        yield Refusing()

    monkeypatch.setattr("streams.kafka.backlog.admin_client", refusing)

    async def scene() -> None:
        async with served(ground_with_an_alert()) as client, client.get("/alerts") as answer:
            page = await answer.text()
        assert answer.status == 200
        assert "does not grant this client&#39;s user DESCRIBE on group workflow.alerts" in page
        assert "docs/security.md lists the rights" in page
        assert "How far the webhook is, is not known" in page
        assert "calls are slow" in page

    asyncio.run(scene())


class Endpoint:
    """A webhook that answers as it is told."""

    def __init__(self) -> None:
        self.status, self.heard = 204, list[dict[str, Any]]()

    async def hear(self, request: web.Request) -> web.Response:
        self.heard.append(await request.json())
        return web.Response(status=self.status, text="no such <b>hook</b>\x1b")


def test_an_operator_sends_the_webhook_a_test_and_reads_what_it_answered() -> None:
    async def scene() -> None:
        end, hook = Endpoint(), web.Application()
        hook.router.add_post("/hook", end.hear)
        async with TestServer(hook) as there:
            address = SecretStr(str(there.make_url("/hook")))
            ground = ground_with_an_alert(Settings(hybrid_alert_webhook=address))
            logged: list[dict[str, Any]] = []
            ground = replace(ground, log=lambda _event, **words: logged.append(words))
            cookie, form = signed_in(ground)
            async with served(ground) as client:

                async def tested() -> str:
                    async with client.post("/alerts/test", headers=cookie, data=form) as answer:
                        return await answer.text()

                taken = await tested()
                end.status = 404
                refused = await tested()
        assert "a test was taken: HTTP 204 after" in taken
        assert "its end was taken: HTTP 204 after" in taken
        assert "Send a test" in taken
        assert [one["resolved"] for one in end.heard] == [False, True, False]
        assert {one["subject"] for one in end.heard} == {"Ann (console)"}
        assert "a test was not taken: HTTP 404 after" in refused
        assert "no such &lt;b&gt;hook&lt;/b&gt;" in refused
        assert "calls are slow" in refused
        assert [(one["action"], one["what"], one["by"]) for one in logged] == [
            ("alert_tested", "taken", "Ann (console)"),
            ("alert_tested", "not taken", "Ann (console)"),
        ]

    asyncio.run(scene())


def test_without_a_webhook_there_is_no_button_and_a_form_is_told_so() -> None:
    async def scene() -> None:
        ground = ground_with_an_alert(Settings())
        cookie, form = signed_in(ground)
        async with served(ground) as client:
            async with client.get("/alerts", headers=cookie) as answer:
                assert "Send a test" not in await answer.text()
            async with client.post("/alerts/test", headers=cookie, data=form) as answer:
                assert "HYBRID_ALERT_WEBHOOK is not set here" in await answer.text()

    asyncio.run(scene())

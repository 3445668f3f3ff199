"""The page Alerts: what it says where Kafka refuses to say how far the webhook is."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
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
from tests.unit.test_console_access import a_ground
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

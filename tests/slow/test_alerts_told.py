"""What is told of alerts: `hybrid alerts`, a test of the webhook, and of pauses that last."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from agents.clock import ManualClock
from agents.log import silent
from schemas.events import Alert
from schemas.operations import HoldRecord
from schemas.vocabulary import Held
from streams.alerts.raising import Alerts
from streams.alerts.watch import Watch
from streams.kafka.clients import producer
from streams.messages.records import OutRecord
from streams.triage.journal import write_operations
from tests.integration.forked import Forked
from tests.integration.test_runs import Place, place

__all__ = ["place"]

pytestmark = pytest.mark.integration

NOW = datetime.now(UTC)


def an_alert(name: str, subject: str, *, ago_h: float, resolved: bool = False) -> Alert:
    return Alert(
        alert_id=f"{name}/{subject}", name=name, subject=subject, message=f"{subject} is out",
        raised_at=NOW - timedelta(hours=ago_h), resolved=resolved,
    )  # fmt: skip


def say(place: Place, *alerts: Alert) -> None:
    async def send() -> None:
        async with producer(place.settings) as client:
            for alert in alerts:
                await client.send_and_wait(
                    place.settings.topics.alerts, alert.to_json(), b"default"
                )

    asyncio.run(send())


def told(place: Place, *arguments: str, status: int = 0, **more: str) -> str:
    done = Forked(
        "alerts", *arguments, environment={**place.variables, **more}, folder=place.folder
    )
    assert done.wait() == status, done.said()
    return done.stdout if status == 0 else done.stderr


def test_alerts_that_are_on_are_shown_first_and_others_where_they_are_asked_for(
    place: Place,
) -> None:
    assert told(place) == "no alert is on; `--all` shows those that are over\n"
    say(
        place,
        an_alert("provider_down", "openai", ago_h=30),
        an_alert("error_rate", "azure", ago_h=2),
        an_alert("error_rate", "azure", ago_h=2, resolved=True),
        an_alert("provider_down", "openai", ago_h=1),
    )
    rows = json.loads(told(place, "--format", "json"))
    assert [(one["alert"], one["subject"], one["state"]) for one in rows] == [
        ("provider_down", "openai", "on")
    ]
    rows = json.loads(told(place, "--all", "--format", "json"))
    assert [(one["subject"], one["state"], one["times"]) for one in rows] == [
        ("openai", "on", 1), ("azure", "over", 1)
    ]  # fmt: skip
    assert len(json.loads(told(place, "--since", "3h", "--format", "json"))) == 0
    csv = told(place, "--all", "--columns", "subject,state", "--format", "csv")
    assert csv == "subject,state\nopenai,on\nazure,over\n"
    assert "choose any of" in told(place, "--columns", "x", status=2)


@dataclass
class Endpoint:
    status: int = 204
    heard: list[tuple[dict[str, str], dict[str, Any]]] = field(default_factory=list)
    url: str = ""


@contextmanager
def listening() -> Iterator[Endpoint]:
    end = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            end.heard.append(({k.lower(): v for k, v in self.headers.items()}, body))
            self.send_response(end.status)
            self.end_headers()
            self.wfile.write(b"" if end.status == 204 else b"no such\n hook")

        def log_message(self, *_said: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    end.url = f"http://127.0.0.1:{server.server_address[1]}/hook"
    try:
        yield end
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_test_of_the_webhook_says_what_came_back(place: Place) -> None:
    assert "HYBRID_ALERT_WEBHOOK is not set" in told(place, "test", status=2)
    with listening() as end:
        said = told(place, "test", HYBRID_ALERT_WEBHOOK=end.url, HYBRID_ALERT_SECRET="s")
        assert "a test was taken: HTTP 204 after" in said
        assert "its end was taken: HTTP 204 after" in said
        assert [one["resolved"] for _, one in end.heard] == [False, True]
        assert all(headers["webhook-signature"].startswith("v1,") for headers, _ in end.heard)
        end.status = 404
        refused = told(place, "test", status=1, HYBRID_ALERT_WEBHOOK=end.url)
        assert "a test was not taken: HTTP 404 after" in refused
        assert refused.strip().endswith("ms: no such hook")
        away = end.url
    assert "cannot be reached" in told(place, "test", status=1, HYBRID_ALERT_WEBHOOK=away)
    assert json.loads(told(place, "--all", "--format", "json")) == []


@dataclass
class Recording:
    leads: bool = True
    held_up_s: float = 0.1  # ClickHouse is away: pauses are minded all the same
    held_up_by: str = ""
    rows_set_aside: int = 0


def test_a_pause_that_lasts_raises_an_alert_until_it_ends(place: Place) -> None:
    clock, posted = ManualClock(NOW), list[Alert]()

    def post(record: OutRecord) -> None:
        posted.append(Alert.model_validate_json(record.value or b""))

    settings = place.settings
    watch = Watch(
        settings, name="recorder", recording=Recording(), clock=clock, log=silent,
        alerts=Alerts(settings.topics, post=post, clock=clock, log=silent),
    )  # fmt: skip

    began = NOW - timedelta(seconds=3_590)

    def order(*, held: bool) -> None:
        hold = HoldRecord(
            what=Held.TENANT, name="acme", held=held, why="asked for", by="anna", at=began
        )
        asyncio.run(write_operations(settings, [hold]))

    def look(after_s: float) -> list[tuple[str, str, bool]]:
        clock.advance(after_s)
        before = len(posted)
        asyncio.run(watch.look())
        return [(one.name, one.subject, one.resolved) for one in posted[before:]]

    order(held=True)
    assert look(0) == []
    assert look(20) == [("paused", "tenant/acme", False)]
    assert posted[0].tenant == "acme"
    assert "tenant acme is paused since" in posted[0].message
    assert "by anna (asked for)" in posted[0].message
    assert "hybrid resume --tenant acme" in posted[0].message
    assert look(60) == []
    order(held=False)
    assert look(60) == [("paused", "tenant/acme", True)]

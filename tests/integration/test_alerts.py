"""What in the record is worth an alert is said once, on the topic and to the webhook, and once more
when it is over.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from agents.clock import ManualClock, SystemClock
from agents.log import silent
from schemas.alerting import AlertSpec
from schemas.attempt import ProviderAttempt
from schemas.events import Alert
from schemas.rows import attempt_row, result_row
from schemas.settings import Settings
from schemas.vocabulary import AlertName, AttemptOutcome, AttemptStatus, UsageSource
from streams.alerts.raising import Alerts
from streams.alerts.watch import Watch, watch
from streams.alerts.webhook import Webhook, signature
from streams.kafka.clients import producer
from streams.kafka.reading import read_topic
from streams.kafka.topics import ensure_topics
from streams.messages.records import OutRecord
from streams.store.clickhouse import ClickHouse
from streams.store.migrations import migrate
from tests.builders import NOW, a_result, a_task
from tests.integration.databases import migrated
from tests.integration.driving import soon
from tests.integration.test_rows import an_attempt

pytestmark = pytest.mark.integration


@dataclass
class Recording:
    """A recorder as the watch sees it."""

    leads: bool = True
    held_up_s: float = 0.0
    held_up_by: str = ""
    rows_set_aside: int = 0


@dataclass
class Watching:
    """A watch over a database of its own, with a clock of its own."""

    settings: Settings
    store: ClickHouse
    recording: Recording = field(default_factory=Recording)
    clock: ManualClock = field(default_factory=lambda: ManualClock(NOW))
    posted: list[Alert] = field(default_factory=list)

    def __post_init__(self) -> None:
        def post(record: OutRecord) -> None:
            assert record.topic == self.settings.topics.alerts
            self.posted.append(Alert.model_validate_json(record.value or b""))

        alerts = Alerts(self.settings.topics, post=post, clock=self.clock, log=silent)
        self.watch = Watch(
            self.settings, name="recorder-7", recording=self.recording,
            alerts=alerts, clock=self.clock, log=silent,
        )  # fmt: skip

    def look(self, *, after_s: float = 0) -> list[tuple[str, str, bool]]:
        """Look; gives what was said: name, subject, whether it is over."""
        self.clock.advance(after_s)
        before = len(self.posted)
        asyncio.run(self.watch.look())
        return [(one.name, one.subject, one.resolved) for one in self.posted[before:]]

    def calls(self, *attempts: ProviderAttempt) -> None:
        rows = [
            attempt_row(one.model_copy(update={"attempt_id": str(uuid.uuid4())}))[1]
            for one in attempts
        ]
        self.store.insert("provider_attempts", rows, token=uuid.uuid4().hex)


@pytest.fixture
def settings(database: Settings) -> Settings:
    """A database and topics of its own, the same brokers."""
    found = database.model_copy(
        update={
            "hybrid_topic_prefix": f"a{uuid.uuid4().hex[:8]}",
            "hybrid_partitions": 2,
            "alerts": AlertSpec(every=0.1, fewest=4, paused=0),
        }
    )
    asyncio.run(ensure_topics(found))
    return found


@pytest.fixture
def watching(settings: Settings) -> Iterator[Watching]:
    store = migrated(settings)
    yield Watching(settings, store)
    store.close()


def a_call(*, ago: timedelta = timedelta(minutes=1), **changes: Any) -> ProviderAttempt:
    at = datetime.now(UTC) - ago
    return an_attempt().model_copy(update={"started_at": at, "finished_at": at, **changes})


def test_calls_that_fail_raise_one_alert_until_ten_minutes_without(watching: Watching) -> None:
    failed = a_call(outcome=AttemptOutcome.SERVER_ERROR)
    watching.calls(failed, a_call(), a_call())
    assert watching.look() == []  # three calls are too few
    watching.calls(failed)
    assert watching.look() == [("error_rate", "openai", False)]
    assert "50 % of 4 calls to openai failed" in watching.posted[0].message
    assert "server_error" in watching.posted[0].message
    assert watching.posted[0].severity == "critical"
    watching.store.command("TRUNCATE TABLE provider_attempts")
    assert watching.look(after_s=599) == []
    assert watching.look(after_s=1) == [("error_rate", "openai", True)]
    assert watching.look(after_s=60) == []


def test_refusals_for_limits_and_of_requests_are_no_failures(watching: Watching) -> None:
    refused = [
        a_call(outcome=outcome)
        for outcome in (AttemptOutcome.RATE_LIMIT, AttemptOutcome.VALIDATION)
    ]
    watching.calls(*refused * 4)
    assert watching.look() == []


def test_a_slow_model_is_named(watching: Watching) -> None:
    watching.calls(*[a_call(call_ms=20_001, served_model="gpt-slow")] * 4)
    watching.calls(*[a_call(call_ms=19_999, served_model="gpt-quick")] * 4)
    assert watching.look() == [("call_latency", "openai/gpt-slow", False)]
    assert "20001 ms at p95" in watching.posted[0].message


def test_a_model_without_a_price_is_named_once_an_hour_at_most(watching: Watching) -> None:
    unknown = a_call(cost_usd=None, usage_source=UsageSource.PROVIDER, served_model="new-1")
    watching.calls(unknown, unknown)
    assert watching.look() == [("unpriced_model", "openai/new-1", False)]
    assert "2 calls of the last hour" in watching.posted[0].message
    assert watching.look(after_s=60) == []
    watching.store.command("TRUNCATE TABLE provider_attempts")
    assert watching.look(after_s=60) == [("unpriced_model", "openai/new-1", True)]


def test_orphaned_calls_name_their_worker_and_bound(watching: Watching) -> None:
    past, future = (datetime.now(UTC) + timedelta(minutes=m) for m in (-1, 1))
    started = {"status": AttemptStatus.STARTED, "cost_usd": None, "worker": "worker-1"}
    watching.calls(
        a_call(deadline_at=past, cost_upper_usd=Decimal("0.25"), **started),
        a_call(deadline_at=past, cost_upper_usd=Decimal("0.5"), **started),
        a_call(deadline_at=future, **started),  # is running
    )
    assert watching.look() == [("orphaned_attempts", "worker-1", False)]
    assert "2 calls; they may have cost up to 0.75 USD" in watching.posted[0].message


def test_a_tenant_that_spends_a_multiple_of_its_usual_hour(watching: Watching) -> None:
    for tenant, now_usd in (("calm", "2.9"), ("wild", "3.1"), ("small", "0.9")):
        usual = "1" if tenant != "small" else "0.01"
        for hours in range(2, 8):
            watching.calls(
                a_call(ago=timedelta(hours=hours), tenant=tenant, cost_usd=Decimal(usual))
            )
        watching.calls(a_call(tenant=tenant, cost_usd=Decimal(now_usd)))
    watching.calls(a_call(tenant="new", cost_usd=Decimal(50)))  # nothing is usual yet
    assert [one for one in watching.look() if one[0] == "spend_rate"] == [
        ("spend_rate", "wild", False)
    ]
    (said,) = [one for one in watching.posted if one.name == AlertName.SPEND_RATE]
    assert said.tenant == "wild"
    assert "spent 3.1 USD in the last hour, 3.1 times" in said.message


def test_a_dear_intent_and_a_tenant_of_dead_letters(watching: Watching) -> None:
    now = datetime.now(UTC)
    result = result_row(a_result(a_task()).model_copy(update={"completed_at": now}))[1]
    dear = {**result, "total_cost_usd": "1.000000000001"}
    watching.store.insert(
        "workflow_outcomes",
        [
            {**dear, "outcome_id": "1", "intent_id": "dear-1"},
            {**dear, "outcome_id": "2", "intent_id": "dear-2", "total_cost_usd": "2.5"},
            {**result, "outcome_id": "3", "intent_id": "cheap", "total_cost_usd": "1"},
            *[
                {**result, "outcome_id": f"d{n}", "tenant": "acme", "status": state,
                 "reason": "rejected" if state == "failed" else ""}
                for n, state in enumerate(("failed", "completed", "completed", "completed"))
            ],
        ],
        token="o",
    )  # fmt: skip
    assert watching.look() == [
        ("intent_cost", "default/message_generation", False),
        ("dead_letter_rate", "acme", False),
    ]
    assert "intent dear-2 cost 2.5 USD" in watching.posted[0].message
    assert "2 cost too much" in watching.posted[0].message
    assert "25 % of 4 intents" in watching.posted[1].message
    assert "rejected" in watching.posted[1].message


def test_an_intent_that_is_still_being_paid_for_is_dear_too(watching: Watching) -> None:
    calls = [a_call(intent_id="burning", cost_usd=Decimal("0.4")) for _ in range(3)]
    watching.calls(*calls, a_call(intent_id="calm", cost_usd=Decimal(1)))
    assert watching.look() == [("intent_cost", "default/message_generation", False)]
    assert "intent burning cost 1.2 USD" in watching.posted[0].message


def test_a_rule_that_is_off_says_nothing(settings: Settings) -> None:
    spec = AlertSpec(unpriced=False, orphaned=False, error_rate=0, fewest=1, paused=0)
    store = ClickHouse(settings)
    migrate(store)
    watching = Watching(settings.model_copy(update={"alerts": spec}), store)
    watching.calls(
        a_call(cost_usd=None, usage_source=UsageSource.PROVIDER),
        a_call(outcome=AttemptOutcome.TIMEOUT),
    )
    assert watching.look() == []


def test_only_the_recorder_with_the_first_partition_watches(watching: Watching) -> None:
    watching.calls(a_call(cost_usd=None, usage_source=UsageSource.PROVIDER))
    watching.recording.leads = False
    assert watching.look() == []
    watching.recording.leads = True
    assert [name for name, *_ in watching.look()] == ["unpriced_model"]


def test_rows_that_have_not_come_yet_end_no_alert_and_raise_one(watching: Watching) -> None:
    watching.calls(a_call(cost_usd=None, usage_source=UsageSource.PROVIDER))
    assert len(watching.look()) == 1
    watching.store.command("TRUNCATE TABLE provider_attempts")
    watching.recording.held_up_s, watching.recording.held_up_by = 299, "connection refused"
    assert watching.look() == []
    watching.recording.held_up_s = 301
    assert watching.look() == [("recorder_behind", "recorder-7", False)]
    assert "connection refused" in watching.posted[-1].message
    watching.recording.held_up_s = 0
    said = watching.look()
    assert ("recorder_behind", "recorder-7", True) in said
    assert ("unpriced_model", "openai/gpt-3.5-turbo", True) in said


def test_records_that_are_missing_are_said_until_an_hour_without(watching: Watching) -> None:
    assert watching.look() == []
    watching.recording.rows_set_aside = 2
    assert watching.look() == [("rows_set_aside", "recorder-7", False)]
    assert watching.posted[0].message.startswith("2 records are not in ClickHouse")
    watching.recording.rows_set_aside = 3
    assert watching.look(after_s=3000) == []
    assert watching.look(after_s=3599) == []
    assert watching.look(after_s=1) == [("rows_set_aside", "recorder-7", True)]


async def _alerts_of(settings: Settings) -> list[Alert]:
    return [
        Alert.model_validate_json(record.value or b"")
        async for record in read_topic(settings, settings.topics.alerts)
    ]


@asynccontextmanager
async def _beside(work: Any) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_a_recorder_that_takes_over_repeats_nothing_and_ends_what_was_raised(
    watching: Watching,
) -> None:
    """The whole of it, on the topic: raised once by the first, over by the second."""

    def watched() -> Any:
        return watch(
            watching.settings,
            name="recorder-7",
            recording=Recording(),
            clock=SystemClock(),
            log=silent,
        )

    watching.calls(a_call(cost_usd=None, usage_source=UsageSource.PROVIDER))

    async def story() -> list[Alert]:
        async def look() -> list[Alert]:
            return await _alerts_of(watching.settings)

        async with _beside(watched()):
            await soon(look, lambda seen: len(seen) == 1)
        orphan = a_call(
            status=AttemptStatus.STARTED, worker="w", deadline_at=datetime.now(UTC), cost_usd=None
        )
        watching.store.command("TRUNCATE TABLE provider_attempts")
        watching.calls(orphan)
        async with _beside(watched()):
            return list(await soon(look, lambda seen: len(seen) == 3))

    said = asyncio.run(story())
    assert sorted((one.name, one.resolved) for one in said) == [
        (AlertName.ORPHANED_ATTEMPTS, False),
        (AlertName.UNPRICED_MODEL, False),
        (AlertName.UNPRICED_MODEL, True),
    ]


# ── the webhook ─────────────────────────────────────────────────────────────────────────────

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - the standard's example


@dataclass
class Endpoint:
    """An HTTP endpoint that answers as it is told and keeps what it got."""

    answers: list[int] = field(default_factory=list)
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""

    async def take(self, request: web.Request) -> web.Response:
        self.got.append((dict(request.headers), await request.read()))
        return web.Response(status=self.answers.pop(0) if self.answers else 204)

    def alerts(self) -> list[Alert]:
        return [Alert.model_validate_json(body) for _, body in self.got]


@asynccontextmanager
async def _endpoint(*answers: int) -> AsyncIterator[Endpoint]:
    endpoint = Endpoint(list(answers))
    app = web.Application()
    app.router.add_post("/hook", endpoint.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    endpoint.url = f"http://{host}:{port}/hook"
    try:
        yield endpoint
    finally:
        await runner.cleanup()


async def _say(settings: Settings, *alerts: Alert) -> None:
    async with producer(settings) as client:
        for one in alerts:
            await client.send_and_wait(
                settings.topics.alerts, one.to_json(), key=one.tenant.encode()
            )


def _an_alert(subject: str, *, resolved: bool = False) -> Alert:
    return Alert(
        alert_id=f"provider_down/{subject}/1",
        name="provider_down",
        subject=subject,
        message="down",
        resolved=resolved,
        raised_at=datetime(2026, 1, 31, tzinfo=UTC),
    )


def _webhook(settings: Settings, endpoint: Endpoint, secret: str = SECRET) -> Webhook:
    signed = settings.model_copy(update={"hybrid_alert_secret": SecretStr(secret)})
    return Webhook(signed, url=endpoint.url, clock=SystemClock(), log=silent)


async def _started(settings: Settings, endpoint: Endpoint, said: list[Alert]) -> None:
    """Say one thing again and again until it arrives: the webhook begins with what comes next."""
    number = 0

    async def look() -> int:
        nonlocal number
        number += 1
        await _say(settings, _an_alert(f"begin-{number}"))
        return len(endpoint.got)

    await soon(look, lambda seen: seen > 0)
    await _say(settings, *said)


def test_an_alert_is_posted_signed_and_once_although_two_workers_say_it(
    settings: Settings,
) -> None:
    async def story() -> list[tuple[dict[str, str], bytes]]:
        async with _endpoint() as endpoint, _beside(_webhook(settings, endpoint).run()):
            down, over = _an_alert("openai"), _an_alert("openai", resolved=True)
            await _started(settings, endpoint, [down, down, over, over, down])

            async def mine() -> list[tuple[dict[str, str], bytes]]:
                return [one for one in endpoint.got if b'"openai"' in one[1]]

            await soon(mine, lambda seen: len(seen) >= 3)
            await _say(settings, _an_alert("last"))
            await soon(mine, lambda _: any(b'"last"' in body for _, body in endpoint.got))
            return await mine()

    posts = asyncio.run(story())
    assert [Alert.model_validate_json(body).resolved for _, body in posts] == [False, True, False]
    for headers, body in posts:
        assert headers["webhook-signature"] == signature(
            SECRET,
            identifier=headers["webhook-id"],
            timestamp_s=int(headers["webhook-timestamp"]),
            body=body,
        )
    assert (
        len({headers["webhook-id"] for headers, _ in posts}) == 2
    )  # the last says the first again


def test_the_signature_is_the_one_of_the_standard() -> None:
    """Its published example (https://github.com/standard-webhooks/standard-webhooks)."""
    signed = signature(
        SECRET,
        identifier="msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp_s=1_614_265_330,
        body=b'{"test": 2432232314}',
    )
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_an_endpoint_that_is_away_gets_its_alerts_later_in_order(settings: Settings) -> None:
    async def story() -> list[str]:
        async with _endpoint() as endpoint:
            async with _beside(_webhook(settings, endpoint).run()):
                await _started(settings, endpoint, [])
            # A restart: what is said meanwhile is not skipped, and 503 and 429 ask for patience.
            endpoint.got.clear()
            endpoint.answers.extend([503, 429])
            await _say(settings, _an_alert("a"), _an_alert("b"))
            async with _beside(_webhook(settings, endpoint).run()):

                async def bodies() -> list[str]:
                    return [one.subject for one in endpoint.alerts()]

                return list(await soon(bodies, lambda seen: "b" in seen))

    subjects = [one for one in asyncio.run(story()) if not one.startswith("begin")]
    assert subjects[-2:] == ["a", "b"]
    assert set(subjects) == {"a", "b"}


def test_an_endpoint_that_refuses_does_not_hold_up_the_next_alert(settings: Settings) -> None:
    async def story() -> list[str]:
        async with _endpoint() as endpoint, _beside(_webhook(settings, endpoint).run()):
            await _started(settings, endpoint, [])
            endpoint.answers.extend([404])
            await _say(settings, _an_alert("refused"), _an_alert("next"))

            async def subjects() -> list[str]:
                return [one.subject for one in endpoint.alerts()]

            return list(await soon(subjects, lambda seen: "next" in seen))

    assert asyncio.run(story()).count("refused") == 1

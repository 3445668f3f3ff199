"""The recorder loses nothing and doubles nothing, whatever ClickHouse does.

A proxy before the engine answers as a server in trouble does; the rows are counted in the engine.
"""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp import ClientSession, web
from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata
from pydantic import SecretStr

from agents.clock import SystemClock
from schemas.attempt import ProviderAttempt
from schemas.settings import Settings
from schemas.vocabulary import LogEvent
from streams.kafka.clients import admin_client, consumer, producer, started
from streams.kafka.topics import ensure_topics
from streams.recording.lag import recorder_lag
from streams.recording.recorder import Recorder
from streams.store.clickhouse import ClickHouse
from tests.chaos.running import RunningStack
from tests.integration.databases import migrated
from tests.integration.driving import soon
from tests.integration.test_commands import hybrid
from tests.integration.test_rows import an_attempt

pytestmark = pytest.mark.integration


@dataclass
class Trouble:
    """What the proxy does to the next inserts, in order; then nothing."""

    engine: str
    script: list[Callable[[bytes], Awaitable[web.StreamResponse | None]]] = field(
        default_factory=list
    )
    down: bool = False
    refusing: Callable[[bytes], Awaitable[web.StreamResponse]] | None = None
    refused: int = 0
    inserts: int = 0
    url: str = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if self.down:
            raise ConnectionResetError
        if self.refusing is not None:
            self.refused += 1
            return await self.refusing(body)
        if b"INSERT INTO" in body[:200] and b"schema_migrations" not in body[:200]:
            self.inserts += 1
            if self.script:
                answer = await self.script.pop(0)(body)
                if answer is not None:
                    return answer
        return await self.passed_on(request, body)

    async def passed_on(self, request: web.Request, body: bytes) -> web.Response:
        async with (
            ClientSession(auto_decompress=False) as session,
            session.request(
                request.method, f"{self.engine}{request.rel_url}", data=body,
                headers={name: value for name, value in request.headers.items()
                         if name.lower() not in {"host", "content-length", "transfer-encoding"}},
            ) as answer,
        ):  # fmt: skip
            kept = {
                name: value
                for name, value in answer.headers.items()
                if name.startswith("X-ClickHouse") or name == "Content-Type"
            }
            return web.Response(status=answer.status, body=await answer.read(), headers=kept)


def refuse(code: int, name: str) -> Callable[[bytes], Awaitable[web.Response]]:
    """Answer as ClickHouse does, with an error code."""

    async def answer(_body: bytes) -> web.Response:
        text = f"Code: {code}. DB::Exception: {'x' * 400} ({name})"
        return web.Response(
            status=500, text=text, headers={"X-ClickHouse-Exception-Code": str(code)}
        )

    return answer


@asynccontextmanager
async def _proxy(settings: Settings) -> AsyncIterator[Trouble]:
    parts = urlsplit(settings.clickhouse_url.get_secret_value() if settings.clickhouse_url else "")
    trouble = Trouble(f"http://{parts.hostname}:{parts.port}")
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{tail:.*}", trouble.handle)
    runner = web.AppRunner(app, auto_decompress=False)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    login = parts.netloc.rpartition("@")[0]
    trouble.url = f"http://{login}@{runner.addresses[0][0]}:{runner.addresses[0][1]}{parts.path}"
    try:
        yield trouble
    finally:
        await runner.cleanup()


@pytest.fixture
def settings(database: Settings) -> Settings:
    found = database.model_copy(
        update={
            "hybrid_topic_prefix": f"c{uuid.uuid4().hex[:8]}",
            "hybrid_partitions": 2,
        }
    )
    asyncio.run(ensure_topics(found))
    migrated(found).close()
    return found


async def _say(settings: Settings, attempts: list[ProviderAttempt]) -> None:
    async with producer(settings) as client:
        sent = [
            await client.send(settings.topics.attempts, one.to_json(), key=one.attempt_id.encode())
            for one in attempts
        ]
        await asyncio.gather(*sent)


def attempts(count: int) -> list[ProviderAttempt]:
    return [an_attempt(cost="0.01") for _ in range(count)]


@dataclass
class Watched:
    """A running recorder, its log, and the rows that are in the engine."""

    recorder: Recorder
    store: ClickHouse
    said: list[dict[str, Any]]

    def rows(self, *, final: bool = True) -> int:
        end = " FINAL" if final else ""
        return int(self.store.rows(f"SELECT count() FROM provider_attempts{end}")[1][0][0])

    async def until(self, holds: Callable[[], bool], *, within_s: float = 60) -> None:
        async def look() -> tuple[bool, list[dict[str, Any]]]:
            return holds(), self.said[-3:]

        await soon(look, lambda seen: seen[0], within_s=within_s)


@asynccontextmanager
async def _recording(settings: Settings, url: str) -> AsyncIterator[Watched]:
    said: list[dict[str, Any]] = []

    def log(event: LogEvent, /, *, level: str = "info", **fields: object) -> None:
        said.append({"event": event, "level": level, **fields})

    through = settings.model_copy(update={"clickhouse_url": SecretStr(url)})
    recorder = Recorder(through, clock=SystemClock(), log=log)
    task = asyncio.create_task(recorder.run())
    store = await asyncio.to_thread(ClickHouse, settings)
    try:
        yield Watched(recorder, store, said)
    finally:
        recorder.stop()
        await asyncio.gather(task, return_exceptions=True)
        store.close()


def test_a_server_in_trouble_delays_rows_and_loses_none(settings: Settings) -> None:
    """Whatever it says of itself: no row is looked for, none is set aside."""

    async def story() -> tuple[int, int, Recorder, list[dict[str, Any]]]:
        async with _proxy(settings) as trouble:
            trouble.script = [
                refuse(252, "TOO_MANY_PARTS"),
                refuse(241, "MEMORY_LIMIT_EXCEEDED"),
                refuse(3_999, "SOMETHING_NEW"),
            ]
            await _say(settings, attempts(1))
            async with _recording(settings, trouble.url) as watched:
                await watched.until(lambda: watched.rows() == 1)
                await watched.until(lambda: watched.recorder.rows_written == 1)
                return watched.rows(final=False), trouble.inserts, watched.recorder, watched.said

    rows, inserts, recorder, said = asyncio.run(story())
    assert (rows, inserts) == (1, 4)
    assert (recorder.rows_set_aside, recorder.held_up_s) == (0, 0.0)
    delays = [str(one["error"]) for one in said if one["event"] == LogEvent.INSERT_DELAYED]
    codes = [text.split("code: ")[1].split(",")[0] for text in delays]
    assert codes == ["252", "241", "3999"]


def test_a_password_that_is_changed_while_it_runs_delays_rows(settings: Settings) -> None:
    """Every statement is refused then, also the one that opens a new connection."""

    async def story() -> tuple[int, int]:
        async with _proxy(settings) as trouble, _recording(settings, trouble.url) as watched:
            await watched.until(lambda: watched.recorder.ready)
            trouble.refusing = refuse(516, "AUTHENTICATION_FAILED")
            await _say(settings, attempts(3))
            await watched.until(lambda: trouble.refused >= 3)
            trouble.refusing = None
            await watched.until(lambda: watched.rows() == 3)
            return watched.rows(), watched.recorder.rows_set_aside

    assert asyncio.run(story()) == (3, 0)


def test_a_transactions_marker_is_no_lag(settings: Settings) -> None:
    async def story() -> int:
        async with _proxy(settings) as trouble, _recording(settings, trouble.url) as watched:
            for number in range(2):
                async with producer(settings, transactional_id=f"t-{uuid.uuid4()}") as client:
                    await client.begin_transaction()
                    await client.send_and_wait(
                        settings.topics.attempts, an_attempt().to_json(), partition=number
                    )
                    await client.commit_transaction()
            await watched.until(lambda: watched.recorder.rows_written == 2)
            await watched.until(lambda: watched.recorder.lag == 0)
            # What a doctor asks: the committed offsets stand behind the markers too.
            await soon(partial(recorder_lag, settings), lambda lag: lag == 0, within_s=20)
            return watched.rows()

    assert asyncio.run(story()) == 2


def test_an_answer_that_is_lost_after_the_insert_doubles_nothing(settings: Settings) -> None:
    async def story() -> tuple[int, int]:
        async with _proxy(settings) as trouble:

            async def stored_but_not_told(body: bytes) -> web.StreamResponse:
                async with ClientSession() as session:
                    database = trouble.url.rsplit("/", 1)[1]
                    async with session.post(
                        trouble.engine, params={"database": database}, data=body
                    ):
                        pass
                raise ConnectionResetError

            await _say(settings, attempts(20))
            trouble.script = [stored_but_not_told]
            async with _recording(settings, trouble.url) as watched:
                await watched.until(lambda: trouble.inserts >= 2 and watched.rows() == 20)
                await watched.until(lambda: watched.recorder.rows_written == 20)
                cost = watched.store.rows("SELECT toFloat64(sum(cost_usd)) FROM costs_daily")[1]
                return watched.rows(), round(cost[0][0] * 100)

    assert asyncio.run(story()) == (20, 20)


def test_a_bad_row_is_set_aside_and_the_others_of_its_batch_are_not(settings: Settings) -> None:
    good = attempts(60)
    bad = good[17].model_copy(update={"attempt_id": "no-uuid"})

    async def story() -> tuple[int, int, list[dict[str, Any]]]:
        async with _proxy(settings) as trouble:
            await _say(settings, [*good[:30], bad, *good[30:]])
            async with _recording(settings, trouble.url) as watched:
                await watched.until(lambda: watched.recorder.rows_set_aside == 1)
                await watched.until(lambda: watched.rows() == 60)
                return watched.rows(), watched.recorder.rows_set_aside, watched.said

    rows, aside, said = asyncio.run(story())
    assert (rows, aside) == (60, 1)
    refused = [one for one in said if one["event"] == LogEvent.ROW_REFUSED]
    assert refused[0]["record"] == "provider_attempts/no-uuid"


def test_rows_of_more_months_than_one_insert_takes_are_stored_in_several(
    settings: Settings,
) -> None:
    """Moments that somebody else's clock wrote: ClickHouse takes 100 partitions a block."""
    wide = [
        one.model_copy(update={"started_at": datetime(2030 + n // 12, n % 12 + 1, 1, tzinfo=UTC)})
        for n, one in enumerate(attempts(150))
    ]

    async def story() -> tuple[int, int]:
        async with _proxy(settings) as trouble:
            await _say(settings, wide)
            async with _recording(settings, trouble.url) as watched:
                await watched.until(lambda: watched.rows() == 150)
                return watched.rows(final=False), watched.recorder.rows_set_aside

    assert asyncio.run(story()) == (150, 0)


def test_a_row_that_can_be_no_row_ends_no_recorder_and_the_others_are_stored(
    settings: Settings,
) -> None:
    good = attempts(3)
    dear, old = attempts(2)
    dear = dear.model_copy(update={"cost_usd": Decimal("1e20")})
    far = timezone(timedelta(hours=14))
    old = old.model_copy(update={"started_at": datetime(1, 1, 1, tzinfo=far)})

    async def story() -> list[dict[str, Any]]:
        async with _proxy(settings) as trouble:
            await _say(settings, [good[0], dear, old, *good[1:]])
            async with _recording(settings, trouble.url) as watched:
                await watched.until(lambda: watched.recorder.rows_set_aside == 1)
                # The one of the year 1 is taken; the table's TTL has no place for it.
                await watched.until(lambda: watched.recorder.rows_written == 5)
                assert watched.rows() >= 3
                return watched.said

    (refused,) = [one for one in asyncio.run(story()) if one["event"] == LogEvent.ROW_REFUSED]
    assert refused["record"] == f"provider_attempts/{dear.attempt_id}"


def test_rows_of_a_topic_that_was_made_anew_are_no_repeats(settings: Settings) -> None:
    """The same offsets within ClickHouse's window of tokens."""

    async def story() -> int:
        async with _proxy(settings) as trouble:
            for expected in (3, 6):
                await _say(settings, attempts(3))
                async with _recording(settings, trouble.url) as watched:
                    await watched.until(lambda: watched.recorder.rows_written == 3)
                    rows = watched.rows()
                assert rows == expected
                async with admin_client(settings) as admin:
                    await admin.delete_topics(list(settings.topics.recorded))
                while await _left(settings):
                    await SystemClock().sleep(0.1)
                await ensure_topics(settings)
            return rows

    assert asyncio.run(story()) == 6


@pytest.mark.parametrize("away", [False, True], ids=["running", "away meanwhile"])
def test_a_topic_made_anew_is_read_from_where_it_begins(settings: Settings, away: bool) -> None:
    """Its new records reach beyond the offset at which the reader of the old one stands."""

    async def story() -> int:
        url = settings.clickhouse_url.get_secret_value() if settings.clickhouse_url else ""
        one = settings.model_copy(update={"hybrid_instance_id": f"r-{uuid.uuid4().hex[:8]}"})
        await _say(one, attempts(30))
        async with _recording(one, url) as watched:
            await watched.until(lambda: watched.recorder.rows_written == 30)
            stood = await _committed(one)
            if not away:
                await _made_anew(one)
                await _say(one, attempts(80))
                await watched.until(lambda: watched.rows() == 110)
        if away:
            await _made_anew(one)
            # As a recorder does that commits what it had at hand when the topic went.
            await _commit(one, stood)
            await _say(one, attempts(80))
            async with _recording(one, url) as watched:
                await watched.until(lambda: watched.rows() == 110)
        await soon(partial(recorder_lag, one), lambda lag: lag == 0, within_s=20)
        return watched.recorder.rows_set_aside

    assert asyncio.run(story()) == 0


async def _made_anew(settings: Settings) -> None:
    async with admin_client(settings) as admin:
        await admin.delete_topics([settings.topics.attempts])
        await soon(admin.list_topics, lambda names: settings.topics.attempts not in names)
    await ensure_topics(settings)


async def _committed(settings: Settings) -> dict[TopicPartition, OffsetAndMetadata]:
    async with admin_client(settings) as admin:
        found = await soon(partial(admin.list_consumer_group_offsets, settings.recorder_group), len)
    return {tp: one for tp, one in found.items() if tp.topic == settings.topics.attempts}


async def _commit(settings: Settings, offsets: dict[TopicPartition, OffsetAndMetadata]) -> None:
    """Commit from within the group, which nobody else is in."""
    async with started(consumer(settings, group_id=settings.recorder_group)) as reader:
        reader.subscribe([settings.topics.attempts])
        await soon(reader.getmany, lambda _found: bool(reader.assignment()))
        await reader.commit(offsets)


async def _left(settings: Settings) -> set[str]:
    async with admin_client(settings) as admin:
        return set(settings.topics.recorded) & set(await admin.list_topics())


def test_a_record_that_is_none_of_ours_is_named_and_passed_over(settings: Settings) -> None:
    async def story() -> list[dict[str, Any]]:
        async with _proxy(settings) as trouble:
            async with producer(settings) as client:
                await client.send_and_wait(settings.topics.attempts, b"{}", partition=1)
            await _say(settings, attempts(2))
            async with _recording(settings, trouble.url) as watched:
                await watched.until(lambda: watched.rows() == 2)
                return watched.said

    said = asyncio.run(story())
    (one,) = [one for one in said if one["event"] == LogEvent.ROW_REFUSED]
    assert str(one["record"]).endswith(".attempts/1/0")


def test_while_clickhouse_is_away_the_lag_says_so_and_then_all_is_there(settings: Settings) -> None:
    async def story() -> Recorder:
        async with _proxy(settings) as trouble, _recording(settings, trouble.url) as watched:
            await watched.until(lambda: watched.recorder.ready)
            trouble.down = True
            for _ in range(3):
                await _say(settings, attempts(500))
            await watched.until(lambda: watched.recorder.held_up_s > 0)
            assert watched.recorder.held_up_by.startswith("ClickHouse at http://127.0.0.1")
            assert watched.rows() == 0
            await watched.until(lambda: watched.recorder.lag == 1500)
            trouble.down = False
            await watched.until(lambda: watched.rows() == 1500)
            await watched.until(lambda: watched.recorder.lag == 0 == watched.recorder.held_up_s)
            return watched.recorder

    recorder = asyncio.run(story())
    assert recorder.rows_set_aside == 0


@pytest.mark.parametrize("point", ["recorder_before_insert", "recorder_after_insert"])
def test_killed_around_an_insert_a_recorder_loses_and_doubles_nothing(
    settings: Settings, stack: RunningStack, point: str
) -> None:
    url = settings.clickhouse_url.get_secret_value() if settings.clickhouse_url else ""
    environment = {
        **stack.stack.environment(),
        "CLICKHOUSE_URL": url,
        "HYBRID_TOPIC_PREFIX": settings.hybrid_topic_prefix,
        "HYBRID_METRICS_PORT": "0",
        "HYBRID_INSTANCE_ID": f"{settings.hybrid_topic_prefix}-recorder",
    }
    asyncio.run(_say(settings, attempts(30)))
    killed = hybrid("recorder", environment={**environment, "HYBRID_FAIL_POINT": point})
    assert killed.returncode == -9
    store = ClickHouse(settings)
    assert store.rows("SELECT count() FROM provider_attempts")[1] == [
        (30 if point == "recorder_after_insert" else 0,)
    ]
    store.close()

    async def story() -> int:
        again = settings.model_copy(
            update={"hybrid_instance_id": environment["HYBRID_INSTANCE_ID"]}
        )
        async with _recording(again, url) as watched:
            await watched.until(lambda: watched.recorder.rows_written == 30)
            return watched.rows()

    assert asyncio.run(story()) == 30


def test_what_clickhouse_lost_is_recorded_again_from_kafka(
    settings: Settings, stack: RunningStack
) -> None:
    """A database that is gone, then rows that are there already, and a record that is none."""
    url = settings.clickhouse_url.get_secret_value() if settings.clickhouse_url else ""
    environment = {
        **stack.stack.environment(),
        "CLICKHOUSE_URL": url,
        "HYBRID_TOPIC_PREFIX": settings.hybrid_topic_prefix,
    }
    asyncio.run(_say(settings, attempts(40)))
    found = json.loads(hybrid("doctor", "--format", "json", environment=environment).stdout)
    (recorder,) = [row for row in found if row["check"] == "recorder"]
    assert recorder["state"] == "warning"
    assert "nothing has been recorded yet" in recorder["detail"]
    store = ClickHouse(settings)
    store.command_outside(f"DROP DATABASE {store.database}")
    for _ in range(2):
        done = hybrid("costs", "rebuild", environment=environment)
        assert done.returncode == 0, done.stderr
        assert "provider_attempts │   40" in done.stdout
        assert store.rows("SELECT sum(attempts), toFloat64(sum(cost_usd)) FROM costs_daily")[1] == [
            (40, pytest.approx(0.4))
        ]
    done = hybrid("costs", "rebuild", "--since", "2100-01-01", environment=environment)
    assert (done.returncode, "Kafka has no record since then" in done.stdout) == (0, True)
    elsewhere = {**environment, "HYBRID_TOPIC_PREFIX": "nosuch"}
    done = hybrid("costs", "rebuild", environment=elsewhere)
    assert done.returncode == 2  # as every command that finds its topics missing
    assert "topics are missing: nosuch.attempts" in done.stderr
    bad = an_attempt().model_copy(update={"attempt_id": "no-uuid"})
    asyncio.run(_say(settings, [bad]))
    done = hybrid("costs", "rebuild", "--since", "1h", environment=environment)
    assert done.returncode == 1
    assert "1 records are no rows" in done.stderr
    store.close()

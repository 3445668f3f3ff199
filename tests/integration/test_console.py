"""The console's pages on a running stack; what takes longer is in tests/slow/test_console.py."""

import asyncio
import uuid
from datetime import UTC, datetime

import pytest
from pydantic import SecretStr

from hybrid.stack.process import free_port
from schemas.events import Alert
from schemas.settings import Settings
from streams.alerts.delivering import delivering
from streams.kafka.clients import consumer, partitions_of, started
from streams.kafka.topics import ensure_topics
from streams.publishing.intents import open_producer
from streams.store.clickhouse import ClickHouse, ClickHouseRefusedError
from tests.chaos.running import RunningStack
from tests.integration.visiting import Visitor, sign_in, visit

pytestmark = pytest.mark.integration
#: To the millisecond, as records have it; topics forget what is older.
AT = datetime.now(UTC).replace(microsecond=0)


def test_the_first_page_tells_how_things_stand_and_is_live(stack: RunningStack) -> None:
    async def scene(visitor: Visitor, links: list[str]) -> None:
        await sign_in(visitor, links)
        async with visitor.client.get("/live/now") as stream:
            assert stream.headers["Content-Type"] == "text/event-stream"
            event = (await stream.content.readuntil(b"\n\n")).decode()
        lines = event.splitlines()
        assert all(one.startswith(("data: ", "retry: ")) for one in lines if one)
        assert f"{stack.settings.topics.intents}</dt>" in event
        assert "2 of 2 workers" in event
        page = await visitor.get("/")
        assert 'hx-sse:connect="/live/now"' in page
        assert "was spent today</a> (UTC)" in page

    visit(stack.settings, stack.stack.addresses()["metrics"], scene)


def test_without_kafka_and_clickhouse_every_page_says_so_in_a_sentence() -> None:
    gone = free_port()
    settings = Settings(
        kafka_bootstrap_servers=f"127.0.0.1:{gone}",
        clickhouse_url=SecretStr(f"http://127.0.0.1:{gone}/hybrid"),
    )

    async def scene(visitor: Visitor, _links: list[str]) -> None:
        first = await visitor.get("/")
        assert "not all is seen" in first
        letters = await visitor.get("/letters?tenant=x", status=503)
        assert f"127.0.0.1:{gone}" in letters
        assert "hybrid doctor" in letters
        for page in (first, letters):
            assert "Traceback" not in page

    visit(settings, [], scene)


def test_a_page_reads_clickhouse_and_cannot_change_it(
    store: ClickHouse, database: Settings
) -> None:
    reads = ClickHouse(database, reads=True, most_rows=1_000)
    try:
        assert reads.rows("SELECT count() FROM provider_attempts")[1] == [(0,)]
        for statement in (
            "DROP TABLE provider_attempts",
            "INSERT INTO workflow_events (event_id) VALUES ('x')",
            "ALTER TABLE provider_attempts DELETE WHERE 1",
        ):
            with pytest.raises(ClickHouseRefusedError):
                reads.command(statement)
        with pytest.raises(ClickHouseRefusedError):
            reads.rows("SELECT sum(number) FROM numbers(100000)")
    finally:
        reads.close()
    store.command("INSERT INTO workflow_events (event_id) VALUES ('x')")  # others still may


def test_what_the_webhook_was_given_and_what_waits_for_it_is_known(stack: RunningStack) -> None:
    async def scene() -> None:
        assert not (await delivering(settings)).is_known
        await say(1, "a")
        reader = consumer(settings, group_id=f"{prefix}.alerts", enable_auto_commit=False)
        async with started(reader):
            tps = await partitions_of(reader, topic)
            reader.assign(tps)
            await reader.commit(await reader.end_offsets(tps))
        done = await delivering(settings)
        assert (done.is_known, done.behind, done.newest_at) == (True, 0, AT)
        await say(2, "b")
        later = await delivering(settings)
        assert (later.behind, later.newest_at) == (2, AT)

    async def say(count: int, name: str) -> None:
        async with open_producer(settings) as client:
            for _ in range(count):
                alert = Alert(alert_id=name, name=name, message="slow", raised_at=AT)
                stamp = int(AT.timestamp() * 1000)
                await client.send_and_wait(topic, alert.to_json(), key=b"t", timestamp_ms=stamp)

    prefix = f"w{uuid.uuid4().hex[:8]}"
    settings = stack.settings.model_copy(update={"hybrid_topic_prefix": prefix})
    topic = settings.topics.alerts
    asyncio.run(ensure_topics(settings))
    asyncio.run(scene())

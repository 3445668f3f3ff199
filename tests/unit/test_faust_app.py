"""What of Faust's own machinery is switched off, and why."""

import asyncio
import time
from types import SimpleNamespace

from aiokafka import AIOKafkaConsumer, TopicPartition

from agents.clock import SystemClock
from schemas.settings import Settings
from streams.membership.faust_app import TP, App, build_app


def an_app() -> App:
    return build_app(
        Settings(kafka_bootstrap_servers="127.0.0.1:1"),
        clock=SystemClock(),
        put=lambda _incoming: None,
        heard=lambda: None,
        fetched=lambda: None,
        committable=dict,
        committed=lambda _offsets: None,
    )


def test_a_partition_whose_position_is_being_reset_ends_no_worker() -> None:
    """Faust looks at all partitions from time to time; at one like this it failed (seen)."""

    async def look() -> None:
        app = an_app()
        thread = app.consumer._thread
        consumer = AIOKafkaConsumer()
        consumer.assign([TopicPartition("t", 0)])
        state = consumer._subscription.subscription.assignment.state_value(TopicPartition("t", 0))
        state.timestamp = time.monotonic() * 1000  # it has been fetched from
        assert not state.has_valid_position
        thread._consumer, thread.time_started = consumer, time.monotonic()
        consumer._fetcher = SimpleNamespace(_subscriptions=consumer._subscription)
        thread.verify_event_path(time.monotonic(), TP("t", 0))
        consumer._closed = True

    asyncio.run(look())


def test_a_coordinator_that_does_not_answer_ends_nothing() -> None:
    """Faust took a seek after a rebalance that took over 20 s for its own end, and never resumed.

    Seen with a frozen broker: workers stayed in their group, lanes open, and fetched nothing more.
    """

    async def wait() -> None:
        app, loop, ahead_s = an_app(), asyncio.get_running_loop(), 0.0
        now = loop.time
        loop.time = lambda: now() + ahead_s  # type: ignore[method-assign]
        sought = asyncio.Event()
        recovery = app.tables.recovery
        seeking = asyncio.ensure_future(
            recovery._wait(sought.wait(), timeout=app.conf.broker_request_timeout)
        )
        await asyncio.sleep(0.01)
        ahead_s = 60.0
        await asyncio.sleep(0.01)
        assert not seeking.done()
        sought.set()
        await seeking

    asyncio.run(wait())

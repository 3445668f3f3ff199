"""What of Faust's own machinery is switched off, and why."""

import asyncio
import time
from types import SimpleNamespace

from aiokafka import AIOKafkaConsumer, TopicPartition

from agents.clock import SystemClock
from schemas.settings import Settings
from streams.membership.faust_app import TP, build_app


def test_a_partition_whose_position_is_being_reset_ends_no_worker() -> None:
    """Faust looks at all partitions from time to time; at one like this it failed (seen)."""

    async def look() -> None:
        app = build_app(
            Settings(kafka_bootstrap_servers="127.0.0.1:1"),
            clock=SystemClock(),
            put=lambda _incoming: None,
            heard=lambda: None,
            fetched=lambda: None,
            committable=dict,
            committed=lambda _offsets: None,
        )
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

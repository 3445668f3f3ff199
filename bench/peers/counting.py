"""What a consumer sees of the results: how many, whose, and when; committed records only."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from aiokafka import AIOKafkaConsumer, TopicPartition

from bench.peers.ground import PARTITIONS

__all__ = ["Results", "counted_results"]


class Results:
    """The results so far, by their keys."""

    def __init__(self) -> None:
        """Begin with none."""
        self.seen_at: dict[bytes, float] = {}
        self.again = 0
        """Results of an intent that had one already."""

    def __len__(self) -> int:
        """Give how many intents have a result."""
        return len(self.seen_at)

    def take(self, key: bytes, at: float) -> None:
        """Count one result, read at a `time.time()`."""
        if key in self.seen_at:
            self.again += 1
        else:
            self.seen_at[key] = at


@asynccontextmanager
async def counted_results(servers: str, topic: str) -> AsyncIterator[Results]:
    """Read the topic from its begin while the context lasts."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=servers,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        fetch_max_wait_ms=100,
        enable_auto_commit=False,
    )
    await consumer.start()
    results = Results()

    async def read() -> None:
        while True:
            batches = await consumer.getmany(timeout_ms=100)
            now = time.time()
            for records in batches.values():
                for record in records:
                    results.take(record.key, now)

    try:
        consumer.assign([TopicPartition(topic, number) for number in range(PARTITIONS)])
        reading = asyncio.create_task(read())
        try:
            yield results
            if reading.done():
                reading.result()  # what ended it
        finally:
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading
    finally:
        await consumer.stop()

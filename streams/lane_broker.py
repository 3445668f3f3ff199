"""What a lane needs of the broker; the real one, and the shape that a model of it must have."""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Protocol

from schemas.settings import Settings
from streams.kafka import producer
from streams.ledger import Ledger, read_ledger

__all__ = ["KafkaLaneBroker", "LaneBroker", "LaneProducer"]

START_LIMIT_S = 30
TRANSACTION_TIMEOUT_MS = 60_000


class LaneProducer(Protocol):
    """A transactional producer that has been started."""

    async def begin_transaction(self) -> None:
        """Begin; raises ProducerFenced, KafkaError."""
        ...

    async def send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        partition: int | None,
        headers: Sequence[tuple[str, bytes]],
    ) -> Awaitable[object]:
        """Queue a record; the awaitable ends when the broker has it."""
        ...

    async def commit_transaction(self) -> None:
        """Commit; raises ProducerFenced, KafkaError."""
        ...

    async def stop(self) -> None:
        """Disconnect."""
        ...


class LaneBroker(Protocol):
    """The broker, as one lane sees it."""

    async def open_producer(self, lane: int) -> LaneProducer:
        """Start the lane's producer, which fences any earlier owner; raises KafkaError."""
        ...

    async def read_ledger(self, lane: int, ledger: Ledger) -> int:
        """Read the ledger on from where it stands to its end; gives the records read."""
        ...


class KafkaLaneBroker:
    """The real one."""

    def __init__(self, settings: Settings) -> None:
        """Keep the settings."""
        self._settings = settings

    async def open_producer(self, lane: int) -> LaneProducer:
        """Start a producer under the lane's own transactional id (not the worker's)."""
        client = producer(
            self._settings,
            transactional_id=f"{self._settings.hybrid_topic_prefix}.lane.{lane}",
            transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
            linger_ms=0,
        )
        try:
            async with asyncio.timeout(START_LIMIT_S):
                await client.start()
        except BaseException:
            await client.stop()
            raise
        started: LaneProducer = client
        return started

    async def read_ledger(self, lane: int, ledger: Ledger) -> int:
        """Read the ledger topic; raises KafkaError, TimeoutError."""
        return await read_ledger(self._settings, lane, ledger)

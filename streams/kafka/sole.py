"""A service that one worker does for all: its transactional id fences whoever did it before."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from aiokafka import AIOKafkaProducer
from aiokafka.errors import ProducerFenced

from agents.clock import Clock
from schemas.settings import Settings
from streams.kafka.clients import producer
from streams.kafka.patience import kept_running

__all__ = ["STEP_LIMIT_S", "fencing", "keep_sole"]

#: One step at the broker: to start, or one transaction.
STEP_LIMIT_S = 20
RETRY_S = 2.0


async def keep_sole(
    once: Callable[[], Awaitable[None]],
    settings: Settings,
    clock: Clock,
    *,
    lease_holds: Callable[[], bool],
    tell: Callable[[BaseException], None],
) -> None:
    """Run a service until cancelled, which is when its lane is somebody else's.

    An error is told, and starts it anew, also fencing: it does not end in silence. Who was fenced
    waits as long as a rebalance needs to take the lane away; then it was no other worker. A broker
    also fences who was slow. Without the lease another worker may be at it.
    """

    async def ended(error: BaseException) -> None:
        tell(error)
        if isinstance(error, ProducerFenced):
            await clock.sleep(settings.hybrid_session_timeout)
            while not lease_holds():
                await clock.sleep(RETRY_S)

    await kept_running(
        once, clock, passes=lambda error: isinstance(error, Exception), tell=ended, pause_s=RETRY_S
    )


@asynccontextmanager
async def fencing(settings: Settings, transactional_id: str) -> AsyncIterator[AIOKafkaProducer]:
    """Start the producer of a service, which fences an earlier one; it is thrown away at the end.

    Raises KafkaError, TimeoutError.
    """
    client = producer(settings, transactional_id=transactional_id, transaction_timeout_ms=60_000)
    try:
        async with asyncio.timeout(STEP_LIMIT_S):
            await client.start()
        yield client
    finally:
        with suppress(Exception):  # it is thrown away, failed or not
            await asyncio.wait_for(client.stop(), 3)

"""Kafka clients as the settings want them: security, limits, isolation."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, KafkaError, NodeNotReadyError

from schemas.settings import Settings
from streams.kafka.diagnosis import BrokerUnavailableError, unavailable
from streams.kafka.parsing import read_any_header_name
from streams.kafka.partitioning import partition_of
from streams.kafka.security import security_options

__all__ = [
    "FETCHER_LOOKS_MS",
    "BrokerUnavailableError",
    "admin_client",
    "connection_options",
    "consumer",
    "partitions_of",
    "producer",
    "producer_options",
    "reached",
    "started",
]

#: A broker that does not answer within this is reported, not waited for.
CONNECT_TIMEOUT_S = 15
#: aiokafka's fetcher looks again this often without a reason (of itself five times a second, which
#: is a third of what an idle worker costs). What comes in, a seek and a resume wake it at once.
FETCHER_LOOKS_MS = 1_000


def connection_options(settings: Settings) -> dict[str, Any]:
    """Give the options that every client shares; raises SecurityError."""
    return {"bootstrap_servers": settings.kafka_bootstrap_servers, **security_options(settings)}


def producer(settings: Settings, **options: Any) -> AIOKafkaProducer:  # noqa: ANN401
    """Build an idempotent producer that may write our largest record."""
    return AIOKafkaProducer(**producer_options(settings, **options))


def producer_options(settings: Settings, **options: Any) -> dict[str, Any]:  # noqa: ANN401
    """Give what a producer of ours is built with; raises SecurityError."""
    return {
        **connection_options(settings),
        "enable_idempotence": True,
        "acks": "all",
        "max_request_size": settings.max_record_bytes,
        "request_timeout_ms": 20_000,
        "partitioner": partition_of,
        **options,
    }


def consumer(settings: Settings, **options: Any) -> AIOKafkaConsumer:  # noqa: ANN401
    """Build a read_committed consumer without group that reads from the beginning."""
    read_any_header_name()
    return AIOKafkaConsumer(
        **connection_options(settings),
        **{
            "isolation_level": "read_committed",
            # "latest" races with seek_to_beginning and reads nothing, without a word.
            "auto_offset_reset": "earliest",
            "enable_auto_commit": False,
            "request_timeout_ms": 20_000,
            "consumer_timeout_ms": FETCHER_LOOKS_MS,
            "max_partition_fetch_bytes": max(1_048_576, settings.max_record_bytes),
            **options,
        },
    )


@asynccontextmanager
async def started(client: AIOKafkaConsumer) -> AsyncIterator[AIOKafkaConsumer]:
    """Start a consumer and stop it whatever happens; raises KafkaError, TimeoutError."""
    try:
        await asyncio.wait_for(client.start(), CONNECT_TIMEOUT_S)
        yield client
    finally:
        await client.stop()


@asynccontextmanager
async def reached(settings: Settings, client: Any, *, within_s: float) -> AsyncIterator[Any]:  # noqa: ANN401
    """Start a command's consumer or producer and stop it whatever happens.

    Raises BrokerUnavailableError, which says why none was reached.
    """
    try:
        await asyncio.wait_for(client.start(), within_s)
    except (KafkaError, TimeoutError, OSError) as error:
        await client.stop()
        raise await unavailable(settings, error) from error
    except asyncio.CancelledError:  # whoever asked has left
        await client.stop()
        raise
    try:
        yield client
    finally:
        await client.stop()


class _Admin(AIOKafkaAdminClient):  # type: ignore[misc] # the library has no types
    """Asks a broker that answers: the library's own takes any, also one that has just died."""

    async def _send_request(self, request: Any, node_id: int | None = None) -> Any:  # noqa: ANN401
        if node_id is not None:
            return await super()._send_request(request, node_id)
        failed: KafkaError = NodeNotReadyError("no broker is known")
        for broker in self._client.cluster.brokers():
            try:
                return await self._client.send(broker.nodeId, request)
            except (NodeNotReadyError, KafkaConnectionError) as error:
                failed = error
        raise failed


@asynccontextmanager
async def admin_client(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """Open an admin client; raises BrokerUnavailableError."""
    client = _Admin(**connection_options(settings), request_timeout_ms=15_000)
    try:
        await client.start()
    except (KafkaError, OSError, ValueError) as error:
        await client.close()
        raise await unavailable(settings, error) from error
    try:
        yield client
    finally:
        await client.close()


async def partitions_of(client: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
    """Give a topic's partitions; empty when the topic does not exist."""
    numbers = client.partitions_for_topic(topic)
    if not numbers:
        await client._client.force_metadata_update()  # noqa: SLF001 - no public way
        numbers = client.partitions_for_topic(topic) or set()
    return [TopicPartition(topic, number) for number in sorted(numbers)]

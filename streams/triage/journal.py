"""Writing what operators do about work: in one transaction each, in partition 0."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import TopicAuthorizationFailedError

from schemas.base import Message
from schemas.operations import (
    CancelRecord,
    ControlRecord,
    DismissalRecord,
    HoldRecord,
    ImportRecord,
    PlanPart,
    PlanRecord,
    ProgressRecord,
    RevealRecord,
    RunRecord,
)
from schemas.settings import Settings
from streams.kafka.clients import producer, reached
from streams.kafka.passing import queued
from streams.kafka.presence import require_there
from streams.kafka.rights import refused_write, replay_rights, require_rights
from streams.messages.records import VERSION, OutRecord

__all__ = [
    "operation_record",
    "send_together",
    "transactional",
    "transactional_name",
    "write_operations",
]

#: A transaction is open for milliseconds; what a killed command leaves open holds workers up for
#: this long at most, and ten seconds more until the broker looks.
TRANSACTION_TIMEOUT_MS = 10_000
#: So long a broker has for one transaction.
SEND_LIMIT_S = 30


def operation_record(settings: Settings, message: Message) -> OutRecord:
    """Build a record of something that was done; the newest with a key is the one that is kept."""
    match message:
        case PlanRecord() | RunRecord() | ProgressRecord() | ControlRecord():
            key = f"{message.kind}/{message.plan_id}"
        case PlanPart():
            key = f"part/{message.plan_id}/{message.number}"
        case DismissalRecord():
            at = message.at.isoformat()
            key = f"dismissal/{at}/{message.partition}/{message.offsets[0]}"
        case HoldRecord():
            key = f"hold/{message.what.value}/{message.name}"
        case ImportRecord():
            key = f"import/{message.import_id}/{message.number}"
        case CancelRecord():
            key = f"cancel/{message.cancel_id}"
        case RevealRecord():
            key = f"reveal/{message.at.isoformat()}/{message.id}"
        case _:
            raise TypeError(type(message).__name__)
    topic = settings.topics.operations
    return OutRecord(topic, key.encode(), message.to_json(), (VERSION,), partition=0)


async def write_operations(settings: Settings, messages: Iterable[Message]) -> None:
    """Write records in their order, the last of them being the one that makes them count.

    Raises BrokerUnavailableError, RightsError, TopicsError, KafkaError.
    """
    topic = settings.topics.operations
    await require_there(settings, [topic])
    async with _open(settings, [topic]) as client:
        for message in messages:
            record = operation_record(settings, message)
            await (await queued(client, record, record.headers))


def transactional_name(settings: Settings, plan_id: str) -> str:
    """Name the producer of a plan's run, or of imports, to brokers."""
    return f"{settings.hybrid_topic_prefix}.replay.{plan_id}"


@asynccontextmanager
async def transactional(settings: Settings, plan_id: str) -> AsyncIterator[AIOKafkaProducer]:
    """Open the producer of a plan's run, or of imports: it fences another, and ends what that left.

    Raises BrokerUnavailableError, RightsError, TopicsError.
    """
    topics = settings.topics
    name = transactional_name(settings, plan_id)
    written = [*topics.sources[:2], topics.operations]
    await require_there(settings, written)
    await require_rights(settings, replay_rights(settings, name))
    options = {"transactional_id": name, "transaction_timeout_ms": TRANSACTION_TIMEOUT_MS}
    async with _open(settings, written, **options) as client:
        yield client


@asynccontextmanager
async def _open(
    settings: Settings,
    written: Sequence[str],
    **options: Any,  # noqa: ANN401
) -> AsyncIterator[AIOKafkaProducer]:
    """Open a producer; raises BrokerUnavailableError, and RightsError for what it writes."""
    fresh = producer(settings, linger_ms=5, **options)
    async with reached(settings, fresh, within_s=SEND_LIMIT_S) as client:
        try:
            yield client
        except TopicAuthorizationFailedError as error:
            raise refused_write(settings, error, written) from error


async def send_together(client: AIOKafkaProducer, records: Iterable[OutRecord]) -> None:
    """Write records in one transaction; raises ProducerFenced, KafkaError, TimeoutError."""
    async with asyncio.timeout(SEND_LIMIT_S), client.transaction():
        await asyncio.gather(*[await queued(client, one, one.headers) for one in records])

"""What the pacer must remember: who got something when, and what went out.

It is read back from the deliveries themselves, whenever a pacer starts.
"""

import asyncio
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError
from pydantic import ValidationError

from agents.log import Log
from schemas.events import Delivery
from schemas.settings import Settings
from schemas.vocabulary import LogEvent
from streams.deliveries.pacing import Pace, PacedQueue
from streams.kafka.clients import consumer, partitions_of, started
from streams.kafka.ends import Ends, read_to_ends, write_ends

__all__ = ["Due", "remember"]

#: Reading back may take this long, in seconds, and so may finding out how far.
LIMIT_S = 20


@dataclass(frozen=True, slots=True, eq=False)
class Due:
    """A delivery in line, and where its result is: it is read again when its turn comes."""

    user_id: str
    delivery_id: str
    tp: TopicPartition
    offset: int


async def remember(
    settings: Settings, client: AIOKafkaProducer, *, log: Log
) -> tuple[PacedQueue[Due], set[str]]:
    """Give the pace of each user, and the ids of what went out; `client` is the pacer's own.

    When that fails, nothing goes out (raises KafkaError, TimeoutError, OSError); or, where
    HYBRID_DELIVERY_FAIL_OPEN says so, everything does as if nothing had gone out before, with a
    warning.
    """
    pace = Pace(
        settings.hybrid_delivery_spacing,
        settings.hybrid_delivery_per_minute,
        settings.hybrid_delivery_per_hour,
    )
    queue: PacedQueue[Due] = PacedQueue(pace, user_of=lambda due: due.user_id)
    out: set[str] = set()
    try:
        async with started(consumer(settings)) as reader:
            ends = await _ends(client, await partitions_of(reader, settings.topics.deliveries))
            await _read_back(reader, ends, queue, out)
    except (KafkaError, TimeoutError, OSError) as error:
        if not settings.hybrid_delivery_fail_open:
            raise
        log(LogEvent.DELIVERIES_UNPACED, level="warning", error=type(error).__name__)
    return queue, out


async def _ends(client: AIOKafkaProducer, tps: list[TopicPartition]) -> Ends:
    """Find out what must be read back; what is written for that is nobody's to see."""
    async with asyncio.timeout(LIMIT_S):
        await client.begin_transaction()
        ends = await write_ends(client, tps)
        await client.abort_transaction()
    return ends


async def _read_back(
    reader: AIOKafkaConsumer, ends: Ends, queue: PacedQueue[Due], out: set[str]
) -> None:
    def take(record: ConsumerRecord) -> None:
        delivery = Delivery.model_validate_json(record.value or b"")
        out.add(delivery.delivery_id)
        queue.sent(delivery.user_id, delivery.due_at.timestamp())

    def pass_over(_record: ConsumerRecord, error: Exception) -> None:
        if not isinstance(error, ValidationError):  # that is somebody else's record
            raise error

    reader.assign(list(ends))
    await reader.seek_to_beginning(*ends)
    what = "the deliveries cannot be read to their end"
    async with asyncio.timeout(LIMIT_S):
        await read_to_ends(reader, ends, take, what=what, on_foreign=pass_over)

"""Records on their way in and out: as they were read, as they are queued, and passed over."""

from collections.abc import Awaitable, Sequence

from aiokafka import ConsumerRecord

from agents.log import Log
from schemas.vocabulary import LogEvent
from streams.kafka.ends import Sender
from streams.messages.records import Incoming, OutRecord, readable_headers

__all__ = ["incoming_of", "queued", "say_passed_over"]


def incoming_of(record: ConsumerRecord) -> Incoming:
    """Take a record as it was read; one without a moment is of 1970's first."""
    return Incoming(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp_ms=max(0, record.timestamp),
        key=record.key,
        value=record.value,
        headers=readable_headers(record.headers),
        written_ms=record.timestamp,
    )


async def queued(
    client: Sender, record: OutRecord, headers: Sequence[tuple[str, bytes]]
) -> Awaitable[object]:
    """Queue a record with these headers; the awaitable ends when the broker has it.

    It must be awaited: aiokafka commits a transaction of which a record was refused all the same.
    """
    sent: Awaitable[object] = await client.send(
        record.topic,
        value=record.value,
        key=record.key,
        partition=record.partition,
        headers=list(headers),  # aiokafka takes no other sequence
    )
    return sent


def say_passed_over(log: Log, record: ConsumerRecord, error: Exception) -> None:
    """Say that a record in a topic of ours is none of ours; nothing of it is believed."""
    log(
        LogEvent.RECORD_PASSED_OVER,
        level="warning",
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        error=type(error).__name__,
    )

"""Reading result topics from the command line: read_committed, from a moment on, with an end."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from schemas.settings import Settings
from streams.kafka.clients import consumer, partitions_of
from streams.kafka.diagnosis import unavailable

__all__ = ["read_topic"]


async def read_topic(
    settings: Settings,
    topic: str,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    follow: bool = False,
) -> AsyncIterator[ConsumerRecord]:
    """Give a topic's records; ends at what was its end at the start unless `follow`.

    Order: by partition as fetched; raises BrokerUnavailableError.
    """
    client = consumer(settings)
    try:
        await asyncio.wait_for(client.start(), 20)
    except (KafkaError, TimeoutError, OSError) as error:
        await client.stop()
        raise await unavailable(settings, error) from error
    try:
        partitions = await partitions_of(client, topic)
        if not partitions:
            return
        client.assign(partitions)
        ends = await client.end_offsets(partitions)
        await _seek(client, partitions, since, ends)
        left = {tp for tp in partitions if await client.position(tp) < ends[tp]}
        while follow or left:
            batches = await client.getmany(timeout_ms=500, max_records=1000)
            for tp, records in batches.items():
                for record in records:
                    if not follow and record.offset >= ends[tp]:
                        break
                    if until is not None and record.timestamp > until.timestamp() * 1000:
                        continue
                    yield record
            if not follow:
                left = {tp for tp in left if await client.position(tp) < ends[tp]}
    finally:
        await client.stop()


async def _seek(
    client: object,
    partitions: list[TopicPartition],
    since: datetime | None,
    ends: dict[TopicPartition, int],
) -> None:
    if since is None:
        await client.seek_to_beginning(*partitions)  # type: ignore[attr-defined]
        return
    moment = int(since.timestamp() * 1000)
    found = await client.offsets_for_times(dict.fromkeys(partitions, moment))  # type: ignore[attr-defined]
    for tp in partitions:
        at = found.get(tp)
        client.seek(tp, at.offset if at else ends[tp])  # type: ignore[attr-defined]

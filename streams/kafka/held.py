"""Partitions that somebody's open transaction holds up: nothing behind it is read until it ends."""

import asyncio
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.settings import Settings
from streams.kafka.clients import consumer, partitions_of, started

__all__ = ["HeldUp", "held_up"]

#: Transactions of lanes and of upstream systems that are well are shorter.
LOOK_AGAIN_S = 3.0


@dataclass(frozen=True, slots=True)
class HeldUp:
    """A partition whose readers do not get on: where they stand, and where its records end."""

    topic: str
    partition: int
    stable: int
    end: int


async def held_up(settings: Settings) -> list[HeldUp]:
    """Give the source partitions that an open transaction has held up for some seconds.

    Raises KafkaError, TimeoutError.
    """
    async with (
        started(consumer(settings)) as reader,
        started(consumer(settings, isolation_level="read_uncommitted")) as end_reader,
    ):
        before = await _behind(settings, reader, end_reader)
        if not before:
            return []
        await asyncio.sleep(LOOK_AGAIN_S)  # noqa: TID251 - a command's own look, in real time
        after = await _behind(settings, reader, end_reader)
    return [
        HeldUp(tp.topic, tp.partition, stable, end)
        for tp, (stable, end) in sorted(after.items())
        if tp in before and before[tp][0] == stable
    ]


async def _behind(
    settings: Settings, reader: AIOKafkaConsumer, end_reader: AIOKafkaConsumer
) -> dict[TopicPartition, tuple[int, int]]:
    """Give the last stable offset and the end where they differ."""
    tps = [tp for topic in settings.topics.sources for tp in await partitions_of(end_reader, topic)]
    stable = await reader.end_offsets(tps)
    ends = await end_reader.end_offsets(tps)
    return {tp: (stable[tp], ends[tp]) for tp in tps if stable[tp] < ends[tp]}

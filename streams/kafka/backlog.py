"""What a consumer group has not committed yet: which places, and the records there."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from schemas.settings import Settings
from streams.kafka.awaiting import coordinator_of
from streams.kafka.clients import admin_client, partitions_of
from streams.kafka.ends import read_to_ends

__all__ = [
    "Places",
    "committed_offsets",
    "lines_of",
    "partitions_in",
    "places_behind",
    "read_places",
]

#: partition → the first offset that is meant, and the one behind the last
Places = Mapping[TopicPartition, tuple[int, int]]


async def committed_offsets(settings: Settings, group: str) -> dict[TopicPartition, int]:
    """Give what a group has committed; raises BrokerUnavailableError, RightsError, KafkaError."""
    async with admin_client(settings) as admin:
        node = await coordinator_of(settings, admin, group)
        found = await admin.list_consumer_group_offsets(group, group_coordinator_id=node)
    return {tp: one.offset for tp, one in found.items() if one.offset >= 0}


async def partitions_in(
    reader: AIOKafkaConsumer, topics: Iterable[str]
) -> dict[str, list[TopicPartition]]:
    """Give the partitions by topic; to be asked before the reader is given any.

    A reader that has partitions knows of no other topic than theirs from its next look on.
    """
    return {topic: await partitions_of(reader, topic) for topic in topics}


async def places_behind(
    reader: AIOKafkaConsumer,
    tps: Sequence[TopicPartition],
    committed: Mapping[TopicPartition, int],
) -> dict[TopicPartition, tuple[int, int]]:
    """Give the places from what is committed, else from the begin, to the end; without empty ones.

    A transaction's marker takes an offset too: where nothing but markers stands there is no record.
    Raises KafkaError.
    """
    if not tps:
        return {}
    begins, ends = await reader.beginning_offsets(tps), await reader.end_offsets(tps)
    found = {tp: (max(begins[tp], committed.get(tp, 0)), ends[tp]) for tp in tps}
    return {tp: (begin, end) for tp, (begin, end) in found.items() if begin < end}


async def lines_of(settings: Settings, reader: AIOKafkaConsumer) -> list[str]:
    """Give the topics in which work can stand: also those of delays that are configured no more.

    A command may not know with which HYBRID_DEFER_DELAYS the workers run.
    """
    sources = settings.topics.sources
    begin = f"{settings.hybrid_topic_prefix}.deferred."
    there = await reader.topics()
    return [
        *sources,
        *sorted(name for name in there if name.startswith(begin) and name not in sources),
    ]


async def read_places(
    reader: AIOKafkaConsumer,
    places: Places,
    take: Callable[[ConsumerRecord], None],
    *,
    limit_s: float,
) -> bool:
    """Give the records of all places to `take`; whether it came to their ends within the limit.

    `take` need not know every record: what it raises is passed over. Raises KafkaError.
    """
    if not places:
        return True
    reader.assign(list(places))
    for tp, (begin, _) in places.items():
        reader.seek(tp, begin)
    ends = {tp: end for tp, (_, end) in places.items()}

    def within(record: ConsumerRecord) -> None:
        if record.offset < ends[TopicPartition(record.topic, record.partition)]:
            take(record)

    try:
        async with asyncio.timeout(limit_s):
            await read_to_ends(
                reader, ends, within, what="the topics", on_foreign=lambda _record, _error: None
            )
    except TimeoutError:
        return False
    return True

"""How far back redelivery reaches: the oldest record of a lane that is not committed.

Kafka delivers again from the committed offset. What it may deliver was written no earlier than the
first record there, whoever has read it since; so that record's moment says what a ledger may forget
(docs/adr/0013). It is asked of the broker, which knows it across owners.
"""

import asyncio
from collections.abc import Iterable, Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.settings import Settings
from streams.kafka.clients import consumer, started
from streams.lanes.ledger import CLOCKS_DIFFER_MS
from streams.messages.moments import EARLIEST_MS

__all__ = ["horizon_ms", "uncommitted_since"]

#: All of it may take this long, in seconds.
LIMIT_S = 30
#: One record of each partition is wanted; a broker gives a whole batch in any case.
FETCH_BYTES = 4096


def horizon_ms(written: Sequence[int], *, now_ms: int) -> int:
    """Give the moment before which nothing that may come again was written.

    `written` are the timestamps of the first uncommitted records, as their producers gave them.
    One that is no moment says nothing: then nothing is forgotten while its record waits.
    """
    sane = (one - CLOCKS_DIFFER_MS if one >= EARLIEST_MS else 0 for one in written)
    return min([now_ms, *sane])


async def uncommitted_since(settings: Settings, lanes: Iterable[int]) -> dict[int, list[int]]:
    """Give the timestamps of the first uncommitted records of some lanes, in ms.

    A source partition of which all is committed has none. Raises KafkaError, TimeoutError.
    """
    found: dict[int, list[int]] = {lane: [] for lane in lanes}
    tps = [TopicPartition(topic, lane) for topic in settings.topics.sources for lane in found]
    options = {"group_id": settings.worker_group, "max_partition_fetch_bytes": FETCH_BYTES}
    async with asyncio.timeout(LIMIT_S), started(consumer(settings, **options)) as reader:
        for tp, timestamp in (await _first_records(reader, tps)).items():
            found[tp.partition].append(timestamp)
    return found


async def _first_records(
    reader: AIOKafkaConsumer, tps: list[TopicPartition]
) -> dict[TopicPartition, int]:
    reader.assign(tps)
    ends, begins = await reader.end_offsets(tps), await reader.beginning_offsets(tps)
    committed = {tp: await reader.committed(tp) or 0 for tp in tps}
    behind = [tp for tp in tps if max(begins[tp], committed[tp]) < ends[tp]]
    reader.assign(behind)
    for tp in behind:
        reader.seek(tp, max(begins[tp], committed[tp]))
    found: dict[TopicPartition, int] = {}
    while behind:
        for tp, records in (await reader.getmany(*behind, timeout_ms=200)).items():
            found[tp] = records[0].timestamp
            reader.pause(tp)
        # What is behind a last marker has no record: it is read to its end, and gives none.
        behind = [tp for tp in behind if tp not in found and await reader.position(tp) < ends[tp]]
    return found

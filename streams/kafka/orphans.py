"""Work that waits where nobody reads: deferred topics of delays that are configured no more."""

import re

from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.settings import Settings
from schemas.topics import duration_name
from streams.kafka.awaiting import coordinator_of
from streams.kafka.clients import admin_client, consumer, partitions_of, started

__all__ = ["orphaned_delays", "what_to_do"]

#: A partition is read for so many seconds, at the most, to tell records from markers.
LOOK_LIMIT_S = 10.0
LOOK_MS = 200


async def orphaned_delays(settings: Settings) -> list[float]:
    """Give the delays, in seconds, whose topics hold work and which HYBRID_DEFER_DELAYS lacks.

    Raises BrokerUnavailableError, RightsError, KafkaError.
    """
    begin, group = f"{settings.hybrid_topic_prefix}.deferred.", settings.worker_group
    async with admin_client(settings) as admin:
        node = await coordinator_of(settings, admin, group)
        names = await admin.list_topics()
        delays = sorted(
            float(found[1])
            for name in names
            if name.startswith(begin) and name not in settings.topics.deferred
            if (found := re.fullmatch(r"(\d+(?:\.\d+)?)s", name.removeprefix(begin)))
        )
        if not delays:
            return []
        committed = await admin.list_consumer_group_offsets(group, group_coordinator_id=node)
    offsets = {tp: found.offset for tp, found in committed.items()}
    async with started(consumer(settings)) as reader:
        return [
            delay
            for delay in delays
            if await _holds_work(reader, f"{begin}{duration_name(delay)}", offsets)
        ]


async def _holds_work(
    reader: AIOKafkaConsumer, topic: str, committed: dict[TopicPartition, int]
) -> bool:
    """Whether a record stands behind what the workers have committed; markers are none."""
    tps = await partitions_of(reader, topic)
    ends = await reader.end_offsets(tps)
    begins = await reader.beginning_offsets(tps)
    at = {tp: max(begins[tp], committed.get(tp, -1)) for tp in tps}
    left = [tp for tp in tps if at[tp] < ends[tp]]
    if not left:
        return False
    reader.assign(left)
    for tp in left:
        reader.seek(tp, at[tp])
    for _ in range(int(LOOK_LIMIT_S * 1000 / LOOK_MS)):
        if await reader.getmany(timeout_ms=LOOK_MS, max_records=1):
            return True
        if all([await reader.position(tp) >= ends[tp] for tp in left]):
            return False
    return False


def what_to_do(settings: Settings, delays: list[float]) -> str:
    """Say where work waits that no worker reads, and how it comes to be done."""
    names = ", ".join(
        f"{settings.hybrid_topic_prefix}.deferred.{duration_name(delay)}" for delay in delays
    )
    both = sorted({*settings.hybrid_defer_delays, *delays})
    now, more = (
        ",".join(f"{one:g}" for one in which) for which in (settings.hybrid_defer_delays, both)
    )
    return (
        f"work waits in {names}, which no worker reads with HYBRID_DEFER_DELAYS = {now}: run all "
        f"workers with {more} until `hybrid doctor` no longer says so"
    )

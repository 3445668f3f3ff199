"""How far the recorder is behind, as Kafka knows it."""

from typing import Any

from aiokafka import TopicPartition

from schemas.settings import Settings
from streams.kafka.awaiting import coordinator_of
from streams.kafka.clients import admin_client, consumer, partitions_of, started

__all__ = ["recorder_lag"]


async def recorder_lag(settings: Settings) -> int | None:
    """Count the records that the recorder's group has not committed; None = it has none of them.

    A transaction's marker counts as one until the recorder has passed over it; at rest it has.
    Raises BrokerUnavailableError, RightsError, KafkaError.
    """
    committed = await _committed(settings)
    lag = 0
    async with started(consumer(settings)) as reader:
        for topic in settings.topics.recorded:
            partitions = await partitions_of(reader, topic)
            ends = await reader.end_offsets(partitions)
            begins = await reader.beginning_offsets(partitions)
            for tp in partitions:
                found = committed.get(tp)
                done = found.offset if found and found.offset >= 0 else begins[tp]
                lag += max(0, ends[tp] - done)
    return lag if committed or not lag else None


async def _committed(settings: Settings) -> dict[TopicPartition, Any]:
    """Give what the recorder's group has committed, by partition."""
    group = settings.recorder_group
    async with admin_client(settings) as admin:
        node = await coordinator_of(settings, admin, group)
        found: dict[TopicPartition, Any] = await admin.list_consumer_group_offsets(
            group, group_coordinator_id=node
        )
    return found

"""A broker that was frozen, and does not know yet that others lead its partitions."""

from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.settings import Settings
from streams.kafka.clients import consumer, started

__all__ = ["DeposedLeader"]


class DeposedLeader:
    """Answers whoever asks for ends as such a broker does in the moment when it thaws.

    That moment takes 0.1 to 0.3 s and cannot be held, so the answers are played: they are what the
    real partitions were when `look` was called.
    """

    def __init__(self) -> None:
        self.ends: dict[TopicPartition, int] = {}

    async def look(self, settings: Settings, *tps: TopicPartition) -> None:
        """Know the partitions as they are now, and nothing that comes after."""
        async with started(consumer(settings)) as reader:
            self.ends = await reader.end_offsets(list(tps))

    def consumer(self, settings: Settings, **options: Any) -> AIOKafkaConsumer:
        """Build a consumer whose broker it is; what was not looked at, others lead."""
        client = consumer(settings, **options)
        real = client.end_offsets

        async def end_offsets(tps: list[TopicPartition]) -> dict[TopicPartition, int]:
            return {**await real(tps), **{tp: self.ends[tp] for tp in tps if tp in self.ends}}

        async def offsets_for_times(moments: dict[TopicPartition, int]) -> dict[Any, None]:
            return dict.fromkeys(moments)

        client.end_offsets, client.offsets_for_times = end_offsets, offsets_for_times
        return client

"""The dead letters of a plan, read one after the other from where a run stands."""

from collections.abc import AsyncGenerator, Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition
from pydantic import ValidationError

from schemas.outcome import DeadLetter
from schemas.settings import Settings
from streams.kafka.clients import consumer, started
from streams.kafka.reading import STALL_LIMIT_S, TopicStalledError
from streams.publishing.contents import Contents
from streams.triage.places import Place, Places

__all__ = ["planned_letters"]

WAIT_MS = 500
AT_ONCE = 500


async def planned_letters(
    settings: Settings, places: Places, *, after: Mapping[int, int]
) -> AsyncGenerator[tuple[Place, DeadLetter], None]:
    """Give the letters at some places, of each partition in order, after an offset.

    What is not kept any more is left out. Raises KafkaError, TimeoutError, TopicStalledError.
    """
    topic, last = settings.topics.dead_letters, dict[TopicPartition, int]()
    async with (
        started(consumer(settings)) as client,
        Contents(settings) as contents,
    ):
        begins = {}
        for partition in places.partitions():
            tp = TopicPartition(topic, partition)
            left = [one for one in places.offsets(partition) if one > after.get(partition, -1)]
            if left:
                begins[tp], last[tp] = left[0], left[-1]
        if not last:
            return
        client.assign(list(last))
        for tp, offset in begins.items():
            client.seek(tp, offset)
        idle_ms = 0
        while left_over := await _unread(client, last):
            batches = await client.getmany(*left_over, timeout_ms=WAIT_MS, max_records=AT_ONCE)
            idle_ms = 0 if batches else idle_ms + WAIT_MS
            if idle_ms > STALL_LIMIT_S * 1000:
                tp = left_over[0]
                raise TopicStalledError(tp, await client.position(tp), last[tp], STALL_LIMIT_S)
            for tp, records in batches.items():
                for record in records:
                    place = (tp.partition, record.offset)
                    if place in places and record.offset > after.get(tp.partition, -1):
                        try:
                            letter = DeadLetter.model_validate_json(record.value or b"")
                        except ValidationError:
                            continue
                        yield place, await contents.restored(letter)


async def _unread(
    client: AIOKafkaConsumer, last: Mapping[TopicPartition, int]
) -> list[TopicPartition]:
    return [tp for tp, offset in last.items() if await client.position(tp) <= offset]

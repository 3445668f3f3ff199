"""What a prompt or an answer contains, for somebody who may see it."""

import json
from typing import Any

from aiokafka import ConsumerRecord

from schemas.settings import Settings
from streams.kafka.backlog import places_behind, read_places
from streams.kafka.clients import consumer, partitions_of, started
from streams.kafka.partitioning import partition_of

__all__ = ["results_of"]


async def results_of(
    settings: Settings, intent_id: str, *, tenant: str | None, limit_s: float
) -> list[dict[str, Any]]:
    """Give an intent's results as they are on Kafka; none = there is none, or not any more.

    Reads the one partition in which they stand. Raises BrokerUnavailableError, KafkaError, and
    TimeoutError where that is not done in time.
    """
    found: list[dict[str, Any]] = []

    def take(record: ConsumerRecord) -> None:
        document = json.loads(record.value or b"")
        if document["intent_id"] == intent_id and tenant in {None, document["tenant"]}:
            found.append(document)

    async with started(consumer(settings)) as reader:
        tps = {tp.partition: tp for tp in await partitions_of(reader, settings.topics.results)}
        if not tps:
            return []
        numbers = sorted(tps)
        key = intent_id.encode("utf-8", "surrogatepass")
        places = await places_behind(reader, [tps[partition_of(key, numbers, numbers)]], {})
        if not await read_places(reader, places, take, limit_s=limit_s):
            message = f"the results were not read within {limit_s:g} s: hybrid results --intent-id"
            raise TimeoutError(message)
    return found

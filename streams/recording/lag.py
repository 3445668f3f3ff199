"""How far the recorder is behind, as Kafka knows it."""

from itertools import chain

from schemas.settings import Settings
from streams.kafka.backlog import committed_offsets, partitions_in, places_behind
from streams.kafka.clients import consumer, started

__all__ = ["recorder_lag"]


async def recorder_lag(settings: Settings) -> int | None:
    """Count the records that the recorder's group has not committed; None = it has none of them.

    A transaction's marker counts as one until the recorder has passed over it; at rest it has.
    Raises BrokerUnavailableError, RightsError, KafkaError.
    """
    committed = await committed_offsets(settings, settings.recorder_group)
    async with started(consumer(settings)) as reader:
        known = await partitions_in(reader, settings.topics.recorded)
        places = await places_behind(reader, [*chain(*known.values())], committed)
    lag = sum(end - begin for begin, end in places.values())
    return lag if committed or not lag else None

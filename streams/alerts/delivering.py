"""How far the webhook is with the alerts: what it has posted last, and what it has not yet."""

from dataclasses import dataclass
from datetime import UTC, datetime

from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.settings import Settings
from streams.kafka.backlog import committed_offsets, places_behind
from streams.kafka.clients import consumer, partitions_of, started
from streams.kafka.reading import record_at

__all__ = ["Delivering", "delivering"]


@dataclass(frozen=True, slots=True)
class Delivering:
    """Where the webhook's group stands."""

    #: Whether a webhook has ever read the alerts.
    is_known: bool
    #: Alerts that it has not dealt with; those of which the endpoint knows already are among them.
    behind: int
    #: When the newest alert was raised that it has dealt with; None = it has with none, or that is
    #: on Kafka no more.
    newest_at: datetime | None


async def delivering(settings: Settings) -> Delivering:
    """Look where the webhook stands; raises BrokerUnavailableError, KafkaError, TimeoutError."""
    committed = await committed_offsets(settings, f"{settings.hybrid_topic_prefix}.alerts")
    async with started(consumer(settings)) as reader:
        tps = await partitions_of(reader, settings.topics.alerts)
        own = {tp: committed[tp] for tp in tps if committed.get(tp, -1) >= 0}
        if not own:
            return Delivering(is_known=False, behind=0, newest_at=None)
        behind = await places_behind(reader, list(own), own)
        begins = await reader.beginning_offsets(list(own))
        done = [tp for tp, offset in own.items() if offset > begins[tp]]
        times = [await _written_at(reader, tp, own[tp] - 1) for tp in done]
    return Delivering(
        is_known=True,
        behind=sum(end - begin for begin, end in behind.values()),
        newest_at=max((one for one in times if one is not None), default=None),
    )


async def _written_at(reader: AIOKafkaConsumer, tp: TopicPartition, offset: int) -> datetime | None:
    record = await record_at(reader, tp, offset)
    return None if record is None else datetime.fromtimestamp(record.timestamp / 1000, UTC)

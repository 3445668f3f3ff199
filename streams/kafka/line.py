"""What stands in line for the workers: records that they have not committed, counted as they are.

A group's lag counts the markers of transactions too, and never comes back to 0 on topics that are
written in transactions. So the records are read, up to a limit of time.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain

from aiokafka import ConsumerRecord

from schemas.settings import Settings
from streams.kafka.backlog import (
    committed_offsets,
    lines_of,
    partitions_in,
    places_behind,
    read_places,
)
from streams.kafka.clients import consumer, started
from streams.kafka.passing import incoming_of
from streams.messages.deferrals import deferral_of

__all__ = ["Line", "stand_in_line"]


@dataclass
class Line:
    """Records that workers have not committed; those that run are among them."""

    #: topic → how many; of every topic that workers read.
    by_topic: Counter[str] = field(default_factory=Counter)
    #: When the one that came first came in, deferred ones aside.
    oldest_at: datetime | None = None
    #: When the first of the deferred is due.
    next_due_at: datetime | None = None
    #: False = there are more than could be read in time.
    whole: bool = True


async def stand_in_line(settings: Settings, *, limit_s: float) -> Line:
    """Count what the workers have not committed, for so many seconds at the most.

    Raises BrokerUnavailableError, RightsError, KafkaError, TimeoutError.
    """
    line = Line(Counter(dict.fromkeys(settings.topics.sources, 0)))
    begin = f"{settings.hybrid_topic_prefix}.deferred."

    def take(record: ConsumerRecord) -> None:
        line.by_topic[record.topic] += 1
        if record.topic.startswith(begin):
            due = _due(record)
            if due is not None:
                line.next_due_at = min(due, line.next_due_at or due)
        else:
            at = datetime.fromtimestamp(max(0, record.timestamp) / 1000, UTC)
            line.oldest_at = min(at, line.oldest_at or at)

    committed = await committed_offsets(settings, settings.worker_group)
    async with started(consumer(settings)) as reader:
        known = await partitions_in(reader, await lines_of(settings, reader))
        places = await places_behind(reader, [*chain(*known.values())], committed)
        line.whole = await read_places(reader, places, take, limit_s=limit_s)
    return line


def _due(record: ConsumerRecord) -> datetime | None:
    state = deferral_of(incoming_of(record))
    return None if state is None else datetime.fromtimestamp(state.until_ms / 1000, UTC)

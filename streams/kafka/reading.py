"""Reading result topics from the command line: read_committed, from a moment on, with an end."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from schemas.settings import Settings
from streams.kafka.clients import consumer, partitions_of, reached
from streams.kafka.presence import require_there
from streams.kafka.rights import why_unseen

__all__ = ["TopicStalledError", "read_topic", "record_at"]

#: Nothing has come for so long, and the end that was there at the start is not reached.
STALL_LIMIT_S = 30.0
#: Who follows waits so long for records. Who reads to an end looks sooner whether it is there: at
#: the end of a topic that is written in transactions stands a marker, which is never given. Nor
#: does the broker hold a question of theirs back for longer: what is asked behind it would wait.
FOLLOW_MS, LOOK_MS = 500, 50


class TopicStalledError(KafkaError):
    """Raised when a topic cannot be read to its end; the message says where it stands."""

    def __init__(self, tp: TopicPartition, position: int, end: int, limit_s: float) -> None:
        """Say where reading stands and what to look at; `limit_s` is how long nothing came."""
        super().__init__(
            f"partition {tp.partition} of {tp.topic} gives nothing more for {limit_s:g} s, at "
            f"offset {position} of {end}: see whether it has a leader and no transaction stays "
            "open on it, then try again"
        )

    def __str__(self) -> str:
        """Give the sentence alone, without the name of the class."""
        return str(self.args[0])


async def read_topic(
    settings: Settings,
    topic: str,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    follow: bool = False,
    needed: bool = False,
    stall_limit_s: float = STALL_LIMIT_S,
    on_reading: Callable[[], None] = lambda: None,
) -> AsyncIterator[ConsumerRecord]:
    """Give a topic's records; ends at what was its end at the start unless `follow`.

    Order: by partition as fetched; raises BrokerUnavailableError, RightsError, and
    TopicStalledError where an end that was there stays out of reach for `stall_limit_s`. A topic
    that is not there has no records; `needed`: it raises TopicsError. `on_reading` hears that the
    broker is reached and reading begins, also where nothing is there to be read.
    """
    latest_ms = math.inf if until is None else until.timestamp() * 1000
    options = {} if follow else {"fetch_max_wait_ms": LOOK_MS}
    async with reached(settings, consumer(settings, **options), within_s=20) as client:
        partitions = await partitions_of(client, topic)
        if not partitions:
            await _refuse_unseen(settings, topic, needed=needed)
            return
        ends = await client.end_offsets(partitions)
        client.assign(partitions)
        await _seek(client, partitions, since, ends)
        left = await _left(client, ends)
        on_reading()
        now, moved = asyncio.get_running_loop().time, left
        moved_at = now()
        while follow or left:
            wait_ms = FOLLOW_MS if follow else LOOK_MS
            batches = await client.getmany(timeout_ms=wait_ms, max_records=1000)
            for tp, records in batches.items():
                end = math.inf if follow else ends[tp]
                for record in records:
                    if record.offset >= end:
                        break
                    if record.timestamp <= latest_ms:
                        yield record
            if follow:
                continue
            left = await _left(client, ends)
            if left != moved:
                moved, moved_at = left, now()
            elif now() - moved_at > stall_limit_s:
                tp, position = next(iter(left.items()))
                raise TopicStalledError(tp, position, ends[tp], stall_limit_s)


async def record_at(client: AIOKafkaConsumer, tp: TopicPartition, offset: int) -> Any:  # noqa: ANN401
    """Read one record again; None when it is gone. Raises KafkaError, TimeoutError.

    The client is given the partition: it reads nothing else.
    """
    client.assign([tp])
    client.seek(tp, offset)
    async with asyncio.timeout(STALL_LIMIT_S):
        while not (found := await client.getmany(tp, timeout_ms=500, max_records=1)).get(tp):
            if await client.position(tp) > offset:
                return None
    record = found[tp][0]
    return record if record.offset == offset else None


async def _refuse_unseen(settings: Settings, topic: str, *, needed: bool) -> None:
    """Return for a topic that is not there and need not be; raises RightsError, TopicsError."""
    refused = await why_unseen(settings, topic)
    if refused is not None:
        raise refused
    if needed:
        await require_there(settings, [topic])


async def _left(
    client: AIOKafkaConsumer, ends: dict[TopicPartition, int]
) -> dict[TopicPartition, int]:
    """Give the positions of those partitions that are not read to their end."""
    positions = {tp: await client.position(tp) for tp in ends}
    return {tp: position for tp, position in positions.items() if position < ends[tp]}


async def _seek(
    client: object,
    partitions: list[TopicPartition],
    since: datetime | None,
    ends: dict[TopicPartition, int],
) -> None:
    if since is None:
        await client.seek_to_beginning(*partitions)  # type: ignore[attr-defined]
        return
    moment = int(since.timestamp() * 1000)
    found = await client.offsets_for_times(dict.fromkeys(partitions, moment))  # type: ignore[attr-defined]
    for tp in partitions:
        at = found.get(tp)
        client.seek(tp, at.offset if at else ends[tp])  # type: ignore[attr-defined]

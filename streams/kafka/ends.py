"""Where partitions end: behind what we have just written there, whoever one asks.

A broker that was frozen, or cut off, names the end that it knew until it hears that it has been
deposed (measured: for up to 0.3 s after it thawed). Only who leads a partition can take a record
that all in sync have; so where it matters, the end is asked for by writing (docs/adr/0018).
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

__all__ = ["END_KEY", "Ends", "OnForeign", "Sender", "read_to_ends", "write_ends"]

#: Key of a record without a value that says nothing: only where it stands is asked for.
END_KEY = b"\x00end"

#: Reading is given up when nothing has come for so many seconds.
IDLE_LIMIT_S = 30

#: partition → the offset behind its last record
Ends = Mapping[TopicPartition, int]


#: Hears of a record that somebody else wrote, and of what is wrong with it.
OnForeign = Callable[[ConsumerRecord, Exception], None]


class Sender(Protocol):
    """A producer, as far as it writes records of its own."""

    async def send(
        self,
        topic: str,
        *,
        value: bytes | None,
        key: bytes | None,
        partition: int | None,
        headers: Sequence[tuple[str, bytes]],
    ) -> Awaitable[object]:
        """Queue a record; the awaitable ends when the broker has it."""
        ...


async def write_ends(client: Sender, tps: Iterable[TopicPartition]) -> Ends:
    """Write to partitions, in the transaction that is open; gives where each ended before that.

    Raises KafkaError, and TimeoutError where the broker does not say.
    """
    sent = [
        await client.send(tp.topic, value=None, key=END_KEY, partition=tp.partition, headers=[])
        for tp in tps
    ]
    written: list[Any] = await asyncio.gather(*sent)
    if any(one.offset < 0 for one in written):  # a repeat of one that the broker has forgotten
        message = "the broker does not say where it has written"
        raise TimeoutError(message)
    return {one.topic_partition: one.offset for one in written}


async def read_to_ends(
    reader: AIOKafkaConsumer,
    ends: Ends,
    take: Callable[[ConsumerRecord], None],
    *,
    what: str,
    on_foreign: OnForeign,
    on_progress: Callable[[int, int], None] = lambda _offset, _end: None,
) -> int:
    """Give every record before the ends to `take`; gives how many it took.

    Raises KafkaError, and TimeoutError, which says `what`, where nothing comes any more.
    """
    count, idle_ms = 0, 0
    while [tp for tp, end in ends.items() if await reader.position(tp) < end]:
        found = await reader.getmany(*ends, timeout_ms=200, max_records=10_000)
        idle_ms = 0 if found else idle_ms + 200
        if idle_ms > IDLE_LIMIT_S * 1000:
            raise TimeoutError(what)
        for tp, records in found.items():
            for record in records:
                if record.key == END_KEY:
                    continue
                try:
                    take(record)
                    count += 1
                except Exception as error:  # noqa: BLE001 - nothing in a topic may stop who reads it
                    on_foreign(record, error)
            on_progress(records[-1].offset, ends[tp])
        await asyncio.sleep(0)  # noqa: TID251 - lets others run, waits for nothing
    return count

"""Where partitions end: behind what we have just written there, whoever one asks.

A broker that was frozen, or cut off, names the end that it knew until it hears that it has been
deposed (measured: for up to 0.3 s after it thawed). Only who leads a partition can take a record
that all in sync have; so where it matters, the end is asked for by writing (docs/adr/0018).
"""

import asyncio
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from aiokafka import TopicPartition

__all__ = ["END_KEY", "Ends", "write_ends"]

#: Key of a record without a value that says nothing: only where it stands is asked for.
END_KEY = b"\x00end"

#: partition → the offset behind its last record
Ends = Mapping[TopicPartition, int]


class _Sender(Protocol):
    async def send(
        self,
        topic: str,
        *,
        value: bytes | None,
        key: bytes | None,
        partition: int | None,
        headers: Sequence[tuple[str, bytes]],
    ) -> Awaitable[object]: ...


async def write_ends(client: _Sender, tps: Iterable[TopicPartition]) -> Ends:
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

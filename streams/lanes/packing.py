"""A transaction's records, packed: one batch a partition, and one answer of the broker for it.

The client's own way is a record at a time: a coroutine, a look at the topic's partitions and a
future for each. What a lane writes comes together, some seven records an outcome, and most of it
goes to the lane's own partition number, since intents are keyed as their results are.
"""

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import IllegalOperation, MessageSizeTooLargeError

from streams.kafka.faults import FaultKind, RefusedWriteError, kind_of
from streams.kafka.partitioning import partition_of
from streams.messages.records import OutRecord

__all__ = ["BATCH_BYTES", "PackingProducer", "Written", "all_written"]

#: A topic, and what ends when the broker has what was written there, or has refused it.
Written = tuple[str, Awaitable[object]]

#: Bytes of a batch: a broker holds max.message.bytes, 1 MiB by default, against all of it.
BATCH_BYTES = 64 * 1024


class PackingProducer(AIOKafkaProducer):  # type: ignore[misc] # the library has no types
    """A producer that can queue the records of a whole transaction at once."""

    async def write(self, records: Iterable[OutRecord]) -> list[Written]:
        """Queue records; in a partition they keep their order.

        Raises RefusedWriteError for one that cannot be written, and where the transaction has
        failed already: its first cause is told by what was queued before.
        """
        sent: list[Written] = []
        for (topic, partition), group in (await self._by_partition(records)).items():
            try:
                for batch in self._packed(group):
                    ended = await self.send_batch(batch, topic, partition=partition)
                    sent.append((topic, ended))
            except Exception as error:
                if isinstance(error, IllegalOperation):
                    await all_written(sent)
                raise RefusedWriteError(topic, error) from error
        return sent

    async def _by_partition(
        self, records: Iterable[OutRecord]
    ) -> dict[tuple[str, int], list[OutRecord]]:
        groups: dict[tuple[str, int], list[OutRecord]] = {}
        numbers: dict[str, list[int]] = {}
        for record in records:
            topic, partition = record.topic, record.partition
            if partition is None:
                if topic not in numbers:
                    try:
                        numbers[topic] = sorted(await self.partitions_for(topic))
                    except Exception as error:
                        raise RefusedWriteError(topic, error) from error
                partition = partition_of(record.key, numbers[topic], numbers[topic])
            groups.setdefault((topic, partition), []).append(record)
        return groups

    def _packed(self, records: Sequence[OutRecord]) -> Iterable[Any]:
        """Fill batches, each as far as it goes; a record that is larger than one has one alone."""
        batch = self.create_batch()
        for record in records:
            if not _added(batch, record):
                yield batch
                batch = self.create_batch()
                if not _added(batch, record):
                    raise MessageSizeTooLargeError
        yield batch


async def all_written(sent: Sequence[Written]) -> None:
    """Wait for all; raises RefusedWriteError for the one whose error says most."""
    results = await asyncio.gather(*(future for _, future in sent), return_exceptions=True)
    refused = [
        RefusedWriteError(topic, result)
        for (topic, _), result in zip(sent, results, strict=True)
        if isinstance(result, BaseException)
    ]
    if refused:
        # The first error makes the others fail: tell the one that names the trouble.
        telling = (one for one in refused if kind_of(one) is not FaultKind.INDEFINITE)
        chosen = next(telling, refused[0])
        raise chosen from chosen.cause


def _added(batch: Any, record: OutRecord) -> bool:  # noqa: ANN401 - the library has no types
    added = batch.append(
        timestamp=None, key=record.key, value=record.value, headers=record.written_headers
    )
    return added is not None

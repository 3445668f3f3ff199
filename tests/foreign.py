"""Writing records as no client of ours would: any header name, timestamp and codec."""

from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

__all__ = ["CODECS", "Row", "build_batch", "send_batch"]

CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
MOST_BYTES = 4 << 20

#: timestamp in milliseconds, key, value, headers
Row = tuple[int, bytes | None, bytes | None, Sequence[tuple[bytes, bytes | None]]]


class RawName(str):
    """A header's name that is written as the bytes that it was made of."""

    __slots__ = ()

    def encode(self, *_: Any) -> bytes:
        return bytes.fromhex(self)


def build_batch(rows: Sequence[Row], *, codec: str = "none") -> Any:
    """Give the builder of a batch, as aiokafka has it."""
    builder = _DefaultRecordBatchBuilderPy(2, CODECS[codec], 0, -1, -1, -1, MOST_BYTES)
    for number, (timestamp, key, value, headers) in enumerate(rows):
        named = [(RawName(name.hex()), content) for name, content in headers]
        builder.append(number, timestamp, key, value, named)  # type: ignore[arg-type]
    return builder


async def send_batch(
    client: AIOKafkaProducer,
    topic: str,
    partition: int,
    rows: Sequence[Row],
    *,
    codec: str = "none",
) -> int:
    """Write a batch through a producer that is not idempotent; gives the first record's offset."""
    batch = client.create_batch()
    batch._builder = build_batch(rows, codec=codec)
    batch._relative_offset = len(rows)  # an empty batch is not sent
    batch.close()
    written = await (await client.send_batch(batch, topic, partition=partition))
    return int(written.offset)

"""Reading any batch that a broker lets in: aiokafka's parser refuses header names not in UTF-8.

A name is UTF-8 by Kafka's protocol, but brokers do not check it, and one such record stops a
consumer for good: its partition is fetched, refused and fetched again, by every worker in turn.
Here a batch that the fast parser refuses is read again by the slow one, with what is not UTF-8 in
a name kept as surrogate escapes (PEP 383), so that no byte is lost.

A batch whose checksum is wrong is still an error: brokers check it before they take a batch in, so
it was damaged on its way to us or on the broker's disk, and must not be passed over in silence.
"""

from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatch, _DefaultRecordBatchPy
from aiokafka.record.memory_records import _MemoryRecordsPy

__all__ = ["read_any_header_name"]

#: The first message format that has headers.
MAGIC_WITH_HEADERS = 2


def read_any_header_name() -> None:
    """Let every consumer of this process read such records; calling it again changes nothing."""
    fetcher.MemoryRecords = _Records


class _Bytes(bytearray):
    """The records of a batch: a piece of them decodes, whatever it holds."""

    def __getitem__(self, piece: Any) -> Any:  # noqa: ANN401 - as bytearray has it
        found = super().__getitem__(piece)
        return _Bytes(found) if isinstance(found, bytearray) else found

    def decode(self, encoding: str = "utf-8", _errors: str = "strict") -> str:
        return bytes(self).decode(encoding, "surrogateescape")


class _SlowBatch(_DefaultRecordBatchPy):
    """aiokafka's parser in Python; header names are the only thing that it decodes."""

    _buffer: bytearray

    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer = _Bytes(self._buffer)


class _Batch:
    """A batch read by the fast parser, or by the slow one where that refuses."""

    def __init__(self, raw: memoryview) -> None:
        self._raw = raw
        self._fast = DefaultRecordBatch(raw)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the batch has
        return getattr(self._fast, name)

    def __next__(self) -> Any:  # noqa: ANN401 - a control record, asked for without iterating
        return next(self._fast)

    def __iter__(self) -> Iterator[Any]:
        try:
            return iter(list(self._fast))
        except UnicodeDecodeError:
            return iter(_SlowBatch(self._raw))


class _Records(_MemoryRecordsPy):
    """The batches of a fetch."""

    def next_batch(self) -> Any:  # noqa: ANN401 - aiokafka's, untyped
        raw = self._next_slice
        if raw is None or len(raw) < self.MIN_SLICE or raw[self.MAGIC_OFFSET] < MAGIC_WITH_HEADERS:
            return super().next_batch()
        self._cache_next()
        return _Batch(raw)

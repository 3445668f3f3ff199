"""To which partition a key belongs: as Kafka's own clients say, and asked once for each key."""

from collections.abc import Sequence
from functools import lru_cache

from aiokafka.partitioner import DefaultPartitioner, murmur2

__all__ = ["partition_of"]

#: An intent writes some six records under one key; the library hashes each time, in Python.
MOST_KEYS = 16_384

_hashed = lru_cache(MOST_KEYS)(murmur2)
_default = DefaultPartitioner()


def partition_of(key: bytes | None, partitions: Sequence[int], available: Sequence[int]) -> int:
    """Give one of the partitions, as the default of Kafka's clients does."""
    if key is None:
        return int(_default(key, partitions, available))
    number: int = _hashed(key)
    return partitions[(number & 0x7FFFFFFF) % len(partitions)]

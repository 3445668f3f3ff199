"""What ClickHouse knows a batch by, so that one that is sent twice is kept once."""

import hashlib
from collections.abc import Iterable

from aiokafka import ConsumerRecord

__all__ = ["batch_token"]


def batch_token(table: str, batch: Iterable[ConsumerRecord]) -> str:
    """Name a batch by what it holds: the same records give the same token, and no others do.

    Their places alone would not do: a topic that was made anew counts from 0 again, and ClickHouse
    would drop its rows as doubled, without a word.
    """
    parts: dict[tuple[str, int], hashlib.blake2b] = {}
    for record in batch:
        part = parts.setdefault((record.topic, record.partition), hashlib.blake2b(digest_size=16))
        value = record.value or b""
        part.update(f"{record.offset}/{len(value)}/".encode() + value)
    named = sorted(f"{topic}/{number}/{one.hexdigest()}" for (topic, number), one in parts.items())
    return hashlib.sha256(f"{table}:{','.join(named)}".encode()).hexdigest()

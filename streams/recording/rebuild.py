"""Recording again what Kafka still has: after ClickHouse was lost, or rows were set aside.

The tables keep the newest of what has one id, so what is there already counts once; a running
recorder is not disturbed.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from schemas.settings import Settings
from streams.kafka.presence import require_there
from streams.kafka.reading import read_topic
from streams.recording.record_rows import row_of
from streams.recording.recorder import BATCH_RECORDS
from streams.store.clickhouse import ClickHouse
from streams.store.inserting import insert_rows
from streams.store.migrations import Layout, migrate

__all__ = ["Rebuilt", "rebuild"]


@dataclass
class Rebuilt:
    """What was found and stored: rows by table, and what is no row."""

    rows: dict[str, int] = field(default_factory=dict)
    set_aside: list[str] = field(default_factory=list)


async def rebuild(
    settings: Settings, *, since: datetime | None, on_progress: Callable[[int], None]
) -> Rebuilt:
    """Insert the rows of every record since a moment; `on_progress` gets the rows so far.

    Raises TopicsError where there is nothing to read from, before anything is created;
    BrokerUnavailableError, ClickHouseUnavailableError: begin again, nothing counts twice.
    """
    await require_there(settings, settings.topics.recorded)
    found = Rebuilt()
    store = await asyncio.to_thread(ClickHouse, settings)
    try:
        await asyncio.to_thread(migrate, store, Layout.of(settings))
        for topic in settings.topics.recorded:
            batch: list[dict[str, Any]] = []
            table = ""
            async for record in read_topic(settings, topic, since=since):
                try:
                    table, row = row_of(settings, record)
                except Exception:  # noqa: BLE001 - whatever it is, the others are stored
                    found.set_aside.append(f"{topic}/{record.partition}/{record.offset}")
                    continue
                batch.append(row)
                if len(batch) >= BATCH_RECORDS:
                    await _store(store, table, batch, found, on_progress)
                    batch = []
            if batch:
                await _store(store, table, batch, found, on_progress)
    finally:
        store.close()
    return found


async def _store(
    store: ClickHouse,
    table: str,
    batch: list[dict[str, Any]],
    found: Rebuilt,
    on_progress: Callable[[int], None],
) -> None:
    # Without a token: ClickHouse drops a batch whose token it has seen, and these must go in.
    refused = await asyncio.to_thread(insert_rows, store, table, batch, token=None)
    found.set_aside += [f"{table}: {one.error}" for one in refused]
    found.rows[table] = found.rows.get(table, 0) + len(batch) - len(refused)
    on_progress(sum(found.rows.values()))

"""Every record a second time, in other batches: no view may change by it."""

import asyncio
import random
from dataclasses import dataclass
from typing import Any

from schemas.settings import Settings
from streams.kafka.reading import read_topic
from streams.recording.record_rows import row_of
from streams.store.clickhouse import ClickHouse

__all__ = ["Resent", "resend"]

#: No multiple or part of the recorder's own, so that no batch is the same.
BATCH = 777
#: An orphan is one only once its deadline has passed, which may happen between two looks.
VIEWS = {
    "costs_hourly": "SELECT * FROM costs_hourly ORDER BY ALL",
    "costs_daily": "SELECT * FROM costs_daily ORDER BY ALL",
    "latency_hourly": "SELECT * FROM latency_hourly ORDER BY ALL",
    "wasted_spend": "SELECT * FROM wasted_spend WHERE cause != 'orphan' ORDER BY ALL",
    "outcomes": "SELECT status, tenant, count(), sum(total_cost_usd) FROM workflow_outcomes FINAL "
    "GROUP BY ALL ORDER BY ALL",
    "events": "SELECT name, count() FROM workflow_events FINAL GROUP BY ALL ORDER BY ALL",
    "attempts": "SELECT status, count(), sum(cost_usd), sum(cost_upper_usd) "
    "FROM provider_attempts FINAL GROUP BY ALL ORDER BY ALL",
}


@dataclass(frozen=True)
class Resent:
    """What was sent again, and the views that are not what they were."""

    records: int
    view_rows: int
    changed: list[str]


async def resend(settings: Settings, *, seed: int) -> Resent:
    """Insert the rows of every record of the recorder's topics again, shuffled."""
    tables: dict[str, list[dict[str, Any]]] = {}
    for topic in settings.topics.recorded:
        async for record in read_topic(settings, topic):
            table, row = row_of(settings, record)
            tables.setdefault(table, []).append(row)
    return await asyncio.to_thread(_insert_again, settings, tables, seed)


def _insert_again(settings: Settings, tables: dict[str, list[dict[str, Any]]], seed: int) -> Resent:
    store = ClickHouse(settings, timeout_s=120)
    try:
        before = {name: store.rows(sql)[1] for name, sql in VIEWS.items()}
        for table, rows in tables.items():
            random.Random(seed).shuffle(rows)
            for begin in range(0, len(rows), BATCH):
                store.insert(table, rows[begin : begin + BATCH], token=f"again/{table}/{begin}")
        after = {name: store.rows(sql)[1] for name, sql in VIEWS.items()}
    finally:
        store.close()
    return Resent(
        records=sum(map(len, tables.values())),
        view_rows=sum(map(len, before.values())),
        changed=[name for name in VIEWS if before[name] != after[name]],
    )

"""What really happened: the simulator's log, a read_committed reader, ClickHouse."""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from schemas.settings import Settings
from streams.bill import reconcile
from streams.kafka.clients import admin_client, consumer, partitions_of, started
from streams.kafka.reading import read_topic
from streams.store.clickhouse import ClickHouse

__all__ = [
    "Calls",
    "Outcomes",
    "Recorded",
    "read_calls",
    "read_lag",
    "read_outcomes",
    "read_recorded",
    "reconciled",
    "settled_lag",
]


@dataclass
class Outcomes:
    """Results and dead letters by intent, as a read_committed consumer sees them."""

    results: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    dead_letters: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))

    def count(self) -> int:
        """All outcomes."""
        return sum(map(len, self.results.values())) + sum(map(len, self.dead_letters.values()))

    def lost(self, published: set[str]) -> set[str]:
        """Intents without any outcome."""
        return published - set(self.results) - set(self.dead_letters)

    def doubled(self) -> dict[str, int]:
        """Intents with more than one outcome."""
        counts: Counter[str] = Counter()
        for found in (self.results, self.dead_letters):
            for intent_id, documents in found.items():
                counts[intent_id] += len(documents)
        return {intent_id: count for intent_id, count in counts.items() if count > 1}


@dataclass
class Calls:
    """The simulator's log."""

    entries: list[dict[str, Any]]

    @property
    def attempt_ids(self) -> list[str]:
        return [entry["attempt_id"] for entry in self.entries]

    @property
    def billed_usd(self) -> Decimal:
        return sum((Decimal(entry["billed_usd"]) for entry in self.entries), Decimal(0))

    def billed_for(self, attempt_ids: Collection[str]) -> Decimal:
        """What the calls of these attempts were billed at."""
        return sum(
            (
                Decimal(one["billed_usd"])
                for one in self.entries
                if one["attempt_id"] in attempt_ids
            ),
            Decimal(0),
        )

    def repeated(self) -> int:
        """Answers that were paid for although the intent had one already."""
        answered = Counter(entry["intent"] for entry in self.entries if entry["status"] == 200)
        return sum(count - 1 for count in answered.values())


@dataclass
class Recorded:
    """What ClickHouse says: attempt id → what it cost or may have cost, in dollars."""

    finished: dict[str, Decimal]
    #: Calls without an end: their worker died between the record and the answer's commit.
    started_only: dict[str, Decimal]
    #: Calls that ended without an answer that proves they arrived: cancelled, timed out, refused;
    #: and what they may have cost.
    unanswered: dict[str, Decimal]

    @property
    def all(self) -> set[str]:
        return set(self.finished) | set(self.started_only)

    @property
    def cost_usd(self) -> Decimal:
        return sum(self.finished.values(), Decimal(0))


def read_calls(log: Path) -> Calls:
    """Read the simulator's log file."""
    return Calls([json.loads(line) for line in log.read_text().splitlines()])


async def read_outcomes(settings: Settings) -> Outcomes:
    """Read both outcome topics to their ends."""
    found = Outcomes()
    for topic, into in (
        (settings.topics.results, found.results),
        (settings.topics.dead_letters, found.dead_letters),
    ):
        async for record in read_topic(settings, topic):
            document = json.loads(record.value or b"{}")
            into[document["intent_id"]].append(document)
    return found


def read_recorded(settings: Settings) -> Recorded:
    """Read all attempts of ClickHouse."""
    store = ClickHouse(settings)
    try:
        _, rows = store.rows(
            "SELECT toString(attempt_id), status = 'finished', toString(ifNull(cost_usd, 0)), "
            "toString(ifNull(cost_upper_usd, 0)), "
            "outcome IN ('cancelled', 'connection', 'timeout') FROM provider_attempts FINAL"
        )
    finally:
        store.close()
    return Recorded(
        finished={str(one): Decimal(str(cost)) for one, done, cost, _, _ in rows if done},
        started_only={str(one): Decimal(str(upper)) for one, done, _, upper, _ in rows if not done},
        unanswered={str(one): Decimal(str(upper)) for one, _, _, upper, ended in rows if ended},
    )


def reconciled(settings: Settings, calls: Calls) -> list[reconcile.Line]:
    """Compare the record with what the provider would export, as `hybrid costs reconcile` does."""
    export = [
        {
            "start_time": int(entry["at"]),
            "model": entry["model"],
            "cost_usd": entry["billed_usd"],
            "requests": 1,
        }
        for entry in calls.entries
    ]
    theirs = reconcile.read_export(json.dumps(export))
    days = [day for day, _ in theirs if day is not None]
    store = ClickHouse(settings)
    try:
        ours = reconcile.our_usage(store, first=min(days), last=max(days), provider=None)
    finally:
        store.close()
    return reconcile.compare(theirs, ours)


async def settled_lag(settings: Settings) -> int:
    """Give the lag once offsets are committed, or what is left after ten seconds."""
    for _ in range(20):
        lag = await read_lag(settings)
        if lag == 0:
            break
        await asyncio.sleep(0.5)
    return lag


async def read_lag(settings: Settings) -> int:
    """Count the records that the workers' group has not committed; markers are no records."""
    async with admin_client(settings) as admin:
        committed = await admin.list_consumer_group_offsets(settings.worker_group)
    lag = 0
    async with started(consumer(settings)) as reader:
        for topic in settings.topics.sources:
            for tp in await partitions_of(reader, topic):
                reader.assign([tp])
                end = (await reader.end_offsets([tp]))[tp]
                found = committed.get(tp)
                reader.seek(tp, found.offset if found and found.offset >= 0 else 0)
                while await reader.position(tp) < end:
                    for records in (await reader.getmany(tp, timeout_ms=200)).values():
                        lag += len(records)
    return lag

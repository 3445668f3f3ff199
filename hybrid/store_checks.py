"""What the doctor finds out of ClickHouse: tables, clock, disk, lost calls, dead letters."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from agents.clock import SystemClock
from hybrid.checking import Check
from schemas.settings import Settings
from streams.store.clickhouse import ClickHouse
from streams.store.migrations import pending

__all__ = ["check_dead_letters", "check_orphans", "check_store", "check_tables"]

HTTP_LIMIT_S = 5
#: Rows are kept by their times, so a server's clock that is off by more misplaces them.
MOST_SKEW_S = 5
#: Of a disk this share must be free.
LEAST_FREE = 0.1


async def _ask(settings: Settings, look: Callable[[ClickHouse], Check]) -> Check:
    def ask() -> Check:
        store = ClickHouse(settings, timeout_s=HTTP_LIMIT_S)
        try:
            return look(store)
        finally:
            store.close()

    return await asyncio.to_thread(ask)


async def check_tables(settings: Settings) -> Check:
    """See whether it answers, and all migrations are applied."""

    def look(store: ClickHouse) -> Check:
        missing = ", ".join(step.label for step in pending(store))
        if missing:
            detail = f"not applied: {missing}; run `hybrid migrate`"
            return Check("clickhouse", "broken", detail, "run `hybrid migrate`")
        return Check("clickhouse", "ok", "tables and views are as wanted")

    return await _ask(settings, look)


async def check_store(settings: Settings) -> Check:
    """See the server's version, its clock and its disks."""

    def look(store: ClickHouse) -> Check:
        version, now = _row(store, "SELECT version(), toUnixTimestamp64Milli(now64(3))")
        disks = store.rows("SELECT name, free_space, total_space FROM system.disks")[1]
        return judge_store(
            str(version),
            datetime.fromtimestamp(int(now) / 1000, UTC),
            [(str(name), int(free), int(whole)) for name, free, whole in disks],
            now=SystemClock().now(),
        )

    return await _ask(settings, look)


def judge_store(
    version: str, at: datetime, disks: list[tuple[str, int, int]], *, now: datetime
) -> Check:
    """Say what a server's clock and its disks (name, free and whole bytes) mean; pure."""
    skew = abs((at - now).total_seconds())
    if skew > MOST_SKEW_S:
        detail = f"its clock and this host's differ by {skew:.0f} s"
        return Check("server", "warning", detail, "have both set by NTP")
    full = [(free / whole, name) for name, free, whole in disks if whole]
    if full and min(full)[0] < LEAST_FREE:
        share, name = min(full)
        detail = f"disk {name} of ClickHouse has {share:.0%} free"
        advice = "make room, or keep less: HYBRID_RETENTION_DAYS, then `hybrid migrate`"
        return Check("server", "warning", detail, advice)
    said = f"ClickHouse {version}, its clock is right and its disks have room"
    return Check("server", "ok", said)


async def check_orphans(settings: Settings) -> Check:
    """Count the calls of a day whose workers died before the answer."""

    def look(store: ClickHouse) -> Check:
        count, usd = _row(
            store,
            "SELECT count(), toString(sum(ifNull(a.cost_upper_usd, toDecimal128(0, 12)))) "
            "FROM provider_attempts AS a FINAL WHERE status = 'started' "
            "AND deadline_at < now64(3) AND started_at > now64(3) - INTERVAL 1 DAY",
        )
        return judge_orphans(int(count), str(usd))

    return await _ask(settings, look)


def judge_orphans(count: int, usd: str) -> Check:
    """Say what calls without an end mean; pure."""
    if not count:
        return Check("orphans", "ok", "no worker died during a call in the last day")
    detail = f"workers died during {count:,} calls in the last day, which may have cost {usd} USD"
    advice = "find out why they ended: memory, kills, a stop that was not waited for"
    return Check("orphans", "warning", detail, advice)


async def check_dead_letters(settings: Settings) -> Check:
    """See which share of the last hour's intents ended without a result."""

    def look(store: ClickHouse) -> Check:
        failed, whole = _row(
            store,
            "SELECT countIf(status = 'failed'), count() FROM workflow_outcomes FINAL "
            "WHERE completed_at > now64(3) - INTERVAL 1 HOUR",
        )
        return judge_dead_letters(int(failed), int(whole), settings)

    return await _ask(settings, look)


def judge_dead_letters(failed: int, whole: int, settings: Settings) -> Check:
    """Say what a share of dead letters means, by the limits of the alerts; pure."""
    limit = settings.alerts.dead_letter_rate
    said = f"{failed:,} of the last hour's {whole:,} intents ended as dead letters"
    if limit and whole >= settings.alerts.fewest and failed > limit * whole:
        advice = "see what they have in common: `hybrid dlq causes`"
        return Check("dead-letters", "warning", said, advice)
    return Check("dead-letters", "ok", said)


def _row(store: ClickHouse, statement: str) -> tuple[Any, ...]:
    return tuple(store.rows(statement)[1][0])

"""How many intents ended in each minute of the last hour."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from streams.store.clickhouse import ClickHouse

__all__ = ["MINUTES", "Flow", "ended_by_minute"]

MINUTES = 60


@dataclass(frozen=True, slots=True)
class Flow:
    """Outcomes by minute, the oldest minute first."""

    completed: list[int]
    failed: list[int]


def ended_by_minute(store: ClickHouse, *, now: datetime) -> Flow:
    """Count the outcomes of the last 60 minutes; the one that goes on is the last."""
    this = now.replace(second=0, microsecond=0)
    first = this - timedelta(minutes=MINUTES - 1)
    _, rows = store.rows(
        "SELECT toUnixTimestamp(toStartOfMinute(completed_at)) AS minute, "
        "countIf(status = 'completed'), countIf(status = 'failed') FROM workflow_outcomes FINAL "
        "WHERE completed_at >= fromUnixTimestamp64Milli({first:Int64}) GROUP BY minute",
        {"first": int(first.timestamp() * 1000)},
    )
    found = {int(minute): (int(completed), int(failed)) for minute, completed, failed in rows}
    begins = [int(first.timestamp()) + 60 * number for number in range(MINUTES)]
    counts = [found.get(begin, (0, 0)) for begin in begins]
    return Flow([one for one, _ in counts], [one for _, one in counts])

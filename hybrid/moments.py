"""Moments as people write them: a time, or an age."""

import re
from datetime import UTC, datetime, timedelta

from hybrid.errors import UsageError
from hybrid.text import visible

__all__ = ["EARLIEST", "LATEST", "moment_of"]

#: Kafka's times begin here; nothing is older.
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
#: ClickHouse's DateTime64 ends a century later.
LATEST = datetime(2199, 12, 31, tzinfo=UTC)
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def moment_of(text: str | None, *, now: datetime, option: str) -> datetime | None:
    """Read a moment or an age; `option` is what a mistake is said of. Raises UsageError."""
    if text is None:
        return None
    age = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text.strip(), re.ASCII)
    if age:
        try:
            return _within(now - timedelta(seconds=float(age[1]) * UNITS[age[2]]))
        except OverflowError:
            return EARLIEST
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        message = (
            f"{option} {visible(text)}: write a moment like 2026-01-31T09:00:00Z or an age like 24h"
        )
        raise UsageError(message) from None
    return _within(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _within(moment: datetime) -> datetime:
    """Cut a moment to what Kafka and ClickHouse can hold; further away it means the same."""
    try:
        return min(max(moment.astimezone(UTC), EARLIEST), LATEST)
    except OverflowError:
        return EARLIEST if moment.year == 1 else LATEST

"""Which numbers are moments: what producers write as a timestamp need not be one; pure."""

__all__ = ["EARLIEST_MS", "LATEST_MS", "usable_timestamp_ms"]

#: 2000-01-01: Kafka is younger, so what is earlier is no moment in milliseconds.
EARLIEST_MS = 946_684_800_000
#: A clock that is ahead by more than a day is not believed.
MOST_AHEAD_MS = 86_400_000
#: 2200-01-01: ClickHouse keeps moments a little longer than that.
LATEST_MS = 7_258_118_400_000


def usable_timestamp_ms(timestamp_ms: float | None, *, now_ms: int) -> int:
    """Give a record's timestamp, or now where it cannot be one.

    Old and simple producers write -1 or 0, some write seconds or microseconds: a time limit or a
    wait counted from there would be years off, so it counts from the moment of reading.
    """
    if timestamp_ms is None or not EARLIEST_MS <= timestamp_ms <= now_ms + MOST_AHEAD_MS:
        return now_ms
    return round(timestamp_ms)

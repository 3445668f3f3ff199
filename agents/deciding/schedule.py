"""When an intent may start: its `not_before`, and by which hops it waits until then; pure.

A record waits on the deferred topics, whose delays are bounded; what is further away hops. Each hop
but the last waits for all of its topic's delay, so the records of a topic are due in the order in
which they stand there. The last one, on the topic of the shortest delay, waits for the rest.
"""

from collections.abc import Sequence
from datetime import datetime

__all__ = ["LONGEST_MS", "NOT_BEFORE", "hop", "milliseconds", "problem_of"]

#: Reason of a deferral that waits for nothing but the intent's own time.
NOT_BEFORE = "not_before"
#: So far after its publication an intent may ask for its start: a year. What is further away is a
#: mistake of the unit, and would hop for ever.
LONGEST_MS = 366 * 86_400_000


def hop(delays: Sequence[float], wait_s: float) -> tuple[int, float]:
    """Choose the deferred topic for a wait, and the seconds that are waited there.

    `delays` are the topics' in seconds, the shortest first.
    """
    for index in range(len(delays) - 1, -1, -1):
        if delays[index] <= wait_s:
            return index, delays[index]
    return 0, wait_s


def problem_of(not_before: datetime, *, published_ms: int, deadline_ms: int | None) -> str | None:
    """Say in a sentence why an intent cannot wait for its time; None where it can.

    `deadline_ms` counts from the record's timestamp (`published_ms`), whatever `not_before` says.
    """
    after_ms = milliseconds(not_before) - published_ms
    if after_ms > LONGEST_MS:
        return "not_before is more than 366 days after the record's timestamp: publish it later"
    if deadline_ms is not None and after_ms >= deadline_ms:
        return (
            "not_before is not before the deadline: deadline_ms counts from the record's "
            "timestamp, so raise it, or leave it out"
        )
    return None


def milliseconds(moment: datetime) -> int:
    """Give a moment in milliseconds since 1970, no earlier than it is."""
    microseconds = round(moment.timestamp() * 1_000_000)
    return -(-microseconds // 1000)

"""Named points at which a test may kill the process; off unless HYBRID_FAIL_POINT names one.

The value is `name` or `name:n`: the n-th passage (first by default) ends the process with SIGKILL.
"""

import os
import signal
from collections import Counter

__all__ = ["BATCH_POINTS", "FAIL_POINTS", "KEPT_POINTS", "FailPoints"]

#: Of calls whose answers their providers keep: one is made, and where it is, is durable.
KEPT_POINTS = ("after_made", "after_kept")
#: Of a batch: on record, made, its id on record, answered, and its intents sent back.
BATCH_POINTS = (
    "batch_submitting", "batch_made", "batch_submitted", "batch_ended", "batch_returned",
)  # fmt: skip
#: Every step of the protocol, in the order in which an intent passes them.
FAIL_POINTS = (
    "after_started_journalled",
    *KEPT_POINTS,
    "after_call",
    "after_begin",
    "after_send",
    "before_commit",
    "after_commit",
    "recorder_before_insert",
    "recorder_after_insert",
)


class FailPoints:
    """Counts passages and kills at the chosen one."""

    def __init__(self, wanted: str | None) -> None:
        """Parse `name` or `name:n`; raises ValueError for a point that does not exist."""
        name, _, number = (wanted or "").partition(":")
        points = (*FAIL_POINTS, *BATCH_POINTS)
        if name and name not in points:
            message = f"{name} is not a fail point; there are: {', '.join(points)}"
            raise ValueError(message)
        self._name = name
        self._at = int(number or 1)
        self._passed: Counter[str] = Counter()

    def reach(self, name: str) -> None:
        """Pass a point; the process dies here if it is the chosen passage."""
        if name == self._name:
            self._passed[name] += 1
            if self._passed[name] == self._at:
                os.kill(os.getpid(), signal.SIGKILL)

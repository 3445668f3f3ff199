"""How many outcomes of each kind this worker has committed."""

from collections import Counter
from typing import assert_never

from agents.task import Completed, Deferred, Failed, Outcome

__all__ = ["OutcomeCounts"]


class OutcomeCounts(Counter[str]):
    """Counts by `completed`, `failed`, `deferred`."""

    def note(self, outcome: Outcome) -> None:
        """Count one outcome."""
        match outcome:
            case Completed():
                self["completed"] += 1
            case Failed():
                self["failed"] += 1
            case Deferred():
                self["deferred"] += 1
            case _:
                assert_never(outcome)

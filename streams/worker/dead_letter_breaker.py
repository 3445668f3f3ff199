"""Stops a worker that writes only dead letters, before it has emptied the topic; pure."""

from collections import deque

from agents.task import Completed, Failed, Outcome
from schemas.vocabulary import DeadLetterReason

__all__ = ["DeadLetterBreaker"]

WINDOW = 100
#: Reasons for which nobody but the intent itself is to blame, or somebody who wanted it so.
OWN_REASONS = frozenset(
    {
        DeadLetterReason.POISON,
        DeadLetterReason.INVALID_INTENT,
        DeadLetterReason.REJECTED,
        DeadLetterReason.DEADLINE,
        DeadLetterReason.BUDGET,
        DeadLetterReason.CANCELLED,
    }
)


class DeadLetterBreaker:
    """Looks at the last outcomes that say something about the worker."""

    def __init__(self) -> None:
        """Begin without outcomes: nothing is suspected."""
        self._bad: deque[bool] = deque(maxlen=WINDOW)

    def note(self, outcome: Outcome) -> bool:
        """Note an outcome; gives whether the worker must stop now."""
        match outcome:
            case Completed():
                self._bad.append(False)
            case Failed(reason=reason) if reason not in OWN_REASONS:
                self._bad.append(True)
            case _:
                return False
        return len(self._bad) == WINDOW and sum(self._bad) * 2 > WINDOW

    def forget(self) -> None:
        """Forget the outcomes seen so far."""
        self._bad.clear()

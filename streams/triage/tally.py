"""What a run has in the air, and what came of the rest of what it sent; pure."""

from decimal import Decimal

from schemas.events import ReplayRecord
from schemas.vocabulary import WorkflowStatus

__all__ = ["Tally"]


class Tally:
    """The replays of a run, by the ids of their dead letters."""

    def __init__(self) -> None:
        """Begin with nothing sent."""
        self.completed = 0
        self.failed = 0
        self.spent_usd = Decimal(0)
        self._bounds: dict[str, Decimal] = {}
        self._bound = Decimal(0)

    @property
    def waiting(self) -> int:
        """Count those without outcome."""
        return len(self._bounds)

    @property
    def exposure_usd(self) -> Decimal:
        """Give what it has cost, and what those without outcome may cost at most."""
        return self.spent_usd + self._bound

    def sent(self, letter: str, bound_usd: Decimal | None) -> None:
        """Note that one was sent, and what it may cost."""
        if letter not in self._bounds:
            self._bounds[letter] = bound_usd or Decimal(0)
            self._bound += self._bounds[letter]

    def ended(self, record: ReplayRecord) -> None:
        """Note an outcome; whose is not ours, or known already, is passed over.

        A cost that is not known counts with its bound.
        """
        bound = self._bounds.pop(record.dead_letter_id, None)
        if bound is None:
            return
        self._bound -= bound
        self.spent_usd += bound if record.cost_usd is None else record.cost_usd
        if record.status is WorkflowStatus.COMPLETED:
            self.completed += 1
        else:
            self.failed += 1

"""What goes out in one transaction of a run; pure."""

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal

from streams.messages.records import OutRecord

__all__ = ["UNREADABLE", "Batch"]

#: Why a letter is passed over whose content cannot be read, or changed, any more.
UNREADABLE = "unreadable"


@dataclass(slots=True)
class Batch:
    """What goes out together."""

    records: list[OutRecord] = field(default_factory=list)
    #: Ids of the letters, and what the replay of each may cost.
    letters: list[tuple[str, Decimal | None]] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    positions: dict[int, int] = field(default_factory=dict)

    @property
    def bound_usd(self) -> Decimal:
        """Give what all of them may cost."""
        return sum((bound or Decimal(0) for _, bound in self.letters), Decimal(0))

    @property
    def size(self) -> int:
        """Give the bytes of all of them."""
        return sum(record.size for record in self.records)

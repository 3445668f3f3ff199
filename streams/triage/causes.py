"""What dead letters have in common: a cause each for many of them; pure.

Memory is bounded by the number of causes, not of letters: a cause keeps sums, and the hours of a
month. Where the messages of one failure differ too much, the rest of them is one cause.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from schemas.base import format_time, format_usd
from schemas.outcome import DeadLetter
from streams.publishing.kinds import Kind, kind_of

__all__ = ["MOST_CAUSES", "OTHERS", "Cause", "Causes"]

#: So many causes are told apart by their messages; those that come later by the rest alone.
MOST_CAUSES = 1_000
#: The message of a cause that holds the letters beyond that.
OTHERS = "(other messages)"
#: So many tenants of a cause are counted; more are "more".
MOST_TENANTS = 100
HOUR_S = 3_600
DAY_HOURS = 24
#: An hour with so many times the letters of the day's usual hour is a rise.
RISE = 2


@dataclass(slots=True)
class Cause:
    """What is known of the letters of one cause."""

    kind: Kind
    count: int = 0
    #: What their calls have cost as far as it is known, and how many letters do not say.
    spent_usd: Decimal = Decimal(0)
    unpriced: int = 0
    retriable: bool = False
    advice: str = ""
    first_at: datetime | None = None
    last_at: datetime | None = None
    #: Hours since 1970 → letters.
    hours: Counter[int] = field(default_factory=Counter)
    tenants: set[str] = field(default_factory=set)

    def add(self, letter: DeadLetter) -> None:
        """Take a letter in; the newest says whether a replay can succeed, and the advice."""
        self.count += 1
        self.hours[int(letter.failed_at.timestamp()) // HOUR_S] += 1
        if letter.spent_usd is not None:
            self.spent_usd += letter.spent_usd
        elif letter.attempts:
            self.unpriced += 1
        if len(self.tenants) <= MOST_TENANTS:
            self.tenants.add(letter.tenant)
        if self.first_at is None or letter.failed_at < self.first_at:
            self.first_at = letter.failed_at
        if self.last_at is None or letter.failed_at >= self.last_at:
            self.last_at = letter.failed_at
            self.retriable, self.advice = letter.retriable, letter.suggested_action

    def by_hour(self, now: datetime) -> list[int]:
        """Count the letters of each of the last 24 hours, the oldest first."""
        this = int(now.timestamp()) // HOUR_S
        return [self.hours[hour] for hour in range(this - DAY_HOURS + 1, this + 1)]

    def trend(self, now: datetime) -> str:
        """Say where it goes: `new`, `rising`, `steady`, `falling`, or `over`.

        The newest two hours are held against what two of the 22 before had on average; `over` is
        a cause without a letter in a day.
        """
        hours = self.by_hour(now)
        if not any(hours):
            return "over"
        newest, before = sum(hours[-2:]), sum(hours[:-2]) * 2 / (DAY_HOURS - 2)
        if newest == self.count:
            return "new"
        if newest > RISE * before:
            return "rising"
        return "falling" if newest * RISE < before else "steady"

    def words(self) -> dict[str, str]:
        """Give the filter that selects its letters; of the rest of a failure, all of that."""
        kind = self.kind
        if kind.message != OTHERS:
            return {"cause": kind.id}
        return {"reason": kind.reason, "error_class": kind.failure}

    def document(self, now: datetime) -> dict[str, Any]:
        """Give it for programs."""
        kind = self.kind
        more = len(self.tenants) > MOST_TENANTS
        return {
            "cause": kind.id,
            "count": self.count,
            "reason": kind.reason,
            "failure": kind.failure,
            "provider": kind.provider,
            "model": kind.model,
            "type": kind.type,
            "message": kind.message,
            "tenants": min(len(self.tenants), MOST_TENANTS),
            "more_tenants": more,
            "first_at": format_time(self.first_at) if self.first_at else None,
            "last_at": format_time(self.last_at) if self.last_at else None,
            "trend": self.trend(now),
            "by_hour": self.by_hour(now),
            "spent_usd": format_usd(self.spent_usd),
            "unpriced": self.unpriced,
            "can_succeed": self.retriable,
            "advice": self.advice,
        }


class Causes:
    """The causes of a stream of dead letters."""

    def __init__(self, *, most: int = MOST_CAUSES) -> None:
        """Begin without any; `most` are told apart by their messages."""
        self._most = most
        self._found: dict[Kind, Cause] = {}

    def add(self, letter: DeadLetter, model: str) -> None:
        """Take a letter in; `model` is what its intent asked for."""
        kind = kind_of(letter, model)
        if kind not in self._found and len(self._found) >= self._most:
            # Reason and code are closed words, or short ones of a provider; the rest is anybody's.
            kind = Kind(kind.reason, letter.error_class.value, "", "", "", OTHERS)
        self._found.setdefault(kind, Cause(kind)).add(letter)

    def __len__(self) -> int:
        """Count the causes."""
        return len(self._found)

    def sorted(self) -> list[Cause]:
        """Give those that a replay can put right first, then by their number."""
        return sorted(
            self._found.values(),
            key=lambda one: (not one.retriable, -one.count, one.kind.reason, one.kind.message),
        )

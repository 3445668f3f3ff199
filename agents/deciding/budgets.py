"""What tenants have spent, and whether they may spend more; pure.

Every lane adds up what it spends and writes the sums in the transaction of the outcome: exact over
restarts. A worker knows its own lanes to the last outcome, the others' as of their newest record;
what is in flight it cannot know, so that much can be spent beyond a limit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from schemas.budgets import PERIODS, BudgetSpec, Period, SpendRecord

__all__ = ["Crossing", "OverBudget", "Spending"]


@dataclass(frozen=True, slots=True)
class OverBudget:
    """A tenant has reached a limit."""

    budget: BudgetSpec
    spent_usd: Decimal
    resets_in_s: float


@dataclass(frozen=True, slots=True)
class Crossing:
    """A tenant has reached the alert's share of a budget, or all of it."""

    budget: BudgetSpec
    tenant: str
    period: str  # its name, such as 2026-01-31
    spent_usd: Decimal
    hard: bool


class Spending:
    """The sums of one worker."""

    def __init__(self, budgets: Sequence[BudgetSpec]) -> None:
        """Begin with nothing spent; `budgets` are those of all tenants."""
        self._budgets = tuple(budgets)
        self._told: dict[tuple[int, str], SpendRecord] = {}
        self._own: dict[tuple[int, str], SpendRecord] = {}

    def budgets_of(self, tenant: str) -> list[BudgetSpec]:
        """Give the budgets that hold for a tenant."""
        own = [one for one in self._budgets if one.tenant == tenant]
        covered = {one.per for one in own}
        return own + [one for one in self._budgets if one.tenant == "*" and one.per not in covered]

    def learn(self, record: SpendRecord) -> None:
        """Take in what a lane, ours or another's, has committed."""
        self._told[record.lane, record.tenant] = record

    def forget(self, lane: int) -> None:
        """Forget what was booked here and not committed: the lane was lost, or is read anew."""
        for key in [key for key in self._own if key[0] == lane]:
            del self._own[key]

    def add(
        self, lane: int, tenant: str, usd: Decimal, now: datetime
    ) -> tuple[SpendRecord, list[Crossing]] | None:
        """Book what a lane of ours spends; gives the record to write and the limits it reaches.

        None for a tenant without budgets.
        """
        budgets = self.budgets_of(tenant)
        if not budgets:
            return None
        before = {one.per: self.spent(tenant, one.per, now) for one in budgets}
        known = self._own.get((lane, tenant)) or self._told.get((lane, tenant))
        sums: dict[Period, tuple[str, Decimal]] = {}
        for per, form in PERIODS.items():
            name = now.astimezone(UTC).strftime(form)
            so_far = known.periods.get(per) if known else None
            sums[per] = (name, usd + (so_far[1] if so_far and so_far[0] == name else 0))
        record = SpendRecord(tenant=tenant, lane=lane, periods=sums)
        self._own[lane, tenant] = record
        crossings = []
        for one in budgets:
            after = self.spent(tenant, one.per, now)
            for share, hard in ((Decimal(str(one.soft)), False), (Decimal(1), True)):
                if before[one.per] < one.usd * share <= after:
                    crossings.append(Crossing(one, tenant, sums[one.per][0], after, hard))
        return record, crossings

    def spent(self, tenant: str, per: Period, now: datetime) -> Decimal:
        """Give what all lanes have spent for a tenant in the period at hand."""
        name = now.astimezone(UTC).strftime(PERIODS[per])
        newest = {**self._told, **self._own}
        found = (one.periods.get(per) for (_, who), one in newest.items() if who == tenant)
        return sum((usd for one in found if one for at, usd in [one] if at == name), Decimal(0))

    def over(self, tenant: str, now: datetime) -> OverBudget | None:
        """Say which limit a tenant has reached, the one that holds longest; None = none."""
        reached = [
            OverBudget(one, spent, (_next(one.per, now) - now).total_seconds())
            for one in self.budgets_of(tenant)
            if (spent := self.spent(tenant, one.per, now)) >= one.usd
        ]
        return max(reached, key=lambda one: one.resets_in_s, default=None)


def _next(per: Period, now: datetime) -> datetime:
    """Give the begin of the next period."""
    now = now.astimezone(UTC)
    match per:
        case "hour":
            return now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
        case "day":
            return now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        case _:
            first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
            return (first + timedelta(days=32)).replace(day=1)

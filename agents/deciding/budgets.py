"""What tenants have spent, and whether they may spend more; pure.

Every lane adds up what it spends and writes the sums in the transaction of the outcome: exact over
restarts. A worker knows its own lanes to the last outcome, and what its own calls in flight cost at
most; of the others it knows what they have committed. What those have in flight it cannot know: so
much can be spent beyond a limit.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from types import MappingProxyType

from agents.task import Paid
from schemas.budgets import PERIODS, BudgetSpec, Period, SpendRecord

__all__ = ["Crossing", "OverBudget", "Room", "Spending"]

#: So many sums that were added to last are kept as they were read; some 2 KiB each.
MOST_READ = 2_000


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


@dataclass(frozen=True, slots=True)
class Room:
    """What a tenant's budgets still pay for: the one with the least, and what is left of it."""

    over: OverBudget
    usd: Decimal
    #: Whether calls in flight hold some of it: what they do not need comes back.
    held: bool


class Spending:
    """The sums of one worker."""

    def __init__(self, budgets: Sequence[BudgetSpec]) -> None:
        """Begin with nothing spent; `budgets` are those of all tenants."""
        self._budgets = tuple(budgets)
        self._sums = _Sums(lambda tenant: bool(self.budgets_of(tenant)))
        #: execution → its tenant, and what its calls cost at most
        self._held: dict[str, tuple[str, Decimal]] = {}
        #: tenant, period and its name: whose limit has been told to be reached
        self._stopped: set[tuple[str, Period, str]] = set()
        self._news: list[Crossing] = []

    def budgets_of(self, tenant: str) -> list[BudgetSpec]:
        """Give the budgets that hold for a tenant."""
        own = [one for one in self._budgets if one.tenant == tenant]
        covered = {one.per for one in own}
        return own + [one for one in self._budgets if one.tenant == "*" and one.per not in covered]

    def learn(self, record: SpendRecord) -> None:
        """Take in what a lane, ours or another's, has committed."""
        self._sums.told(record)

    def forget(self, lane: int) -> None:
        """Go by what is committed: the lane is another worker's now, or read anew."""
        self._sums.forget(lane)

    def add(
        self, lane: int, tenant: str, paid: Paid, now: datetime
    ) -> tuple[SpendRecord, list[Crossing]]:
        """Book what a lane of ours spends; gives the record to write and the limits it reaches.

        Also for a tenant without budgets: one that is given later counts from here (ADR 14).
        """
        budgets = self.budgets_of(tenant)
        before = [self.counted(one, tenant, now) for one in budgets]
        names = _names(now)
        known = self._sums.lane(lane, tenant) or SpendRecord(tenant=tenant, lane=lane, periods={})
        record = _added(known, names, paid)
        self._sums.own(record)
        crossings = []
        for one, was in zip(budgets, before, strict=True):
            after = self.counted(one, tenant, now)
            for share, hard in ((Decimal(str(one.soft)), False), (Decimal(1), True)):
                if was < one.usd * share <= after:
                    crossings.append(Crossing(one, tenant, names[one.per], after, hard))
        return record, [one for one in crossings if not one.hard or self._is_news(one)]

    def stopped(self, tenant: str, over: OverBudget, now: datetime) -> None:
        """Note that a budget holds a tenant's intents up, which is told once in its period.

        It need not be spent to the last digit: the rest may pay for no call any more.
        """
        name = _names(now)[over.budget.per]
        crossing = Crossing(over.budget, tenant, name, over.spent_usd, hard=True)
        if self._is_news(crossing):
            self._news.append(crossing)

    def news(self) -> list[Crossing]:
        """Take the limits that have held intents up since this was asked last."""
        taken, self._news = self._news, []
        return taken

    def _is_news(self, crossing: Crossing) -> bool:
        key = (crossing.tenant, crossing.budget.per, crossing.period)
        if key in self._stopped:
            return False
        self._stopped.add(key)
        return True

    def counted(self, budget: BudgetSpec, tenant: str, now: datetime) -> Decimal:
        """Give what all lanes have spent in the period at hand, as a budget counts it."""
        name = now.astimezone(UTC).strftime(PERIODS[budget.per])
        usd, uncertain, unpriced = Decimal(0), Decimal(0), 0
        for record in self._sums.of(tenant):
            usd += _in(record.periods, budget.per, name)
            uncertain += _in(record.uncertain, budget.per, name)
            unpriced += int(_in(record.unpriced, budget.per, name))
        counts = budget.uncertain == "count"
        return usd + (uncertain if counts else 0) + unpriced * budget.unpriced_usd

    def over(self, tenant: str, now: datetime) -> OverBudget | None:
        """Say which limit a tenant has reached, the one that holds longest; None = none."""
        reached = [one for one in self.levels(tenant, now) if one.spent_usd >= one.budget.usd]
        return max(reached, key=lambda one: one.resets_in_s, default=None)

    def room(self, tenant: str, now: datetime, *, execution: str) -> Room | None:
        """Give what an execution's calls may cost together; None = no budget holds them."""
        levels = [one for one in self.levels(tenant, now) if one.budget.hold]
        if not levels:
            return None  # before all that is in flight is looked at
        held = sum(
            (usd for key, (who, usd) in self._held.items() if who == tenant and key != execution),
            Decimal(0),
        )
        rooms = [Room(one, one.budget.usd - one.spent_usd - held, held > 0) for one in levels]
        return min(rooms, key=lambda room: room.usd)

    def hold(self, execution: str, tenant: str, usd: Decimal) -> None:
        """Keep so much back for an execution's calls, those that ended included."""
        self._held[execution] = (tenant, usd)

    def release(self, execution: str) -> None:
        """Keep nothing back any more: what it cost is booked next, or was never paid."""
        self._held.pop(execution, None)

    def prune(self, now: datetime) -> None:
        """Forget what was spent in earlier months, and what was told of earlier periods."""
        names = _names(now)
        self._sums.prune(names["month"])
        self._stopped = {key for key in self._stopped if names[key[1]] == key[2]}

    def levels(self, tenant: str, now: datetime) -> list[OverBudget]:
        """Give what is spent of each budget of a tenant, whether or not its limit is reached."""
        return [
            OverBudget(
                one, self.counted(one, tenant, now), (_next(one.per, now) - now).total_seconds()
            )
            for one in self.budgets_of(tenant)
        ]


class _Sums:
    """What each lane has spent for each tenant: what we booked ourselves over what is committed.

    There may be many tenants that no budget watches over: their records are kept as they are
    written, a few hundred bytes each, and read when they are needed.
    """

    def __init__(self, watched: Callable[[str], bool]) -> None:
        self._watched = watched
        self._told: dict[str, dict[int, SpendRecord | bytes]] = {}
        self._own: dict[str, dict[int, SpendRecord | bytes]] = {}
        #: Packed → what it says, of those that were packed last: they are added to again soon.
        self._read: dict[bytes, SpendRecord] = {}

    def told(self, record: SpendRecord) -> None:
        self._told.setdefault(record.tenant, {})[record.lane] = self._packed(record)

    def own(self, record: SpendRecord) -> None:
        packed = self._own.setdefault(record.tenant, {})[record.lane] = self._packed(record)
        if isinstance(packed, bytes):
            if len(self._read) >= MOST_READ:
                self._read.clear()
            self._read[packed] = record

    def forget(self, lane: int) -> None:
        for lanes in self._own.values():
            lanes.pop(lane, None)

    def prune(self, month: str) -> None:
        """Forget tenants for whom nothing was spent this month."""
        for sums in (self._told, self._own):
            for tenant, lanes in list(sums.items()):
                for lane in [number for number in lanes if not _is_of(lanes[number], month)]:
                    del lanes[lane]
                if not lanes:
                    del sums[tenant]

    def lane(self, lane: int, tenant: str) -> SpendRecord | None:
        found = self._own.get(tenant, {}).get(lane) or self._told.get(tenant, {}).get(lane)
        if isinstance(found, bytes) and (read := self._read.pop(found, None)) is not None:
            return read
        return None if found is None else _unpacked(found)

    def of(self, tenant: str) -> list[SpendRecord]:
        newest = {**self._told.get(tenant, {}), **self._own.get(tenant, {})}
        return [_unpacked(one) for one in newest.values()]

    def _packed(self, record: SpendRecord) -> SpendRecord | bytes:
        return record if self._watched(record.tenant) else record.written


def _unpacked(packed: SpendRecord | bytes) -> SpendRecord:
    return SpendRecord.model_validate_json(packed) if isinstance(packed, bytes) else packed


def _is_of(packed: SpendRecord | bytes, month: str) -> bool:
    """Whether it is of a month; of packed ones there may be many, so they are not read for it."""
    if isinstance(packed, bytes):
        return f'"month":["{month}"'.encode() in packed
    return packed.periods.get("month", ("",))[0] == month


def _names(now: datetime) -> Mapping[Period, str]:
    """Name the periods at hand."""
    return _names_in(now.astimezone(UTC).replace(minute=0, second=0, microsecond=0))


@lru_cache(4)
def _names_in(hour: datetime) -> Mapping[Period, str]:
    return MappingProxyType({per: hour.strftime(form) for per, form in PERIODS.items()})


def _in(sums: Mapping[Period, tuple[str, Decimal | int]], per: Period, name: str) -> Decimal | int:
    """Give what was summed up in a period; 0 where the sum is of another one."""
    at, amount = sums.get(per) or ("", 0)
    return amount if at == name else 0


def _added(before: SpendRecord, names: Mapping[Period, str], paid: Paid) -> SpendRecord:
    """Add to the sums of the periods at hand; those of earlier ones begin anew."""
    return SpendRecord(
        tenant=before.tenant,
        lane=before.lane,
        periods={per: (at, paid.usd + _in(before.periods, per, at)) for per, at in names.items()},
        uncertain={
            # What is taken back may have been booked in a period that is over.
            per: (at, max(Decimal(0), paid.uncertain_usd + _in(before.uncertain, per, at)))
            for per, at in names.items()
        },
        unpriced={
            per: (at, paid.unpriced + int(_in(before.unpriced, per, at)))
            for per, at in names.items()
        },
    )


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

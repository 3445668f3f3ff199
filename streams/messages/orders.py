"""What operators have ordered about work that has not ended: what is paused, what is to end; pure.

Of each pause the newest record counts. One that is forgotten ends by itself, everywhere at the same
moment: the topic that holds it forgets it too.

What is to end is named by ids, or by tenant, type and when it was written. An id may be known here
before its intent is, so an id's order reaches a little further than its moment; a replay that was
asked for after it is new work, which somebody wants.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from schemas.operations import CancelRecord, HoldRecord
from schemas.topics import REPLAYS_KEPT_MS
from schemas.vocabulary import Held

__all__ = ["CANCELS_FOR", "ID_REACHES", "LONGEST_PAUSE", "Named", "Orders", "ends_at"]

#: A pause ends after so long: two days before its record may be gone.
LONGEST_PAUSE = timedelta(milliseconds=REPLAYS_KEPT_MS) - timedelta(days=2)
#: An intent with an id that was called off ends too where it was written so much later at most:
#: it was on its way, or its producer's clock is ahead.
ID_REACHES = timedelta(minutes=10)
#: What is called off has ended after so long: a day more than intents' topics keep records, and
#: what waits on a deferred topic has hopped since.
CANCELS_FOR = timedelta(days=8)

Name = tuple[Held, str]


@dataclass(frozen=True, slots=True)
class Named:
    """Whose work it is, as far as an order asks."""

    intent_id: str
    tenant: str
    type: str
    written_at: datetime
    is_replay: bool = False


def ends_at(hold: HoldRecord) -> datetime:
    """Give when a pause ends by itself."""
    return hold.at + LONGEST_PAUSE


class Orders:
    """What is ordered now, as one process knows it."""

    def __init__(self) -> None:
        """Begin without any."""
        self._holds: dict[Name, HoldRecord] = {}
        #: Intent id → the orders that name it.
        self._named: dict[str, tuple[CancelRecord, ...]] = {}
        #: Those that describe what they mean.
        self._described: list[CancelRecord] = []
        #: Whether any work is held by what it is, and not by whom it would call.
        self.holds_work = False

    def take(self, record: HoldRecord | CancelRecord) -> None:
        """Take a record in, in the order in which they were written."""
        match record:
            case HoldRecord(held=True):
                self._holds[record.what, record.name] = record
            case HoldRecord():
                self._holds.pop((record.what, record.name), None)
            case CancelRecord(intent_ids=[]):
                self._described.append(record)
            case _:
                for one in record.intent_ids:
                    self._named[one] = (*self._named.get(one, ()), record)
        self._look()

    def forget(self, now: datetime) -> tuple[HoldRecord, ...]:
        """Forget what has ended by itself; gives the pauses among it."""
        over = tuple(one for one in self._holds.values() if ends_at(one) <= now)
        for one in over:
            del self._holds[one.what, one.name]
        kept = {
            name: tuple(one for one in orders if one.at + CANCELS_FOR > now)
            for name, orders in self._named.items()
        }
        self._named = {name: orders for name, orders in kept.items() if orders}
        self._described = [one for one in self._described if one.at + CANCELS_FOR > now]
        self._look()
        return over

    def _look(self) -> None:
        self.holds_work = any(what is not Held.PROVIDER for what, _ in self._holds)

    def __iter__(self) -> Iterator[HoldRecord]:
        """Give the pauses that hold, the oldest first."""
        return iter(sorted(self._holds.values(), key=lambda one: one.at))

    def holds(self, tenant: str, kind: str) -> bool:
        """Whether work of a tenant and a type waits until it is resumed."""
        return self.holds_work and any(
            name in self._holds
            for name in ((Held.ALL, ""), (Held.TENANT, tenant), (Held.TYPE, kind))
        )

    @property
    def providers(self) -> frozenset[str]:
        """The providers that are not called."""
        return frozenset(name for what, name in self._holds if what is Held.PROVIDER)

    @property
    def cancels(self) -> bool:
        """Whether anything is to end."""
        return bool(self._named) or bool(self._described)

    def calls_off(self, work: Named) -> CancelRecord | None:
        """Give the order by which work is to end; None = it goes on."""
        for one in self._named.get(work.intent_id, ()):
            reach = timedelta() if work.is_replay else ID_REACHES
            if work.written_at <= one.until + reach and _describes(one, work):
                return one
        for one in self._described:
            if work.written_at <= one.until and _describes(one, work):
                return one
        return None


def _describes(order: CancelRecord, work: Named) -> bool:
    return order.tenant in {None, work.tenant} and order.type in {None, work.type}

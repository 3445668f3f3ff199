"""What has been done about dead letters: plans, runs, dismissals, and how replays ended."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal

from pydantic import ValidationError

from schemas.events import ReplayRecord
from schemas.operations import (
    Change,
    ControlRecord,
    DismissalRecord,
    ImportRecord,
    OperationRecord,
    PlanPart,
    PlanRecord,
    ProgressRecord,
    RunRecord,
)
from schemas.outcome import DeadLetter
from schemas.settings import Settings
from schemas.topics import Topics
from schemas.vocabulary import LetterState, RunState
from streams.kafka.reading import read_topic
from streams.kafka.rights import read_rights, require_rights
from streams.triage.decided import Ended, number_of
from streams.triage.places import Place, Places, unpacked

__all__ = ["Book", "Planned", "hash_of", "read_book"]

#: A run in one of these sends no more.
OVER = frozenset({RunState.DONE, RunState.STOPPED})


def hash_of(places: Iterable[Place], changes: Iterable[Change] = ()) -> str:
    """Give the SHA-256 of places in their order, and of what is changed in their intents."""
    found = hashlib.sha256()
    for partition, offset in places:
        found.update(f"{partition}:{offset}\n".encode())
    for change in changes:
        found.update(change.to_json() + b"\n")
    return found.hexdigest()


@dataclass(slots=True)
class Costs:
    """What the replays of a run have cost that have ended."""

    ended: int = 0
    usd: Decimal = Decimal(0)
    unpriced: int = 0

    def add(self, record: ReplayRecord) -> None:
        """Take one in."""
        self.ended += 1
        self.usd += record.cost_usd or 0
        self.unpriced += record.cost_usd is None


@dataclass(slots=True)
class Planned:
    """A plan, its letters, and its run where it has one."""

    plan: PlanRecord
    places: Places
    parts: int
    run: RunRecord | None = None
    progress: ProgressRecord | None = None
    #: What was asked of the run since somebody began it, or went on with it.
    control: ControlRecord | None = None

    @property
    def whole(self) -> bool:
        """Whether all of its list is there, and it is the list that was planned."""
        is_planned = hash_of(self.places, self.plan.changes) == self.plan.sha256
        return is_planned and self.parts == self.plan.parts

    @property
    def state(self) -> RunState | None:
        """Where its run stands; None = it was never begun."""
        if self.run is None:
            return None
        state = self.progress.state if self.progress else RunState.RUNNING
        return state if state in OVER or self.control is None else self.control.wanted

    def is_dealt_with(self, place: Place) -> bool:
        """Whether its run has come by a place."""
        done = self.progress.positions if self.progress else {}
        return place in self.places and place[1] <= done.get(place[0], -1)

    def will_send(self, place: Place) -> bool:
        """Whether its run is going to send what stands there."""
        going = self.run is not None and self.state not in OVER
        return going and place in self.places and not self.is_dealt_with(place)


@dataclass(slots=True)
class Book:
    """All of it, in the order in which it was done."""

    plans: dict[str, Planned] = field(default_factory=dict)
    dismissed: Places = field(default_factory=Places)
    ended: Ended = field(default_factory=Ended)
    #: Numbers of the letters that were published from a file: 60 bytes each.
    imported: set[int] = field(default_factory=set)
    #: Plan → what came of the replays that its run sent.
    costs: dict[str, Costs] = field(default_factory=lambda: defaultdict(Costs))
    _parts: dict[str, tuple[int, Places]] = field(default_factory=dict)

    def take(self, topics: Topics, topic: str, raw: bytes | None) -> ReplayRecord | None:
        """Take in a record of either topic, what somebody else wrote left out.

        Gives the replay that has ended, where it says that one has.
        """
        with suppress(ValidationError):  # somebody else's
            if raw and topic == topics.operations:
                self.add(raw)
            elif raw:
                ended = ReplayRecord.model_validate_json(raw)
                self.ended.add(ended)
                if ended.plan_id in self.plans:
                    self.costs[ended.plan_id].add(ended)
                return ended
        return None

    def add(self, raw: bytes) -> None:
        """Take in a record; raises ValidationError for what is none of ours."""
        match OperationRecord.model_validate_json(raw).root:
            case PlanPart() as part:
                count, places = self._parts.get(part.plan_id, (0, Places()))
                for offset in unpacked(part.offsets):
                    places.add((part.partition, offset))
                self._parts[part.plan_id] = count + 1, places
            case PlanRecord() as plan:
                count, places = self._parts.pop(plan.plan_id, (0, Places()))
                self.plans[plan.plan_id] = Planned(plan, places, count)
            case DismissalRecord() as dismissal:
                change = self.dismissed.add if dismissal.dismissed else self.dismissed.discard
                for offset in unpacked(dismissal.offsets):
                    change((dismissal.partition, offset))
            case ImportRecord() as done:
                self.imported.update(map(number_of, done.letters))
            case RunRecord() | ProgressRecord() | ControlRecord() as record:
                self._add_to_run(record)

    def _add_to_run(self, record: RunRecord | ProgressRecord | ControlRecord) -> None:
        """Take in what is said of the run of a plan; of one that is not known nothing is."""
        planned = self.plans.get(record.plan_id)
        match record:
            case _ if planned is None:
                return
            case RunRecord():
                planned.run, planned.control = record, None
            case ProgressRecord():
                planned.progress = record
            case ControlRecord():
                planned.control = record

    def was_imported(self, letter: DeadLetter) -> bool:
        """Whether a dead letter was published again from a file."""
        return bool(self.imported) and number_of(letter.dead_letter_id) in self.imported

    def state(self, place: Place, letter: DeadLetter, *, but: str = "") -> LetterState:
        """Say where a dead letter stands; `but` is a plan that is not asked."""
        ended = self.ended.of(letter)
        if ended is not None:
            return ended
        others = [one for name, one in self.plans.items() if name != but and one.run is not None]
        if any(one.is_dealt_with(place) for one in others) or self.was_imported(letter):
            return LetterState.REPLAYED
        if place in self.dismissed:
            return LetterState.DISMISSED
        if any(one.will_send(place) for one in others):
            return LetterState.WAITING
        return LetterState.OPEN


async def read_book(settings: Settings) -> Book:
    """Read what has been done; raises BrokerUnavailableError, RightsError, TopicsError."""
    book, topics = Book(), settings.topics
    await require_rights(settings, read_rights(topics.operations, topics.replays))
    for topic in (topics.operations, topics.replays):
        async for record in read_topic(settings, topic, needed=True):
            book.take(topics, topic, record.value)
    return book

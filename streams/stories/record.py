"""All that is on record of one intent, put together from what several sources say; pure."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from schemas.vocabulary import EventName
from streams.stories.parts import Call, Ending, Event, Waiting

__all__ = ["Record", "merged"]

#: The pacer's event; its intent's tenant it does not know.
DELIVERED = EventName.ONLYFANS_MESSAGE_SCHEDULED.value


@dataclass(frozen=True, slots=True)
class Record:
    """All that is on record of one intent; each part once, in the order of time."""

    intent_id: str
    calls: tuple[Call, ...] = ()
    endings: tuple[Ending, ...] = ()
    events: tuple[Event, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    #: Where it was read, and what could not be.
    sources: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def known(self) -> bool:
        """Whether anything is on record."""
        return bool(self.calls or self.endings or self.events or self.waiting)

    @property
    def tenants(self) -> tuple[str, ...]:
        """Whose intents have this id: tenants do not share ids."""
        named = {one.tenant for one in self.calls} | {one.tenant for one in self.endings}
        named |= {one.tenant for one in self.waiting}
        return tuple(sorted(named - {""}))

    @property
    def types(self) -> tuple[str, ...]:
        """Give the intent's type, where it is known."""
        named = {one.type for one in self.calls} | {one.type for one in self.endings}
        named |= {one.type for one in self.waiting}
        return tuple(sorted(named - {""}))

    def of_tenant(self, tenant: str) -> "Record":
        """Leave out what belongs to others; a delivery's event names nobody, and stays."""
        return replace(
            self,
            calls=tuple(one for one in self.calls if one.tenant == tenant),
            endings=tuple(one for one in self.endings if one.tenant == tenant),
            waiting=tuple(one for one in self.waiting if one.tenant == tenant),
            events=tuple(
                one for one in self.events if one.tenant == tenant or one.name == DELIVERED
            ),
        )


def merged(records: Iterable[Record]) -> Record:
    """Put together what several sources say of one intent; raises ValueError without any."""
    every = list(records)
    if not every:
        message = "there is nothing to put together"
        raise ValueError(message)
    calls: dict[str, Call] = {}
    endings: dict[str, Ending] = {}
    events: dict[str, Event] = {}
    waiting: dict[str, Waiting] = {}
    for one in every:
        for call in one.calls:
            known = calls.get(call.attempt_id)
            if known is None or call.rank > known.rank:
                calls[call.attempt_id] = call
        for ending in one.endings:
            other = endings.get(ending.outcome_id)
            if other is None or ending.rank > other.rank:
                endings[ending.outcome_id] = ending
        events |= {event.event_id: event for event in one.events}
        waiting |= {part.place: part for part in one.waiting}
    return Record(
        intent_id=every[0].intent_id,
        calls=tuple(sorted(calls.values(), key=lambda call: (call.started_at, call.attempt_id))),
        endings=tuple(sorted(endings.values(), key=lambda one: (one.at, one.outcome_id))),
        events=tuple(sorted(events.values(), key=lambda one: (one.at, one.event_id))),
        waiting=tuple(sorted(waiting.values(), key=lambda one: (one.since, one.place))),
        sources=tuple(dict.fromkeys(name for one in every for name in one.sources)),
        notes=tuple(dict.fromkeys(note for one in every for note in one.notes)),
    )

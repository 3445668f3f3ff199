"""What happens now: the newest event of each intent, followed while somebody looks."""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import ValidationError

from agents.clock import Clock
from hybrid.console.fresh import WORLD, sentence_of
from schemas.events import WorkflowEvent
from schemas.settings import Settings
from streams.kafka.reading import read_topic

__all__ = ["MOST", "Happened", "Newest", "Tail"]

#: Intents that are shown.
MOST = 100
#: It begins with what happened so long ago.
BEFORE = timedelta(minutes=5)
#: Nobody looks any more when nobody has asked for so long.
UNSEEN_S = 10.0


@dataclass(frozen=True, slots=True)
class Happened:
    """An event as it is shown."""

    at: datetime
    name: str
    intent_id: str
    tenant: str
    type: str
    worker: str


class Newest:
    """The newest event of each of the newest intents; pure, and bounded."""

    def __init__(self, most: int = MOST) -> None:
        """Begin without any."""
        self._most = most
        self._events: OrderedDict[str, Happened] = OrderedDict()
        #: How many were taken in.
        self.seen = 0

    def add(self, event: Happened) -> None:
        """Take one in, in the place of the one before of its intent."""
        self.seen += 1
        key = event.intent_id or f"{event.name}/{event.worker}"
        self._events[key] = event
        self._events.move_to_end(key)
        if len(self._events) > self._most:
            self._events.popitem(last=False)

    def rows(self) -> list[Happened]:
        """Give them, what came last first."""
        return list(reversed(self._events.values()))


class Tail:
    """Follows the events; the topic is read once for all who look, and by nobody for none."""

    def __init__(self, settings: Settings, *, clock: Clock) -> None:
        """Begin without reading."""
        self._settings = settings
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self._asked_at = float("-inf")
        self.newest = Newest()
        self.problem = ""

    def look(self) -> Newest:
        """Give what is known, and have it go on for a while."""
        self._asked_at = self._clock.monotonic()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._follow())
        return self.newest

    async def close(self) -> None:
        """End it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _follow(self) -> None:
        reading = asyncio.create_task(self._read())
        try:
            while not reading.done():
                await asyncio.wait({reading}, timeout=UNSEEN_S / 2)
                if self._clock.monotonic() - self._asked_at > UNSEEN_S:
                    return
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read(self) -> None:
        newest = Newest()
        since = self._clock.now() - BEFORE

        def begins() -> None:
            self.problem = ""  # also where the topic is quiet

        try:
            async for record in read_topic(
                self._settings,
                self._settings.topics.events,
                since=since,
                follow=True,
                on_reading=begins,
            ):
                try:
                    event = WorkflowEvent.model_validate_json(record.value or b"")
                except ValidationError:
                    continue  # somebody else's
                newest.add(_shown(event))
                self.newest = newest
        except WORLD as error:
            self.problem = sentence_of(error)


def _shown(event: WorkflowEvent) -> Happened:
    return Happened(
        event.occurred_at,
        str(event.name),
        event.intent_id or "",
        event.tenant or "",
        event.type or "",
        event.worker or "",
    )

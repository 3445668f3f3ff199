"""Dead letters at a glance: their causes, the newest of them, how many stand where; one reading."""

import heapq
from collections import Counter
from dataclasses import dataclass, field, replace

from schemas.outcome import DeadLetter
from schemas.settings import Settings
from schemas.vocabulary import LetterState
from streams.publishing.dead_letters import Selection
from streams.publishing.kinds import stated_model
from streams.triage.book import Book, read_book
from streams.triage.causes import Causes
from streams.triage.places import Place
from streams.triage.stands import standing_letters

__all__ = ["Key", "Newest", "Overview", "Row", "overview"]

#: What a row is ordered by: when it ended, and where it stands.
Key = tuple[float, int, int]


@dataclass(frozen=True, slots=True)
class Row:
    """A dead letter with where it stands."""

    place: Place
    letter: DeadLetter
    state: LetterState

    @property
    def key(self) -> Key:
        """Give its place in the order; it is no other's."""
        return (self.letter.failed_at.timestamp(), *self.place)


class Newest:
    """The newest of many, of which no more are kept than are wanted; pure."""

    def __init__(self, most: int, *, before: Key | None = None) -> None:
        """Begin without any; only what is older than `before` is taken."""
        self._most = most
        self._before = before
        self._heap: list[tuple[Key, Row]] = []
        self.left_out = 0

    def add(self, row: Row) -> None:
        """Take one in."""
        if self._before is not None and row.key >= self._before:
            return
        if len(self._heap) < self._most:
            heapq.heappush(self._heap, (row.key, row))
            return
        self.left_out += 1
        if self._heap and row.key > self._heap[0][0]:
            heapq.heapreplace(self._heap, (row.key, row))

    def rows(self) -> list[Row]:
        """Give them, the newest first."""
        return [row for _, row in sorted(self._heap, key=lambda one: one[0], reverse=True)]


@dataclass(slots=True)
class Overview:
    """What a selection comes to."""

    book: Book
    causes: Causes = field(default_factory=Causes)
    #: Of all that match but for where they stand.
    by_state: Counter[LetterState] = field(default_factory=Counter)
    matching: int = 0
    rows: list[Row] = field(default_factory=list)
    #: Whether there are older ones than the rows.
    more: bool = False


async def overview(
    settings: Settings,
    selection: Selection,
    *,
    most: int = 0,
    before: Key | None = None,
    book: Book | None = None,
    causes: bool = True,
) -> Overview:
    """Read the chosen dead letters once, and keep `most` of them at the most.

    `book` is what has been done about them, where it was just read. Without `causes` they are not
    put together by cause, which is most of the work.
    Raises BrokerUnavailableError, RightsError, TopicsError, KafkaError.
    """
    known = book or await read_book(settings)
    found, newest = Overview(known), Newest(most, before=before)
    everywhere = replace(selection, state=None, limit=None)
    async for place, letter, state in standing_letters(settings, everywhere, found.book):
        found.by_state[state] += 1
        if selection.state not in {None, state}:
            continue
        found.matching += 1
        if causes:
            found.causes.add(letter, stated_model(letter))
        newest.add(Row(place, letter, state))
    found.rows, found.more = newest.rows(), newest.left_out > 0
    return found

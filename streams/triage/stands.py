"""Dead letters with where they stand."""

from collections.abc import AsyncIterator

from schemas.outcome import DeadLetter
from schemas.settings import Settings
from schemas.vocabulary import LetterState
from streams.publishing.dead_letters import Selection, placed
from streams.triage.book import Book
from streams.triage.places import Place

__all__ = ["standing_letters"]


async def standing_letters(
    settings: Settings, selection: Selection, book: Book, *, sources: bool = False
) -> AsyncIterator[tuple[Place, DeadLetter, LetterState]]:
    """Give the chosen dead letters, one by one, each with its place and where it stands.

    `sources`: of those that only say where their intent stands it is read there.
    """
    count = 0
    async for place, letter in placed(settings, selection, sources=sources):
        state = book.state(place, letter)
        if selection.state not in {None, state}:
            continue
        if selection.limit is not None and count >= selection.limit:
            return
        count += 1
        yield place, letter, state

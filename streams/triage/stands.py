"""Dead letters with where they stand."""

from collections.abc import AsyncIterator

from aiokafka import ConsumerRecord

from schemas.outcome import DeadLetter
from schemas.settings import Settings
from schemas.vocabulary import LetterState
from streams.publishing.contents import Contents
from streams.publishing.dead_letters import Selection, chosen
from streams.triage.book import Book
from streams.triage.places import Place

__all__ = ["standing_letters", "standing_records"]


async def standing_letters(
    settings: Settings, selection: Selection, book: Book, *, sources: bool = False
) -> AsyncIterator[tuple[Place, DeadLetter, LetterState]]:
    """Give the chosen dead letters, one by one, each with its place and where it stands.

    `sources`: of those that only say where their intent stands it is read there.
    """
    async with Contents(settings) as contents:
        async for record, letter, state in standing_records(settings, selection, book, contents):
            whole = await contents.fetched(letter) if sources else letter
            yield (record.partition, record.offset), whole, state


async def standing_records(
    settings: Settings, selection: Selection, book: Book, contents: Contents
) -> AsyncIterator[tuple[ConsumerRecord, DeadLetter, LetterState]]:
    """Give them with their records, up to the limit; nothing is read at its source."""
    count = 0
    async for record, letter in chosen(settings, selection, contents):
        state = book.state((record.partition, record.offset), letter)
        if selection.state not in {None, state}:
            continue
        if selection.limit is not None and count >= selection.limit:
            return
        count += 1
        yield record, letter, state

"""Dismissing dead letters, and taking that back: which are meant, and what is written of it."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from itertools import islice

from schemas.operations import DismissalRecord
from schemas.settings import Settings
from schemas.vocabulary import LetterState
from streams.kafka.rights import dismissal_rights, require_rights
from streams.publishing.dead_letters import Selection
from streams.triage.book import read_book
from streams.triage.places import Places, packed
from streams.triage.stands import standing_letters

__all__ = ["dismissals", "places_that"]

#: Offsets in one record.
PART = 5_000


async def places_that(settings: Settings, selection: Selection, wanted: LetterState) -> Places:
    """Give where the chosen dead letters are that stand so; raises RightsError, KafkaError."""
    if selection.state not in {None, wanted}:
        return Places()
    await require_rights(settings, dismissal_rights(settings))
    book, places = await read_book(settings), Places()
    chosen = replace(selection, state=wanted)
    async for place, _, _ in standing_letters(settings, chosen, book):
        places.add(place)
    return places


def dismissals(
    places: Places, *, dismissed: bool, why: str, by: str, now: datetime
) -> Iterator[DismissalRecord]:
    """Give the records that say it."""
    for partition in places.partitions():
        offsets = places.offsets(partition)
        while some := list(islice(offsets, PART)):
            yield DismissalRecord(
                dismissed=dismissed,
                why=why,
                by=by,
                at=now,
                partition=partition,
                offsets=packed(some),
            )

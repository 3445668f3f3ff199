"""Choosing what a plan holds: which of the dead letters that match can be replayed."""

from collections import Counter
from dataclasses import dataclass, field
from itertools import islice

from agents.deciding.routes import Router
from schemas.outcome import DeadLetter
from schemas.settings import Settings
from schemas.vocabulary import LetterState
from streams.messages.digests import digest
from streams.messages.identity import deduplication_key
from streams.publishing.dead_letters import Selection, placed
from streams.publishing.kinds import normalised
from streams.triage.book import Book
from streams.triage.places import Place, Places
from streams.triage.pricing import Refusal, readable

__all__ = ["MOST_REPLAYS", "Choice", "choose", "may_replay"]

#: What came back so often is not helped by once more.
MOST_REPLAYS = 3
#: So many reasons of refusals are told apart.
MOST_REFUSALS = 20
#: Replay count, partition and offset of a dead letter in one number.
COUNT_BITS, PARTITION_BITS = 80, 60


@dataclass(slots=True)
class Choice:
    """What matches, and what of it is to be replayed."""

    places: Places = field(default_factory=Places)
    matching: int = 0
    #: Those that are left out, by where they stand.
    by_state: Counter[LetterState] = field(default_factory=Counter)
    over_limit: int = 0
    #: Older dead letters of intents whose newest one is there too.
    older: int = 0
    beyond_limit: int = 0
    refused: Counter[str] = field(default_factory=Counter)


def may_replay(state: LetterState, *, again: bool) -> bool:
    """Whether a dead letter that stands so may be replayed; `again`: also one without outcome.

    What has its outcome is not run again by any worker (docs/adr/0016).
    """
    return state is LetterState.OPEN or (
        again and state in {LetterState.REPLAYED, LetterState.WAITING}
    )


async def choose(
    settings: Settings,
    selection: Selection,
    book: Book,
    *,
    router: Router,
    again: bool = False,
    force: bool = False,
) -> Choice:
    """Choose the newest dead letter of each intent that may be replayed; keeps no letter.

    About 150 bytes are kept for each that may. `force`: also those that came back too often.
    """
    found = Choice()
    newest: dict[int, int] = {}
    async for place, letter in placed(settings, selection, sources=True):
        state = book.state(place, letter)
        if selection.state not in {None, state}:
            continue
        found.matching += 1
        if not may_replay(state, again=again):
            found.by_state[state] += 1
            continue
        if letter.replay_count >= MOST_REPLAYS and not force:
            found.over_limit += 1
            continue
        refusal = readable(settings, router, letter)
        if isinstance(refusal, Refusal) and letter.is_without_content:
            found.refused[f"{refusal.code}: {refusal.message}"] += 1
            continue
        if isinstance(refusal, Refusal):
            why = f"{refusal.code}: {normalised(refusal.message)}"
            known = why in found.refused or len(found.refused) < MOST_REFUSALS
            found.refused[why if known else "(other reasons)"] += 1
            continue
        name = int.from_bytes(digest(deduplication_key(letter.tenant, letter.intent_id))[:8])
        number = _number(place, letter)
        if name in newest:
            found.older += 1
        if newest.get(name, -1) >> COUNT_BITS <= letter.replay_count:
            newest[name] = number
    for number in islice(newest.values(), selection.limit):
        found.places.add(_place(number))
    found.beyond_limit = len(newest) - len(found.places)
    return found


def _number(place: Place, letter: DeadLetter) -> int:
    return letter.replay_count << COUNT_BITS | place[0] << PARTITION_BITS | place[1]


def _place(number: int) -> Place:
    rest = number & ((1 << COUNT_BITS) - 1)
    return rest >> PARTITION_BITS, rest & ((1 << PARTITION_BITS) - 1)

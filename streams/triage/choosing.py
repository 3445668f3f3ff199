"""Choosing what a plan holds: which of the dead letters that match can be replayed; pure."""

from collections import Counter
from dataclasses import dataclass, field
from itertools import islice

from schemas.outcome import DeadLetter
from schemas.vocabulary import LetterState
from streams.messages.digests import digest
from streams.messages.identity import deduplication_key
from streams.publishing.kinds import normalised
from streams.triage.places import Place, Places
from streams.triage.pricing import Refusal

__all__ = ["MOST_REPLAYS", "Choice", "Chooser", "may_replay", "may_run"]

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

    @property
    def is_whole(self) -> bool:
        """Whether all that were taken are chosen."""
        return not self.older and not self.beyond_limit


def may_replay(state: LetterState, *, again: bool) -> bool:
    """Whether a dead letter that stands so may be replayed; `again`: also one without outcome.

    What has its outcome is not run again by any worker (docs/adr/0016).
    """
    return state is LetterState.OPEN or (
        again and state in {LetterState.REPLAYED, LetterState.WAITING}
    )


def may_run(state: LetterState, *, again: bool) -> bool:
    """Whether a letter of a plan is sent by its run: also what waits for that very run."""
    return may_replay(state, again=again) or state is LetterState.WAITING


class Chooser:
    """Chooses the newest dead letter of each intent that may be replayed; keeps no letter.

    About 150 bytes are kept for each that may. `force`: also those that came back too often.
    """

    def __init__(self, *, again: bool = False, force: bool = False) -> None:
        """Begin without any."""
        self._again = again
        self._force = force
        self._found = Choice()
        self._newest: dict[int, int] = {}

    def wants(self, letter: DeadLetter, state: LetterState) -> bool:
        """Whether one that matches may be replayed, as far as can be said without its content."""
        found = self._found
        found.matching += 1
        if not may_replay(state, again=self._again):
            found.by_state[state] += 1
            return False
        if letter.replay_count >= MOST_REPLAYS and not self._force:
            found.over_limit += 1
            return False
        return True

    def refuse(self, letter: DeadLetter, refusal: Refusal) -> None:
        """Note one that a worker would refuse again."""
        refused = self._found.refused
        if letter.is_without_content:
            refused[f"{refusal.code}: {refusal.message}"] += 1
            return
        why = f"{refusal.code}: {normalised(refusal.message)}"
        is_known = why in refused or len(refused) < MOST_REFUSALS
        refused[why if is_known else "(other reasons)"] += 1

    def take(self, place: Place, letter: DeadLetter) -> None:
        """Take one in, unless a newer one of its intent is there."""
        name = int.from_bytes(digest(deduplication_key(letter.tenant, letter.intent_id))[:8])
        if name in self._newest:
            self._found.older += 1
        if self._newest.get(name, -1) >> COUNT_BITS <= letter.replay_count:
            self._newest[name] = _number(place, letter)

    def choice(self, limit: int | None = None) -> Choice:
        """Give what is chosen, at most so many."""
        for number in islice(self._newest.values(), limit):
            self._found.places.add(_place(number))
        self._found.beyond_limit = len(self._newest) - len(self._found.places)
        return self._found


def _number(place: Place, letter: DeadLetter) -> int:
    return letter.replay_count << COUNT_BITS | place[0] << PARTITION_BITS | place[1]


def _place(number: int) -> Place:
    rest = number & ((1 << COUNT_BITS) - 1)
    return rest >> PARTITION_BITS, rest & ((1 << PARTITION_BITS) - 1)

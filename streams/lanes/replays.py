"""Which dead letters have been replayed, and what their replay came to is decided.

A replay may be asked for again for as long as its dead letter is there, which is longer than the
ledger knows the intent. So the dead letter's id is remembered, in a topic of its own that keeps it
as long as the dead letters are kept. A replay that is deferred is not decided yet.
"""

from collections.abc import Callable
from itertools import islice
from typing import TypeVar

from schemas.events import ReplayRecord
from schemas.topics import REPLAYS_KEPT_MS
from streams.messages.digests import digest
from streams.messages.records import Identity

__all__ = ["SLICE", "Replays", "forget_oldest"]

Kept = TypeVar("Kept")

#: So many are looked at in one step: a few milliseconds.
SLICE = 2_000


class Replays:
    """The replayed dead letters of one lane: 16 bytes and a moment each.

    By tenant, id and what was replayed: whoever writes somebody else's id into a header stops
    neither their replay nor an intent of their own.
    """

    def __init__(self) -> None:
        """Begin without any."""
        self._decided: dict[bytes, int] = {}  # in the order in which they were decided

    def __len__(self) -> int:
        """Count what is remembered."""
        return len(self._decided)

    def knows(self, who: Identity) -> bool:
        """Whether a record is the replay of a dead letter whose replay has been decided."""
        letter = who.dead_letter_id
        return letter is not None and _name(who.tenant, letter, who.subject) in self._decided

    def note(self, who: Identity, decided_at_ms: int) -> None:
        """Remember that a replay has been decided; nothing, where it is none."""
        if who.dead_letter_id is not None:
            self._decided[_name(who.tenant, who.dead_letter_id, who.subject)] = decided_at_ms

    def load(self, value: bytes) -> None:
        """Take in a record of the topic; raises ValueError for one that is not ours."""
        record = ReplayRecord.model_validate_json(value)
        name = _name(record.tenant, record.dead_letter_id, record.subject)
        self._decided[name] = record.decided_at_ms

    def prune(self, *, now_ms: int) -> bool:
        """Forget a slice of those whose dead letters are gone; gives whether there may be more."""
        return forget_oldest(self._decided, lambda decided: now_ms - decided >= REPLAYS_KEPT_MS)


def forget_oldest(entries: dict[bytes, Kept], is_old: Callable[[Kept], bool]) -> bool:
    """Forget what is old of the first entries, a slice; gives whether there may be more."""
    oldest = list(islice(entries.items(), SLICE))
    old = [name for name, kept in oldest if is_old(kept)]
    for name in old:
        del entries[name]
    # Clocks differ a little, so some may be in the way of older ones.
    return len(oldest) == SLICE and bool(old)


def _name(tenant: str, dead_letter_id: str, subject: str) -> bytes:
    return digest(f"{len(tenant)}/{tenant}/{dead_letter_id}/{subject}")

"""Which replays have ended, and how; pure.

Memory grows with the replays that have ended, about 150 bytes each, not with the dead letters.
"""

from pydantic_core import from_json

from schemas.events import ReplayRecord
from schemas.outcome import DeadLetter
from schemas.vocabulary import LetterState, WorkflowStatus
from streams.messages.digests import digest
from streams.messages.identity import deduplication_key
from streams.publishing.originals import original_value

__all__ = ["Ended", "number_of"]

STATES = {
    # An older record does not say how it ended.
    None: LetterState.REPLAYED,
    WorkflowStatus.COMPLETED: LetterState.RESOLVED,
    WorkflowStatus.FAILED: LetterState.CAME_BACK,
    WorkflowStatus.DEFERRED: LetterState.REPLAYED,
}


class Ended:
    """The replays that have ended, by tenant, id and what was replayed, as lanes know them."""

    def __init__(self) -> None:
        """Begin without any."""
        self._ids: set[int] = set()
        self._states: dict[int, LetterState] = {}

    def __len__(self) -> int:
        """Count them."""
        return len(self._states)

    def add(self, record: ReplayRecord) -> None:
        """Take in that one has ended."""
        self._ids.add(number_of(record.dead_letter_id))
        name = _name(record.tenant, record.dead_letter_id, record.subject)
        self._states[name] = STATES[record.status]

    def of(self, letter: DeadLetter) -> LetterState | None:
        """Say how the replay of a dead letter ended; None = it has not, as far as is known."""
        if number_of(letter.dead_letter_id) not in self._ids:
            return None
        tenant, subject = _whose(letter)
        found = self._states.get(_name(tenant, letter.dead_letter_id, subject))
        # Before lanes wrote whose it is, the id alone was written.
        return found or self._states.get(_name(letter.tenant, letter.dead_letter_id, ""))


def _whose(letter: DeadLetter) -> tuple[str, str]:
    """Give tenant and subject of a dead letter's intent, as its replay's record names them."""
    if letter.type is None:  # it could not be read
        return "", letter.intent_id
    try:
        document = from_json(original_value(letter) or b"{}")
        stated = document.get("deduplication_id") or document.get("deduplicationId")
    except (ValueError, AttributeError):
        stated = None
    stated = letter.deduplication_id or stated  # letters of before that do not say it themselves
    return letter.tenant, deduplication_key(letter.tenant, str(stated or letter.intent_id))


def _name(tenant: str, letter: str, subject: str) -> int:
    return number_of(f"{len(tenant)}/{tenant}/{letter}/{subject}")


def number_of(text: str) -> int:
    """Shorten a text to 62 bits: two of a million share one with a chance of one in ten million."""
    return int.from_bytes(digest(text)[:8]) >> 2

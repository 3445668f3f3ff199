"""When intents wait in a batch, when a batch is made, and when what waits goes back; pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = [
    "WINDOW_MS",
    "Line",
    "Rules",
    "expected_ms",
    "fate",
    "goes_back_at",
    "in_time",
    "is_late",
    "look_pause_s",
    "may_wait",
    "ready",
]

#: A batch takes a day at most, in milliseconds; what it has not answered comes back then.
WINDOW_MS = 24 * 60 * 60 * 1000
#: Seconds between two looks at a batch: an eighth of the time waited, within these.
LEAST_PAUSE_S, MOST_PAUSE_S, SHARE = 1.0, 60.0, 8
#: What a file holds at most, in bytes, below OpenAI's 200 MB.
MOST_BYTES = 100_000_000

#: Of the states that OpenAI gives a batch, those after which nothing more comes.
ENDS = frozenset({"completed", "failed", "expired", "cancelled"})
#: Those in which it goes on.
GOES_ON = frozenset({"validating", "in_progress", "finalizing", "cancelling"})


@dataclass(frozen=True, slots=True)
class Line:
    """A line that waits to be gathered."""

    line_id: str
    provider: str
    model: str
    #: Bytes that it takes in the file, about.
    size: int
    since_ms: int
    back_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """How lines are gathered: for so long, and so many at most."""

    wait_ms: int
    most_lines: int


def in_time(deadline_at_ms: int | None, *, now_ms: int, margin_ms: int) -> bool:
    """Whether a deadline leaves time for a batch at all: as much as the margin, and that beside."""
    return deadline_at_ms is None or deadline_at_ms - now_ms >= 2 * margin_ms


def may_wait(processing: str, *, low: bool, deadline_ms: int | None, margin_ms: int) -> bool:
    """Whether an intent may be answered in a batch: it says so, or all that it says allows it.

    Without a word of its own: one of low priority, and one whose deadline leaves a whole day.
    """
    if processing != "auto":
        return processing == "batch"
    return low or (deadline_ms is not None and deadline_ms >= WINDOW_MS + margin_ms)


def expected_ms(past: Sequence[int]) -> int | None:
    """Give the time that a batch is expected to take: of the last ones, nine in ten were as quick.

    None = nothing is known. `past`: their times in milliseconds, in any order.
    """
    ranked = sorted(past)
    return ranked[min(len(ranked) - 1, len(ranked) * 9 // 10)] if ranked else None


def is_late(back_at_ms: int | None, *, now_ms: int, expected: int | None = None) -> bool:
    """Whether an intent must go back now; `expected`: how long one takes that is not begun yet."""
    return back_at_ms is not None and now_ms + (expected or 0) >= back_at_ms


def goes_back_at(deadline_at_ms: int | None, *, margin_ms: int) -> int | None:
    """Give the moment at which an intent must leave a batch to be in time; None = never."""
    return None if deadline_at_ms is None else deadline_at_ms - margin_ms


def ready(lines: Iterable[Line], rules: Rules, *, now_ms: int) -> list[tuple[Line, ...]]:
    """Give the batches that are to be made now, each of one provider and model.

    One is made when its oldest line has waited long enough, or it is full.
    """
    groups: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        groups.setdefault((line.provider, line.model), []).append(line)
    made = []
    for group in groups.values():
        group.sort(key=lambda one: (one.since_ms, one.line_id))
        for batch, full in _cut(group, rules.most_lines):
            if full or now_ms - batch[0].since_ms >= rules.wait_ms:
                made.append(batch)
    return made


def _cut(group: Sequence[Line], most_lines: int) -> Iterable[tuple[tuple[Line, ...], bool]]:
    """Cut lines, of which there is one at least, into batches; of each, whether it is full."""
    taken: list[Line] = []
    size = 0
    for line in group:
        if taken and (len(taken) >= most_lines or size + line.size > MOST_BYTES):
            yield tuple(taken), True
            taken, size = [], 0
        taken.append(line)
        size += line.size
    yield tuple(taken), len(taken) >= most_lines


def look_pause_s(waited_s: float) -> float:
    """Give the seconds until the next look at a batch that was made so long ago."""
    return min(MOST_PAUSE_S, max(LEAST_PAUSE_S, waited_s / SHARE))


def fate(status: str) -> Literal["waits", "ended", "odd"]:
    """Say what a provider's word for a batch's state asks for; `odd` is none that is known."""
    if status in ENDS:
        return "ended"
    return "waits" if status in GOES_ON else "odd"

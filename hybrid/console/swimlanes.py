"""How breakers moved, drawn: a lane for each provider and worker, its stretches as bars; pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from streams.bill.health import Stretch
from streams.stories.words import duration

__all__ = ["ROW", "WIDTH", "Bar", "Lane", "lanes_of"]

#: Width of the drawing, and height of a lane, in its own units.
WIDTH, ROW = 1000, 22
#: The look of a state; what is not here is drawn as what is waited for.
LOOKS = {"closed": "good", "open": "bad", "down": "bad", "half_open": "wait"}


@dataclass(frozen=True, slots=True)
class Bar:
    """A stretch as it is drawn, with the sentence that says it."""

    x: float
    width: float
    look: str
    words: str


@dataclass(frozen=True, slots=True)
class Lane:
    """One worker's view of one provider."""

    provider: str
    worker: str
    y: int
    bars: tuple[Bar, ...]


def lanes_of(
    found: Mapping[str, Sequence[Stretch]], *, since: datetime, until: datetime
) -> list[Lane]:
    """Draw each worker's view of each provider over the time; those that never moved are none."""
    whole = (until - since).total_seconds() or 1.0
    lanes: list[Lane] = []
    for provider, spans in sorted(found.items()):
        for worker in dict.fromkeys(one.worker for one in spans):
            bars = tuple(_bar(one, since, whole) for one in spans if one.worker == worker)
            lanes.append(Lane(provider, worker, len(lanes) * ROW, bars))
    return lanes


def _bar(one: Stretch, since: datetime, whole: float) -> Bar:
    begin = (one.begin - since).total_seconds() / whole * (WIDTH - 4)
    width = (one.end - one.begin).total_seconds() / whole * (WIDTH - 4)
    why = f", for {one.cause}" if one.cause else ""
    lasted = duration(one.end - one.begin)
    words = f"{one.state.replace('_', ' ')} for {lasted} from {one.begin:%H:%M:%S} UTC{why}"
    return Bar(round(begin, 1), max(2.0, round(width, 1)), LOOKS.get(one.state, "wait"), words)

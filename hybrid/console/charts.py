"""Charts as numbers for SVG: columns and lines over time, each step of it a link; pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

__all__ = ["HEIGHT", "WIDTH", "Drawn", "Line", "Mark", "Step", "drawn"]

#: The drawing in its own units; what is left of it is for the words of the scale.
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 720, 180, 64, 10, 20
#: Thinner columns are not seen.
THINNEST = 0.5


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the time: when it begins, where it leads to, and what is said of it."""

    begin: datetime
    href: str
    says: str
    #: What stands on one another, each with its look; None = not known.
    stack: tuple[tuple[str, float | None], ...] = ()
    #: What is a line each, in the order of `names`.
    levels: tuple[float | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Mark:
    """A part of a column."""

    look: str
    x: float
    y: float
    width: float
    height: float
    href: str
    says: str


@dataclass(frozen=True, slots=True)
class Line:
    """A line, in as many pieces as its gaps make; a single point is a piece too."""

    name: str
    look: str
    pieces: tuple[str, ...]
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Drawn:
    """A chart."""

    marks: tuple[Mark, ...]
    lines: tuple[Line, ...]
    #: Height and word of each line of the scale.
    scale: tuple[tuple[float, str], ...]
    #: Place and word below.
    below: tuple[tuple[float, str], ...]
    #: Where each step is touched: x, width, address, words.
    touched: tuple[tuple[float, float, str, str], ...]


def drawn(
    steps: Sequence[Step],
    *,
    said: Callable[[float], str],
    when: str,
    names: Sequence[tuple[str, str]] = (),
) -> Drawn | None:
    """Draw steps side by side; None where nothing is known of any of them.

    `said` writes a value of the scale, `when` is the format of the moments below, `names` are name
    and look of each line.
    """
    tops = [sum(one or 0.0 for _, one in step.stack) for step in steps]
    tops += [one for step in steps for one in step.levels if one is not None]
    if not steps or not any(tops):
        return None
    top, wide = max(tops), (WIDTH - LEFT) / len(steps)
    high = HEIGHT - TOP - BOTTOM

    def height(value: float) -> float:
        return round(HEIGHT - BOTTOM - value / top * high, 1)

    marks: list[Mark] = []
    for number, step in enumerate(steps):
        x, below = round(LEFT + number * wide, 2), 0.0
        for look, value in step.stack:
            if value:
                y = height(below + value)
                marks.append(Mark(look, x, y, round(max(THINNEST, wide * 0.85), 2),
                                  round(height(below) - y, 1), step.href, step.says))  # fmt: skip
                below += value
    lines = tuple(
        _line(name, look, [
            None if (value := step.levels[place]) is None
            else (round(LEFT + (number + 0.5) * wide, 1), height(value))
            for number, step in enumerate(steps)
        ])
        for place, (name, look) in enumerate(names)
    )  # fmt: skip
    shown = {0, len(steps) // 2, len(steps) - 1}
    return Drawn(
        tuple(marks),
        lines,
        tuple((height(part * top), said(part * top)) for part in (0.0, 0.5, 1.0)),
        tuple((round(LEFT + n * wide, 1), steps[n].begin.strftime(when)) for n in sorted(shown)),
        tuple((round(LEFT + n * wide, 2), round(wide, 2), step.href, step.says)
              for n, step in enumerate(steps)),
    )  # fmt: skip


def _line(name: str, look: str, points: Sequence[tuple[float, float] | None]) -> Line:
    pieces: list[list[tuple[float, float]]] = [[]]
    for point in points:
        if point is not None:
            pieces[-1].append(point)
        elif pieces[-1]:
            pieces.append([])
    texts = tuple(" ".join(f"{x},{y}" for x, y in piece) for piece in pieces if len(piece) > 1)
    alone = tuple(piece[0] for piece in pieces if len(piece) == 1)
    return Line(name, look, texts, alone)

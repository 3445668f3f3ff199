"""docs/message-life.svg: one message's life, drawn; the numbers are those of message-life.md.

It has a ground of its own and follows the reader's light or dark, so it can be read on any page.
"""

from dataclasses import dataclass
from itertools import pairwise
from xml.sax.saxutils import escape

__all__ = ["life"]

WIDTH, HEIGHT = 900, 760
STYLE = """
svg { color-scheme: light dark; }
.ground { fill: #ffffff; } .text { fill: #1f2933; } .quiet { fill: #52606d; }
.kafka { fill: #e3edfb; stroke: #3f6fb5; } .worker { fill: #f3f4f6; stroke: #66727f; }
.outside { fill: #e5f4ea; stroke: #3b8757; } .end { fill: #b3261e; }
.way { stroke: #52606d; fill: none; stroke-width: 1.6; } .tip { fill: #52606d; }
.back { stroke-dasharray: 5 4; }
@media (prefers-color-scheme: dark) {
  .ground { fill: #14181d; } .text { fill: #e6e9ed; } .quiet { fill: #aab4bf; }
  .kafka { fill: #1d2f49; stroke: #7aa7e6; } .worker { fill: #242a31; stroke: #95a1ad; }
  .outside { fill: #1b3626; stroke: #74c093; } .end { fill: #ff9d94; }
  .way { stroke: #aab4bf; } .tip { fill: #aab4bf; }
}
"""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle with a headline and, below it, quiet lines."""

    kind: str
    x: int
    y: int
    width: int
    height: int
    title: str
    lines: tuple[str, ...] = ()

    @property
    def right(self) -> int:
        """Its right side."""
        return self.x + self.width

    @property
    def bottom(self) -> int:
        """Its lower side."""
        return self.y + self.height

    @property
    def middle(self) -> int:
        """Half its height."""
        return self.y + self.height // 2


LEFT, STEPS, RIGHT = 40, 320, 660
#: Number, title, what happens there, and how a message may end there.
STATIONS = (
    ("1", "delivered", "read, committed records only", ""),
    ("2", "in line", "urgent, deferred, ordinary", ""),
    ("3", "its turn", "tenants share turns; a slot is free", ""),
    ("4", "read", "JSON to an intent, and whose it is", "cannot be read: dead letter"),
    ("5", "known already?", "the ledger says", "decided before: ignored"),
    ("6", "executed", "admitted, planned; or from the cache", "limits, budget: dead letter"),
    ("7", "called", "on record first, then the call", ""),
    ("8", "decided", "classified; the policy says what follows", ""),
    ("9", "written down", "the outcome becomes records", ""),
    ("10", "committed", "one transaction, all or nothing", ""),
    ("11", "done", "its offset, in order", ""),
)
STEP, FIRST = 58, 62


def life() -> str:
    """Give the picture as SVG."""
    steps = [
        Box("worker", STEPS, FIRST + STEP * place, 270, 44, f"{number}  {title}", (text,))
        for place, (number, title, text, _) in enumerate(STATIONS)
    ]
    at = {title: box for box, (_, title, _, _) in zip(steps, STATIONS, strict=True)}
    sources = Box(
        "kafka", LEFT, 56, 210, 64, "intents, intents.urgent", ("deferred.10s, .60s, .600s",)
    )
    ledger = Box("kafka", LEFT, at["known already?"].y, 210, 44, "ledger", ("what was decided",))
    started = Box("kafka", LEFT, at["called"].y, 210, 44, "attempts", ("started, before the call",))
    written = Box(
        "kafka", LEFT, at["written down"].y + 18, 210, 84, "results, or dead-letters,",
        ("or deferred; the last attempt,", "state, events, spend, ledger"),
    )  # fmt: skip
    provider = Box(
        "outside", RIGHT, at["called"].y - 4, 200, 96, "provider",
        ("OpenAI, Azure, your own", "", "answers, or fails"),
    )  # fmt: skip
    recorder = Box("worker", STEPS, 708, 270, 40, "12  recorded", ())
    store = Box("outside", RIGHT, 708, 200, 40, "ClickHouse: the bill", ())
    boxes = [sources, ledger, started, written, provider, recorder, store, *steps]
    parts = [_shape(box) for box in boxes]
    parts += [_way((one.x + 135, one.bottom), (two.x + 135, two.y)) for one, two in _pairs(steps)]
    parts += [
        _way((sources.right, at["delivered"].middle), (STEPS, at["delivered"].middle)),
        _way((ledger.right, ledger.middle), (STEPS, ledger.middle)),
        _way((STEPS, started.middle), (started.right, started.middle)),
        _way((at["called"].right, at["called"].middle), (RIGHT, at["called"].middle)),
        _way((RIGHT, at["decided"].middle), (at["decided"].right, at["decided"].middle)),
        _way((STEPS, at["committed"].middle), (written.right, at["committed"].middle)),
        _way((written.x + 105, written.bottom), (written.x + 105, 728), (STEPS, 728)),
        _way((recorder.right, recorder.middle), (RIGHT, recorder.middle)),
        # A deferral comes back; a retry calls again.
        _way((LEFT, written.middle), (18, written.middle), (18, 106), (LEFT, 106), dashed=True),
        _way(
            (at["decided"].right, at["decided"].middle + 12),
            (at["decided"].right + 26, at["decided"].middle + 12),
            (at["decided"].right + 26, at["executed"].middle + 8),
            (at["executed"].right, at["executed"].middle + 8),
            dashed=True,
        ),
        _words(at["decided"].right + 34, at["decided"].bottom + 18, "retry, or the next provider"),
        _words(LEFT, 140, "what was put off comes back"),
        _words(LEFT, 36, "Kafka", strong=True),
        _words(STEPS, 36, "worker", strong=True),
        _words(RIGHT, 36, "outside", strong=True),
        *(
            _words(box.right + 12, box.y + 17, end, kind="end")
            for box, (_, _, _, end) in zip(steps, STATIONS, strict=True)
            if end
        ),
    ]
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="system-ui, sans-serif" font-size="13" role="img" '
        'aria-label="One message\'s life, from a topic of intents to ClickHouse">\n'
        f"<style>{STYLE}</style>\n"
        f'<rect class="ground" width="{WIDTH}" height="{HEIGHT}" rx="10"/>\n{body}\n</svg>\n'
    )


def _pairs(steps: list[Box]) -> list[tuple[Box, Box]]:
    return list(pairwise(steps))


def _shape(box: Box) -> str:
    first = box.middle + 5 if not any(box.lines) else box.y + 18
    place = f'x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}"'
    lines = [
        f'<rect class="{box.kind}" {place} rx="6"/>',
        _words(box.x + 12, first, box.title, strong=True),
    ]
    lines += [
        _words(box.x + 12, box.y + 36 + 17 * number, text, kind="quiet")
        for number, text in enumerate(box.lines)
        if text
    ]
    return "\n".join(lines)


def _words(x: int, y: int, text: str, *, kind: str = "text", strong: bool = False) -> str:
    weight = ' font-weight="600"' if strong else ""
    return f'<text class="{kind}" x="{x}" y="{y}"{weight}>{escape(text)}</text>'


def _way(*points: tuple[int, int], dashed: bool = False) -> str:
    """Draw a line through points, with a tip at its end."""
    (x0, y0), (x, y) = points[-2:]
    across, down = (x > x0) - (x < x0), (y > y0) - (y < y0)
    tip = [(x, y)] + [
        (x - 8 * across + side * 4 * down, y - 8 * down + side * 4 * across) for side in (1, -1)
    ]
    path = " ".join(f"{a},{b}" for a, b in points)
    corners = " ".join(f"{a},{b}" for a, b in tip)
    style = "way back" if dashed else "way"
    return f'<polyline class="{style}" points="{path}"/><polygon class="tip" points="{corners}"/>'

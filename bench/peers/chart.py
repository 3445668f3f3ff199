"""The picture: bars with their range, as SVG made by hand; pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from xml.sax.saxutils import escape

__all__ = ["Bars", "Panel", "drawn"]

WIDTH, LEFT, RIGHT, BAR, GAP, HEAD, FOOT = 880, 270, 120, 18, 10, 44, 16
OWN, OTHER, INK = "#d9480f", "#868e96", "#495057"


@dataclass(frozen=True, slots=True)
class Bars:
    """One pipeline's bar: all its values, of which the median is drawn and the range marked."""

    label: str
    values: Sequence[float]
    ours: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """Bars on one scale, which begins at 0."""

    title: str
    bars: Sequence[Bars]
    shape: str
    """How a value is written, as `format` has it."""


def drawn(panels: Sequence[Panel]) -> str:
    """Give the document; a panel without values is left out."""
    shown = [panel for panel in panels if any(one.values for one in panel.bars)]
    heights = [HEAD + len(panel.bars) * (BAR + GAP) + FOOT for panel in shown]
    parts, top = [], 0
    for panel, height in zip(shown, heights, strict=True):
        parts += _panel(panel, top)
        top += height
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" '
        'font-family="system-ui, sans-serif" font-size="13">'
    )
    ground = f'<rect width="{WIDTH}" height="{top}" fill="#ffffff"/>'
    return "\n".join([head, ground, *parts, "</svg>", ""])


def _text(x: float, y: float, words: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{INK}"{more}>{escape(words)}</text>'


def _panel(panel: Panel, top: int) -> list[str]:
    most = max(max(one.values) for one in panel.bars if one.values) or 1.0
    scale = (WIDTH - LEFT - RIGHT) / most
    bold = ' font-weight="600"'
    parts = [_text(16, top + 26, panel.title, f'{bold} font-size="15"')]
    for number, one in enumerate(panel.bars):
        y = top + HEAD + number * (BAR + GAP)
        middle, line = y + BAR / 2, y + BAR / 2 + 4.5
        side = ' text-anchor="end"' + (bold if one.ours else "")
        parts.append(_text(LEFT - 10, line, one.label, side))
        if not one.values:
            parts.append(_text(LEFT, line, "–"))
            continue
        value, fill = median(one.values), OWN if one.ours else OTHER
        least, highest = (LEFT + end * scale for end in (min(one.values), max(one.values)))
        size = f'width="{value * scale:.1f}" height="{BAR}"'
        parts.append(f'<rect x="{LEFT}" y="{y}" {size} fill="{fill}"/>')
        way = f"M{least:.1f} {middle}H{highest:.1f}"
        parts.append(f'<path d="{way}" stroke="{INK}" stroke-width="2"/>')
        parts.append(_text(highest + 8, line, format(value, panel.shape)))
    return parts

"""Drawing a chart: in the terminal (rich, plotext), or as a picture (matplotlib)."""

import warnings
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from rich.bar import Bar
from rich.console import Console
from rich.table import Table

from hybrid.errors import HybridError, UsageError
from hybrid.text import cell, visible

__all__ = ["Chart", "draw", "write_png"]

EXTRA = "install the drawing libraries: pip install 'hybrid-orchestrator[plot]'"
ROWS = 18
COLUMNS = 100
MARKERS = "•x+o*#"
#: Names on an axis of time, at most.
TICKS = 8


@dataclass(frozen=True, slots=True)
class Chart:
    """Numbers of some series at the same places; None where a series has none."""

    title: str
    places: list[str]
    series: dict[str, list[float | None]]
    #: A trend over time is a line, anything else is bars.
    trend: bool = False


def draw(chart: Chart, console: Console) -> None:
    """Draw the chart on a terminal; raises UsageError for a trend where plotext is missing."""
    if chart.trend:
        _draw_trend(chart, console)
    else:
        _draw_bars(chart, console)


def _draw_bars(chart: Chart, console: Console) -> None:
    """Draw a bar for each number, with the number behind it: small ones are seen too."""
    most = max((y for one in chart.series.values() for y in one if y is not None), default=0.0)
    table = Table.grid(padding=(0, 1))
    table.title, table.title_justify = cell(chart.title), "left"
    for number, place in enumerate(chart.places):
        for name, values in chart.series.items():
            value = values[number] or 0.0
            first = name == next(iter(chart.series))
            words = [place if first else ""] + ([name] if len(chart.series) > 1 else [])
            bar = Bar(size=most or 1.0, begin=0, end=value, width=min(60, console.width // 2))
            table.add_row(*(cell(word) for word in words), bar, f"{value:,.6g}")
    console.print(table, highlight=False)


def _draw_trend(chart: Chart, console: Console) -> None:
    try:
        import plotext  # noqa: PLC0415 - an extra
    except ImportError:
        message = f"--plot: {EXTRA}"
        raise UsageError(message) from None

    # A series without a number is no line, and plotext fails over its name.
    drawn = {
        name: [(x, y) for x, y in enumerate(values) if y is not None]
        for name, values in chart.series.items()
    }
    drawn = {name: points for name, points in drawn.items() if points}
    if not drawn:
        console.print("nothing to draw", highlight=False)
        return
    plotext.clear_figure()
    plotext.theme("clear")
    plotext.title(visible(chart.title))
    plotext.plot_size(min(COLUMNS, console.width), ROWS)
    for (name, points), marker in zip(drawn.items(), cycle(MARKERS), strict=False):
        # Lines are told apart by their characters: a log or a pipe has no colours.
        plotext.plot(
            [x for x, _ in points], [y for _, y in points], label=visible(name), marker=marker
        )
    plotext.ylim(0, None)
    plotext.xticks(*_ticks(chart.places))
    console.print(plotext.uncolorize(plotext.build()), highlight=False, markup=False)


def write_png(chart: Chart, file: Path) -> None:
    """Write the chart as a picture; raises UsageError without matplotlib, HybridError."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra, and slow to import
    except ImportError:
        message = f"--png: {EXTRA}"
        raise UsageError(message) from None

    height = 4.5 if chart.trend else max(2.5, 0.35 * len(chart.places) * len(chart.series) + 1.2)
    figure = Figure(figsize=(10, height), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(_written(chart.title))
    if chart.trend:
        for name, values in chart.series.items():
            axes.plot(range(len(values)), [float("nan") if y is None else y for y in values],
                      label=_written(name), marker=".")  # fmt: skip
        places, names = _ticks(chart.places)
        axes.set_xticks(places, names)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    else:
        thick = 0.8 / len(chart.series)
        for number, (name, values) in enumerate(chart.series.items()):
            at = [place + number * thick for place in range(len(chart.places))]
            axes.barh(at, [value or 0.0 for value in values], height=thick, label=_written(name))
        middle = (len(chart.series) - 1) * thick / 2
        names = [_written(place) for place in chart.places]
        axes.set_yticks([place + middle for place in range(len(names))], names)
        axes.invert_yaxis()
        axes.grid(axis="x", alpha=0.3)
    if len(chart.series) > 1 or chart.trend:
        axes.legend()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of signs that its font lacks: they are boxes
            figure.savefig(file, format="png", dpi=120)
    except OSError as error:
        message = f"--png {file}: it cannot be written ({error.strerror})"
        raise HybridError(message) from None


def _written(name: str) -> str:
    """Give a name as a picture shows it: no sign of it is a formula, or hides it."""
    text = visible(name).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def _ticks(places: list[str]) -> tuple[list[int], list[str]]:
    """Choose the places on an axis of time that are named."""
    step = max(1, -(-len(places) // TICKS))
    chosen = list(range(0, len(places), step))
    return chosen, [places[number] for number in chosen]

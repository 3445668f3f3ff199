"""A report as a chart: `--plot` draws it in the terminal, `--png FILE` writes a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from hybrid.errors import UsageError
from hybrid.plots import Chart, draw, write_png
from hybrid.printing import PLAIN_VIEW, Format, View, console, print_table
from streams.bill.costs import TIMES, Table

__all__ = ["PlotOption", "PngOption", "chart_of", "show"]

PlotOption = Annotated[bool, typer.Option("--plot", help="draw it too")]
PngOption = Annotated[
    Path | None, typer.Option("--png", metavar="FILE", help="write it as a picture too")
]
#: Bars of one chart; the table has them all.
MOST_BARS = 24


def show(
    table: Table,
    form: Format,
    *,
    chart: Chart,
    plot: bool,
    png: Path | None,
    view: View = PLAIN_VIEW,
) -> None:
    """Print a report, and draw it where that is asked for; raises UsageError, HybridError."""
    if plot and form is not Format.TABLE:
        message = f"--plot draws beside the table: leave out --format {form.value}, or write --png"
        raise UsageError(message)
    if not table.rows and form is Format.TABLE:
        console.print(
            "nothing is on record for that: leave out a filter, or look further back with --since; "
            "`hybrid status` says whether the recorder is behind",
            highlight=False,
            markup=False,
        )
    else:
        print_table(table.columns, table.rows, form, view=view)
    if not (plot or png):
        return
    if not chart.places:
        console.print("nothing to draw", highlight=False)
        return
    if plot:
        draw(chart, console)
    if png is not None:
        write_png(chart, png)
        typer.echo(f"wrote {png}", err=True)


def chart_of(table: Table, title: str, *, keys: Sequence[str], values: Sequence[str]) -> Chart:
    """Make a chart of a table: a line over time where a key is a time, else bars by all keys."""
    at = {name: number for number, name in enumerate(table.columns)}
    moments = [key for key in keys if key in TIMES]
    if not moments:
        rows = table.rows[:MOST_BARS]
        places = [" ".join(str(row[at[key]]) for key in keys) for row in rows]
        series = {value: [_number(row[at[value]]) for row in rows] for value in values}
        more = len(table.rows) - len(rows)
        return Chart(f"{title}{f', {more} more in the table' if more > 0 else ''}", places, series)
    moment = moments[-1]
    others = [key for key in keys if key not in TIMES]
    times = sorted({row[at[moment]] for row in table.rows})
    place = {time: number for number, time in enumerate(times)}
    lines: dict[str, list[float | None]] = {}
    for row in table.rows:
        name = " ".join(str(row[at[key]]) for key in others)
        for value in values:
            told = " ".join(part for part in (name, value if len(values) > 1 else "") if part)
            line = lines.setdefault(told or value, [None] * len(times))
            line[place[row[at[moment]]]] = _number(row[at[value]])
    form = "%m-%d" if moment == "day" else "%m-%d %H:%M"
    names = [time.strftime(form) for time in times]
    return Chart(title, names, lines, trend=True)


def _number(value: object) -> float | None:
    return None if value is None else float(str(value))

"""Tables of a series: medians with their spread, and ratios to the floor; pure."""

from collections.abc import Callable, Iterable, Sequence
from statistics import median

from bench.peers.added import RATES, Added
from bench.peers.lineup import Pipeline
from bench.peers.series import Series
from bench.peers.starting import Start
from bench.peers.throughput import Run

__all__ = ["aligned", "cpu_of_floor", "latency_table", "printed", "start_table", "throughput_table"]

FLOOR = "floor"
NONE = "–"
Table = list[list[str]]


def _spread(values: Iterable[float], shape: str) -> str:
    """Write the median, and the range where there is one."""
    known = sorted(values)
    if not known:
        return NONE
    middle, least, most = (format(one, shape) for one in (median(known), known[0], known[-1]))
    return middle if least == most else f"{middle} ({least}–{most})"


def _ratio(of: Sequence[Run], to: Sequence[Run], figure: Callable[[Run], float], shape: str) -> str:
    """Write the ratio of the medians, as far as there are both."""
    if not of or not to:
        return NONE
    return format(median(map(figure, of)) / median(map(figure, to)), shape)


def cpu_of_floor(runs: Sequence[Run], name: str) -> float | None:
    """Give how many times the floor's CPU an intent takes; None without both among the runs."""
    floor = [one.cpu_s_per_1000 for one in runs if one.name == FLOOR]
    mine = [one.cpu_s_per_1000 for one in runs if one.name == name]
    return median(mine) / median(floor) if floor and mine else None


def throughput_table(pipelines: Sequence[Pipeline], runs: Sequence[Run]) -> Table:
    """Give a row for each pipeline, of runs at one latency of the provider."""
    table = [
        [
            "pipeline", "intents/s", "× floor", "CPU s per 1,000", "× floor", "peak MB",
            "cores: it, Kafka, provider", "foreign cores", "doubled",
        ]
    ]  # fmt: skip
    floor = [one for one in runs if one.name == FLOOR]
    for pipeline in pipelines:
        mine = [one for one in runs if one.name == pipeline.name]
        if not mine:
            table.append([pipeline.title, "failed", *[NONE] * (len(table[0]) - 2)])
            continue
        cores = (
            median(one.worker_cores for one in mine),
            median(one.broker_cores for one in mine),
            median(one.stub_cores for one in mine),
        )
        table.append(
            [
                pipeline.title,
                _spread((one.rate for one in mine), ",.0f"),
                _ratio(mine, floor, lambda one: one.rate, ".3f"),
                _spread((one.cpu_s_per_1000 for one in mine), ".2f"),
                _ratio(mine, floor, lambda one: one.cpu_s_per_1000, ".1f"),
                format(max(one.peak_mb for one in mine), ".0f"),
                ", ".join(format(one, ".2f") for one in cores),
                _spread((one.foreign_cores for one in mine), ".2f"),
                str(sum(one.again for one in mine)),
            ]
        )
    return table


def latency_table(pipelines: Sequence[Pipeline], added: Sequence[Added]) -> Table:
    """Give a row for each pipeline: p50 and p99 at each rate, in milliseconds."""
    marks = [f"{mark} at {rate}/s, ms" for rate in RATES for mark in ("p50", "p99")]
    table = [["pipeline", *marks]]
    for pipeline in pipelines:
        row = [pipeline.title]
        for rate in RATES:
            mine = [one for one in added if (one.name, one.rate) == (pipeline.name, rate)]
            middle = [one.p50_ms for one in mine if one.p50_ms is not None]
            late = [one.p99_ms for one in mine if one.p99_ms is not None]
            if mine and len(middle) < len(mine):
                row += ["falls behind", "falls behind"]
            else:
                row += [_spread(middle, ".0f"), _spread(late, ".0f")]
        table.append(row)
    return table


def start_table(pipelines: Sequence[Pipeline], starts: Sequence[Start]) -> Table:
    """Give a row for each pipeline: seconds to be ready and to results, cores while idle."""
    table = [["pipeline", "ready, s", "first result, s", "last result, s", "idle, % of a core"]]
    for pipeline in pipelines:
        mine = [one for one in starts if one.name == pipeline.name]
        table.append(
            [
                pipeline.title,
                _spread((one.ready_s for one in mine if one.ready_s is not None), ".1f"),
                _spread((one.first_result_s for one in mine), ".1f"),
                _spread((one.last_result_s for one in mine), ".1f"),
                _spread((one.idle_cores * 100 for one in mine), ".1f"),
            ]
        )
    return table


def aligned(table: Sequence[Sequence[str]]) -> str:
    """Write rows of cells as columns of one width each."""
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in table
    ]
    return "\n".join(line.rstrip() for line in lines)


def printed(pipelines: Sequence[Pipeline], series: Series) -> str:
    """Write all that was measured for a terminal."""
    parts = []
    for latency_ms in sorted({one.latency_ms for one in series.throughput}):
        runs = [one for one in series.throughput if one.latency_ms == latency_ms]
        parts += [f"provider at {latency_ms} ms", aligned(throughput_table(pipelines, runs))]
    if series.latency:
        parts += ["added latency", aligned(latency_table(pipelines, series.latency))]
    if series.start:
        parts += ["start and idle", aligned(start_table(pipelines, series.start))]
    return "\n".join([*parts, *(f"failed: {one}" for one in series.failures)])

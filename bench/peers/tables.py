"""Tables of runs: medians with their spread, and ratios to the floor."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from bench.peers.lineup import Pipeline
from bench.peers.throughput import Run

__all__ = ["Row", "Spread", "aligned", "printed", "rows_of"]

FLOOR = "floor"


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over several rounds."""

    middle: float
    least: float
    most: float

    def text(self, shape: str) -> str:
        """Write the median, and the range where there is one."""
        if self.least == self.most:
            return format(self.middle, shape)
        return f"{self.middle:{shape}} ({self.least:{shape}}–{self.most:{shape}})"


@dataclass(frozen=True, slots=True)
class Row:
    """One pipeline over all rounds."""

    name: str
    title: str
    rate: Spread
    cpu: Spread
    """CPU seconds for 1,000 intents."""
    peak_mb: float
    cores: tuple[float, float, float]
    """Of pipeline, broker and stub."""
    foreign: float
    rate_of_floor: float | None
    cpu_of_floor: float | None
    again: int
    runs: int


def _spread(runs: Sequence[Run], figure: Callable[[Run], float]) -> Spread:
    values = [figure(one) for one in runs]
    return Spread(median(values), min(values), max(values))


def rows_of(pipelines: Sequence[Pipeline], runs: Sequence[Run]) -> list[Row]:
    """Sum up the rounds; ratios are of medians, None without a floor among the runs."""
    by_name = {
        one.name: mine
        for one in pipelines
        if (mine := [run for run in runs if run.name == one.name])
    }
    floor = by_name.get(FLOOR)
    floor_rate = median(one.rate for one in floor) if floor else None
    floor_cpu = median(one.cpu_s_per_1000 for one in floor) if floor else None
    rows = []
    for pipeline in pipelines:
        if pipeline.name not in by_name:
            continue
        mine = by_name[pipeline.name]
        rate, cpu = (
            _spread(mine, lambda one: one.rate),
            _spread(mine, lambda one: one.cpu_s_per_1000),
        )
        rows.append(
            Row(
                name=pipeline.name,
                title=pipeline.title,
                rate=rate,
                cpu=cpu,
                peak_mb=max(one.peak_mb for one in mine),
                cores=(
                    median(one.worker_cores for one in mine),
                    median(one.broker_cores for one in mine),
                    median(one.stub_cores for one in mine),
                ),
                foreign=max(one.foreign_cores for one in mine),
                rate_of_floor=rate.middle / floor_rate if floor_rate else None,
                cpu_of_floor=cpu.middle / floor_cpu if floor_cpu else None,
                again=sum(one.again for one in mine),
                runs=len(mine),
            )
        )
    return rows


def _ratio(value: float | None, shape: str) -> str:
    return "–" if value is None else format(value, shape)


def printed(pipelines: Sequence[Pipeline], runs: Sequence[Run]) -> str:
    """Write the table for a terminal."""
    cells = [
        [
            "pipeline", "rounds", "intents/s", "× floor", "CPU s per 1,000", "× floor", "peak MB",
            "cores: it / broker / stub", "foreign cores", "twice",
        ]
    ]  # fmt: skip
    cells += [
        [
            row.name,
            str(row.runs),
            row.rate.text(".0f"),
            _ratio(row.rate_of_floor, ".3f"),
            row.cpu.text(".2f"),
            _ratio(row.cpu_of_floor, ".1f"),
            f"{row.peak_mb:.0f}",
            " / ".join(f"{one:.2f}" for one in row.cores),
            f"{row.foreign:.2f}",
            str(row.again),
        ]
        for row in rows_of(pipelines, runs)
    ]
    return aligned(cells)


def aligned(cells: Sequence[Sequence[str]]) -> str:
    """Write rows of cells as columns of one width each."""
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in cells
    ]
    return "\n".join(line.rstrip() for line in lines)

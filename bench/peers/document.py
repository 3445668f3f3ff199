"""docs/benchmarks.md and its picture, written from a series; no figure is typed in by hand."""

import os
import platform
import textwrap
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from bench.peers.added import CALL_MS, RATES
from bench.peers.chart import Bars, Panel, drawn
from bench.peers.ground import LOG
from bench.peers.lineup import CONCURRENCY, Pipeline
from bench.peers.series import Plan, Series
from bench.peers.tables import latency_table, start_table, throughput_table
from hybrid.stack.jars import locked_jars

__all__ = ["document_of", "picture_of", "write_document"]

PAGE, PICTURE = "benchmarks.md", "benchmarks.svg"
COLUMNS = 100
REPEAT = """\
<!-- not run: the benchmark itself writes this page -->

    make bench          # all of this, and this page; needs `cc`
    make bench-smoke    # product and floor only, short: fails on a clear regression"""


def write_document(folder: Path, pipelines: Sequence[Pipeline], plan: Plan, series: Series) -> Path:
    """Write page and picture into a folder; gives the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    if series.throughput:
        (folder / PICTURE).write_text(picture_of(pipelines, series), encoding="utf-8")
    page = folder / PAGE
    now = datetime.now(UTC)
    page.write_text(document_of(pipelines, plan, series, now), encoding="utf-8")
    return page


def document_of(pipelines: Sequence[Pipeline], plan: Plan, series: Series, now: datetime) -> str:
    """Give the page; `now` is when the series ended."""
    parts = [
        "<!-- made by `make bench`; a new run writes it anew -->",
        "# Benchmarks",
        _paragraph(
            f"The same job, done by {len(pipelines)} pipelines in a process each: an intent (some "
            "590 bytes of JSON, 12 partitions), a chat completion over HTTP, a result and a cost "
            "record, a commit. The provider is a small server in C that answers at once or after "
            f"{CALL_MS} ms; up to {CONCURRENCY} calls are in flight where the pipeline can."
        ),
        _paragraph(
            "The floor does the least that can be called the job: it makes no promise beyond a "
            "commit after the work. The product keeps all of its promises meanwhile: every call on "
            "record before it is made, transactions, deduplication, limits, prices, events. A "
            "figure says what that takes."
        ),
        _paragraph(_circumstances(plan, series, now)),
    ]
    if series.throughput:
        parts.append(f"![CPU for an intent, and intents in a second]({PICTURE})")
    for latency_ms in sorted({one.latency_ms for one in series.throughput}):
        runs = [one for one in series.throughput if one.latency_ms == latency_ms]
        parts += [
            f"## A backlog, the provider at {latency_ms} ms",
            _markdown(throughput_table(pipelines, runs)),
        ]
    if series.throughput:
        parts.append(
            _list(
                "Median, and the range of the rounds, of the window from a tenth to nine tenths "
                f"of the results. A run ends with the backlog of {plan.intents:,} intents, or "
                f"{plan.seconds:g} s after its first result.",
                "CPU is user and system time of the pipeline's process, from /proc. Results are "
                "counted by a consumer of committed records. Foreign is what neither pipeline, "
                "Kafka, provider nor bench used: where it is not near 0, doubt the row.",
                "Doubled: results of an intent that had one already, in all rounds.",
            )
        )
    if series.latency:
        parts += [
            "## Added latency",
            _paragraph(
                "From the send of an intent to the moment when a consumer has read its committed "
                f"result, less the provider's {CALL_MS} ms; {' and '.join(map(str, RATES))} "
                f"intents a second, {plan.paced_seconds:g} s each."
            ),
            _markdown(latency_table(pipelines, series.latency)),
        ]
    if series.start:
        parts += [
            "## Start and idling",
            _paragraph(
                "From the start of the process, on a topic where an intent waits in each "
                "partition; ready is the 200 of `/readyz`, where there is one. Idle is its CPU "
                f"over {plan.paced_seconds:g} s while nothing waits."
            ),
            _markdown(start_table(pipelines, series.start)),
        ]
    parts += ["## Who was compared", _markdown(_who(pipelines)), _list(*_versions(pipelines))]
    if series.failures:
        parts += [
            "## Runs that came to no figure",
            _list(*(one.partition(LOG)[0] for one in series.failures)),
        ]
    parts += [
        "## How to repeat it",
        REPEAT,
        _paragraph(
            "`python -m bench.peers --help` shows how to run a part of it, and how to put another "
            "checkout of the product beside this one. The peers' environments are made from "
            "`bench/peers/requirements`, with hashes, and kept in the user's cache folder."
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _circumstances(plan: Plan, series: Series, now: datetime) -> str:
    kafka = next(one.version for one in locked_jars() if one.artifact.startswith("kafka_"))
    speeds = [one.speed_ms for one in series.throughput]
    words = (
        f"Measured on {now:%Y-%m-%d} on {os.cpu_count()} cores, which Kafka, provider and bench "
        f"shared with the pipeline; Python {platform.python_version()}, Apache Kafka {kafka} with "
        "Java's own flags (the local stack of `hybrid up` compiles with C1 only); rounds: "
        f"{plan.rounds}, each with every pipeline in turn."
    )
    if speeds:
        words += (
            f" A fixed piece of Python took {median(speeds):.1f} ms of CPU before the runs, from "
            f"{min(speeds):.1f} to {max(speeds):.1f}: so even was the machine."
        )
    return words


def _who(pipelines: Sequence[Pipeline]) -> list[list[str]]:
    return [
        ["pipeline", "a kill -9, by the way it commits"],
        *([one.title, one.kept] for one in pipelines),
    ]


def _versions(pipelines: Sequence[Pipeline]) -> list[str]:
    return [
        f"{one.title}: {', '.join(f'{name} {version}' for name, version in one.versions.items())}"
        for one in pipelines
    ]


def picture_of(pipelines: Sequence[Pipeline], series: Series) -> str:
    """Give the picture of the runs with the provider at 0 ms, else of those that there are."""
    latency_ms = min((one.latency_ms for one in series.throughput), default=0)
    runs = [one for one in series.throughput if one.latency_ms == latency_ms]

    def bars(figure: str) -> list[Bars]:
        return [
            Bars(
                one.title,
                [getattr(run, figure) for run in runs if run.name == one.name],
                ours=one.name.startswith("product"),
            )
            for one in pipelines
        ]

    where = f"provider at {latency_ms} ms, one process"
    return drawn(
        [
            Panel(f"CPU seconds per 1,000 intents ({where})", bars("cpu_s_per_1000"), ".2f"),
            Panel(f"Intents per second ({where})", bars("rate"), ",.0f"),
        ]
    )


def _markdown(table: Sequence[Sequence[str]]) -> str:
    head, *rows = table
    marks = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, marks, *rows))


def _paragraph(text: str) -> str:
    return textwrap.fill(text, COLUMNS, break_long_words=False, break_on_hyphens=False)


def _list(*items: str) -> str:
    return "\n".join(
        textwrap.fill(
            " ".join(item.split()),
            COLUMNS,
            initial_indent="- ",
            subsequent_indent="  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        for item in items
    )

"""The same job by the product and by others: `python -m bench.peers`."""

import argparse
import dataclasses
import json
import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.peers.ground import running_kafka
from bench.peers.lineup import NAMES, Pipeline, lineup, own_python
from bench.peers.tables import printed
from bench.peers.throughput import Run, run_backlog
from hybrid.errors import HybridError, UsageError

FOREIGN = re.compile(r"^(?:HYBRID|KAFKA|CLICKHOUSE|OPENAI|AZURE|AWS|BENCH)_")
#: A broker that has just started compiles its code while it is measured, the code of transactions
#: too: each pipeline has a first run that is not kept.
WARM_UP_INTENTS, WARM_UP_S = 4_000, 5


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    add = parser.add_argument
    add("--only", default="", help=f"of {','.join(NAMES)}; product2 only where it is named")
    add("--rounds", type=int, default=3, help="each pipeline once in every round (3)")
    add("--intents", type=int, default=20_000, help="in the backlog of a run (20000)")
    add("--seconds", type=float, default=20, help="longest run after its first result (20)")
    add("--latency-ms", type=int, choices=(0, 200), default=0, help="of the provider (0)")
    add("--json", type=Path, help="every run, as a JSON file")
    add("--product-python", type=Path, help="the product's Python, of another checkout (this one)")
    add("--product2", type=Path, help="a second checkout of the product, beside the first")
    add("--env", action="append", default=[], metavar="NAME=VALUE", help="for the product")
    options = parser.parse_args(arguments)
    if options.rounds < 1 or options.intents < 1 or options.seconds <= 0:
        parser.error("--rounds, --intents and --seconds are 1 or more")
    return options


def _chosen(options: argparse.Namespace) -> list[Pipeline]:
    """Make ready who takes part; raises UsageError, HybridError."""
    names = [one for one in options.only.split(",") if one]
    if not names:
        names = [one for one in NAMES if one != "product2" or options.product2]
    pairs = [one.partition("=") for one in options.env]
    if wrong := [name for name, equals, _ in pairs if not equals]:
        message = f"--env {wrong[0]}: say NAME=VALUE"
        raise UsageError(message)
    python = options.product_python
    if python is not None and not python.exists():
        message = f"--product-python {python}: there is no such file"
        raise UsageError(message)
    return lineup(
        names,
        python=python.absolute() if python else Path(sys.executable),
        second=own_python(options.product2) if options.product2 else None,
        extra={name: value for name, _, value in pairs},
    )


@contextmanager
def _work_folder() -> Iterator[Path]:
    """Work where no hybrid.toml lies, and without settings that are meant for something else."""
    for name in [one for one in os.environ if FOREIGN.match(one)]:
        del os.environ[name]
    with tempfile.TemporaryDirectory(prefix="hybrid-bench-") as name:
        os.chdir(name)
        try:
            yield Path(name)
        finally:
            os.chdir("/")


def _rounds(pipelines: Sequence[Pipeline], options: argparse.Namespace) -> list[Run]:
    """Run each pipeline once a round, one after the other; raises HybridError."""
    runs: list[Run] = []
    with _work_folder() as folder, running_kafka(folder / "kafka") as kafka:
        assert kafka.child is not None  # noqa: S101 - it runs within its context
        broker = (f"127.0.0.1:{kafka.port}", kafka.child.pid)

        def run(pipeline: Pipeline, intents: int, seconds: float) -> Run:
            return run_backlog(
                pipeline,
                broker,
                folder,
                intents=intents,
                latency_ms=options.latency_ms,
                seconds=seconds,
            )

        for pipeline in pipelines:
            run(pipeline, min(WARM_UP_INTENTS, options.intents), min(WARM_UP_S, options.seconds))
        for number in range(1, options.rounds + 1):
            for pipeline in pipelines:
                one = run(pipeline, options.intents, options.seconds)
                print(
                    f"round {number} {one.name}: {one.rate:.0f} intents/s, "
                    f"{one.cpu_s_per_1000:.2f} CPU s per 1,000, foreign {one.foreign_cores:.2f}",
                    file=sys.stderr,
                    flush=True,
                )
                runs.append(one)
    return runs


def main(arguments: Sequence[str] = ()) -> int:
    """Print one table."""
    options = _arguments(arguments or sys.argv[1:])
    # Every new topic has no leaders for a moment, and the client warns of each.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    if options.json:
        options.json = options.json.absolute()
    try:
        pipelines = _chosen(options)
        runs = _rounds(pipelines, options)
    except HybridError as error:
        print(f"bench: {error}", file=sys.stderr)
        return error.exit_status
    if options.json:
        options.json.write_text(
            json.dumps([dataclasses.asdict(one) for one in runs], indent=1) + "\n"
        )
    print(printed(pipelines, runs))
    return 0


if __name__ == "__main__":
    sys.exit(main())

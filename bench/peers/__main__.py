"""The same job by the product and by others, measured alike: `python -m bench.peers`."""

import argparse
import dataclasses
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.peers.document import write_document
from bench.peers.ground import require_compiler
from bench.peers.lineup import NAMES, Pipeline, lineup, own_python
from bench.peers.series import MEASUREMENTS, Plan, Series, measure
from bench.peers.tables import printed
from hybrid.errors import HybridError, UsageError

DOCS = Path(__file__).resolve().parents[2] / "docs"
LATENCIES_MS = (0, 200)


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    add = parser.add_argument
    add("--only", default="", help=f"of {','.join(NAMES)} (all; product2 where it is named)")
    add("--measure", default="", help=f"of {','.join(MEASUREMENTS)} (throughput; all to write)")
    add("--rounds", type=int, default=3, help="each pipeline once in every round (3)")
    add("--intents", type=int, default=20_000, help="in the backlog of a run (20000)")
    add("--seconds", type=float, default=20, help="longest run after its first result (20)")
    add("--paced-seconds", type=float, default=10, help="at each rate, and idle (10)")
    add("--latency-ms", type=int, choices=LATENCIES_MS, help="of the provider (0; both to write)")
    add("--json", type=Path, help="every run, as a JSON file")
    add("--quiet-seconds", type=float, default=0, help="longest wait for a quiet machine (0)")
    add("--write", action="store_true", help="docs/benchmarks.md and its picture")
    add("--write-to", type=Path, metavar="FOLDER", help="the same, elsewhere")
    add("--product-python", type=Path, help="the product's Python, of another checkout (this one)")
    add("--product2", type=Path, metavar="CHECKOUT", help="a second checkout, beside the first")
    add("--env", action="append", default=[], metavar="NAME=VALUE", help="for the product")
    options = parser.parse_args(arguments)
    if min(options.rounds, options.intents, options.seconds, options.paced_seconds) < 1:
        parser.error("--rounds, --intents, --seconds and --paced-seconds are 1 or more")
    if options.write and options.write_to is None:
        options.write_to = DOCS
    return options


def _plan(options: argparse.Namespace) -> Plan:
    writes = options.write_to is not None
    if writes:
        require_compiler()
    measurements = [one for one in options.measure.split(",") if one]
    if unknown := [one for one in measurements if one not in MEASUREMENTS]:
        message = f"--measure {unknown[0]}: known are {', '.join(MEASUREMENTS)}"
        raise UsageError(message)
    latencies = [options.latency_ms or 0] if options.latency_ms is not None or not writes else []
    return Plan(
        measurements=measurements or (MEASUREMENTS if writes else MEASUREMENTS[:1]),
        rounds=options.rounds,
        intents=options.intents,
        seconds=options.seconds,
        paced_seconds=options.paced_seconds,
        latencies_ms=latencies or LATENCIES_MS,
        quiet_seconds=options.quiet_seconds,
    )


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


def _keep(path: Path, pipelines: Sequence[Pipeline], series: Series) -> None:
    document = {"versions": {one.name: one.versions for one in pipelines}}
    document |= dataclasses.asdict(series)
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] = ()) -> int:
    """Measure, print tables, write what was asked for; 1 when a run failed."""
    options = _arguments(arguments or sys.argv[1:])
    # Every new topic has no leaders for a moment, and the client warns of each.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    kept = options.json.absolute() if options.json else None
    folder = options.write_to.absolute() if options.write_to else None
    try:
        plan, pipelines = _plan(options), _chosen(options)
        series = measure(pipelines, plan)
    except HybridError as error:
        print(f"bench: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("bench: stopped; nothing is written", file=sys.stderr)
        return 130
    if kept:
        _keep(kept, pipelines, series)
    if folder:
        print(f"written: {write_document(folder, pipelines, plan, series)}")
    print(printed(pipelines, series))
    return 1 if series.failures else 0


if __name__ == "__main__":
    sys.exit(main())

"""`make chaos`: the full run, or one fault alone."""

import argparse
import sys
import time

from rich.console import Console
from rich.table import Table

from streams.failpoints import FAIL_POINTS
from tests.chaos.harness import ENVIRONMENT, Plan, Report, run

FULL = (
    "kill", "kill", "broker", "kill", "sigstop", "kill", "rolling", "kill", "recorder", "kill",
    "clickhouse", "kill", "sigstop", "kill", "rolling", "kill",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="make chaos")
    parser.add_argument("--fault", help="one kind of fault alone", default=None)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--intents", type=int, default=None)
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 160)
    if options.fault == "failpoints":
        sys.exit(every_fail_point(console, seed=options.seed))
    faults = (options.fault,) * 3 if options.fault else FULL
    intents = options.intents or (3_000 if options.fault else 20_000)
    plan = Plan(seed=options.seed, intents=intents, faults=faults)
    began = time.monotonic()
    report = run(plan, say=lambda text: console.print(text, highlight=False))
    show(console, report)
    console.print(f"{time.monotonic() - began:.0f} s in all", highlight=False)
    sys.exit(1 if report.problems() else 0)


def every_fail_point(console: Console, *, seed: int) -> int:
    """Kill -9 at every step of the protocol: each worker (or recorder) dies at its n-th passage."""
    table = Table("killed at", "intents", "lost", "doubled", "repeated", "restarts", "verdict")
    bad = 0
    for name in FAIL_POINTS:
        at = 3 if name.startswith("recorder") else 40
        plan = Plan(
            seed=seed,
            intents=400,
            workers=2,
            rate=40,
            environment={"HYBRID_FAIL_POINT": f"{name}:{at}"},
        )
        report = run(plan)
        report.in_flight_at_kills = report.restarts * int(ENVIRONMENT["HYBRID_CONCURRENCY"])
        problems = report.problems()
        bad += bool(problems)
        table.add_row(
            name,
            str(len(report.published)),
            str(len(report.outcomes.lost(report.published))),
            str(len(report.outcomes.doubled())),
            str(report.calls.repeated()),
            str(report.restarts),
            "; ".join(problems) or "holds",
        )
        console.print(f"{name}: {'; '.join(problems) or 'holds'}", highlight=False)
    console.print(table)
    return 1 if bad else 0


def show(console: Console, report: Report) -> None:
    table = Table(title="chaos", show_header=False)
    for name, value in report.rows():
        table.add_row(name, value)
    console.print(table)


main()

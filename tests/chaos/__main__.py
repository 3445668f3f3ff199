"""`make chaos`: the full run, or one fault alone."""

import argparse
import sys
import time

from rich.console import Console
from rich.table import Table

from tests.chaos.harness import Plan, Report, run

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
    faults = (options.fault,) * 3 if options.fault else FULL
    intents = options.intents or (3_000 if options.fault else 20_000)
    plan = Plan(seed=options.seed, intents=intents, faults=faults)
    began = time.monotonic()
    report = run(plan, say=lambda text: console.print(text, highlight=False))
    show(console, report)
    console.print(f"{time.monotonic() - began:.0f} s in all", highlight=False)
    sys.exit(1 if report.problems() else 0)


def show(console: Console, report: Report) -> None:
    table = Table(title="chaos", show_header=False)
    for name, value in report.rows():
        table.add_row(name, value)
    console.print(table)


main()

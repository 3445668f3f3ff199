"""`make chaos`: the full run, or one fault alone."""

import argparse
import logging
import sys
import time
from dataclasses import replace

from rich.console import Console
from rich.table import Table

from streams.failpoints import FAIL_POINTS, KEPT_POINTS
from tests.chaos.background import KEEPING
from tests.chaos.cluster import CLUSTER_FAULTS
from tests.chaos.harness import Plan, run
from tests.chaos.injector import FAULTS
from tests.chaos.report import Report
from tests.chaos.running import ENVIRONMENT
from tests.chaos.traffic import TrafficPlan

FULL = (
    "kill", "kill", "broker", "kill", "sigstop", "instance", "kill", "rolling", "kill", "recorder",
    "kill", "clickhouse", "clock", "kill", "sigstop", "kill", "scale", "rolling", "kill",
)  # fmt: skip
#: With three brokers: theirs, and the workers' beside them.
OF_THREE = (
    "leader", "kill", "controller", "frozen", "kill", "leaderless", "recreated", "brokers", "kill",
    "leader", "rolling", "frozen", "kill",
)  # fmt: skip
#: Seconds over which a run's intents are spread where there are three brokers: its faults take long.
THREE_S = 360
#: Many processes on few cores: time limits as they are by default.
ENVIRONMENT_OF_THREE = {
    "HYBRID_SESSION_TIMEOUT": "10", "HYBRID_OPENAI_TIMEOUT": "30", "HYBRID_AZURE_TIMEOUT": "45",
}  # fmt: skip
MIXED = TrafficPlan(intents=20_000, repeated=0.02, in_transactions=0.02, poison=0.002)
#: Faults of the traffic itself: what is published, not what is done to processes.
TRAFFIC = {
    "repeated": TrafficPlan(intents=3_000, repeated=0.5),
    "transactions": TrafficPlan(intents=3_000, in_transactions=0.5),
    "poison": TrafficPlan(intents=3_000, poison=0.2),
}


def main() -> None:
    logging.disable(logging.CRITICAL)  # clients of a broker that is killed have much to say
    parser = argparse.ArgumentParser(prog="make chaos")
    choices = (*FAULTS, *TRAFFIC, "failpoints")
    parser.add_argument("--fault", help="one kind of fault alone", default=None, choices=choices)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--intents", type=int, default=None)
    parser.add_argument("--times", type=int, default=3, help="of the fault alone")
    parser.add_argument(
        "--background",
        default="",
        choices=("", *KEEPING),
        help="providers keep their answers; what is lost of their making is found, or lost",
    )
    parser.add_argument("--brokers", type=int, default=1, choices=(1, 3))
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 160)
    if options.fault in CLUSTER_FAULTS and options.brokers == 1:
        parser.error(f"--fault {options.fault} needs three brokers: make chaos BROKERS=3")
    if options.fault == "failpoints":
        sys.exit(every_fail_point(console, seed=options.seed))
    if options.fault in TRAFFIC:
        plan = Plan(seed=options.seed, traffic=TRAFFIC[options.fault])
    elif options.fault:
        plan = Plan(
            seed=options.seed,
            traffic=TrafficPlan(intents=3_000),
            faults=(options.fault,) * options.times,
        )
    else:
        plan = Plan(
            seed=options.seed, traffic=MIXED, faults=FULL if options.brokers == 1 else OF_THREE
        )
    plan = replace(plan, keeping=options.background)
    if options.intents:
        plan = replace(plan, traffic=replace(plan.traffic, intents=options.intents))
    if options.brokers > 1:
        seconds = THREE_S * len(plan.faults) / len(OF_THREE)
        rate = plan.traffic.intents / max(60.0, seconds)
        traffic = replace(plan.traffic, rate=min(150.0, rate))
        plan = replace(
            plan, brokers=options.brokers, traffic=traffic, environment=ENVIRONMENT_OF_THREE
        )
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
            traffic=TrafficPlan(intents=400, rate=40),
            workers=2,
            environment={"HYBRID_FAIL_POINT": f"{name}:{at}"},
            keeping="found" if name in KEPT_POINTS else "",
        )
        report = run(plan)
        report.repeat_bound = report.restarts * int(ENVIRONMENT["HYBRID_CONCURRENCY"])
        if not report.restarts:
            report.trouble.append("nothing was killed")
        problems = report.problems()
        bad += bool(problems)
        table.add_row(
            name,
            str(len(report.published.intents)),
            str(len(report.outcomes.lost(report.published.intents))),
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
    for row in report.rows():
        table.add_row(*row)
    console.print(table)
    if report.recoveries:
        times = Table("fault", "times", "first outcome, p50 / max", "silence, p50 / max",
                      title="recovery of the lanes that felt it")  # fmt: skip
        for found in report.recovery_rows():
            times.add_row(*found)
        console.print(times)


if __name__ == "__main__":
    main()

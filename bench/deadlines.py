"""What the same intents cost with a deadline of a minute, an hour, a day: batches cost half.

Usage: python bench/deadlines.py [intents]. Real Kafka and ClickHouse, the simulator's Batch API,
one worker, `"processing": "auto"`. The simulator's own bill is the figure; what is on record is
printed beside it. Each deadline is run twice: by a worker that knows nothing of batches yet, and
by one to which batches have come back before.
"""

import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from hybrid.errors import HybridError
from hybrid.stack.process import free_port
from streams.store.clickhouse import ClickHouse
from tests.chaos.batching import batching_settings
from tests.chaos.running import RunningStack, running_stack
from tests.integration.driving import Case, eventually

INTENTS = 5_000
DEADLINES = (("1 minute", 60_000), ("1 hour", 3_600_000), ("1 day", 86_400_000))
NOTE = {"note": "[[sim:tokens=100]]"}
TURNAROUND_S = 5.0
WITHIN_S = 300
#: Intents that are answered in batches before, of all lanes.
LESSONS = 100


def run(running: RunningStack, deadline_ms: int, intents: int) -> tuple[Decimal, str, int, float]:
    """Give what a run was billed, what is on record of it, how many calls were lines; seconds."""
    case, began = Case(running), time.monotonic()
    case.publish(*(case.intent(NOTE, deadline_ms=deadline_ms) for _ in range(intents)))
    found = case.wait(intents, within_s=WITHIN_S)
    took = time.monotonic() - began
    calls = case.calls()
    if (len(found.results), found.doubled(), len(calls)) != (intents, {}, intents):
        message = f"{len(found.results)} results and {len(calls)} calls for {intents} intents"
        raise HybridError(message)
    billed = sum((Decimal(call["billed_usd"]) for call in calls), Decimal(0))
    store = ClickHouse(running.settings)
    query = (
        "SELECT toString(sum(cost_usd)) FROM provider_attempts FINAL "  # noqa: S608 - its own name
        f"WHERE startsWith(intent_id, '{case.name}') AND status = 'finished'"
    )
    try:
        recorded = eventually(
            lambda: str(store.rows(query)[1][0][0]), lambda seen: Decimal(seen) == billed
        )
    finally:
        store.close()
    return billed, recorded, sum(1 for call in calls if call["batch"]), took


def main(intents: int = INTENTS) -> int:
    """Run all deadlines, and print a table."""
    print(f"{intents} intents of 100 tokens each; a batch takes {TURNAROUND_S:.0f} s")
    print(f"{'deadline':<10}{'batches before':>15}{'billed USD':>12}{'on record':>12}"
          f"{'in batches':>12}{'seconds':>9}", flush=True)  # fmt: skip
    for known in (False, True):
        for name, deadline_ms in DEADLINES:
            with tempfile.TemporaryDirectory() as folder:
                port, file = free_port(), Path(folder) / "hybrid.toml"
                file.write_text(batching_settings(port))
                environment = {"HYBRID_CONFIG": str(file), "HYBRID_BATCH_WAIT": "1"}
                with running_stack(
                    workers=1, environment=environment, simulator_port=port, forked=True
                ) as running:
                    faults = {"latency_ms": 20, "batching": {"turnaround_s": TURNAROUND_S}}
                    running.set_faults({"openai": faults})
                    if known:
                        _teach(running)
                    billed, recorded, lines, took = run(running, deadline_ms, intents)
            print(f"{name:<10}{'yes' if known else 'none':>15}{billed:>12.4f}"
                  f"{Decimal(recorded):>12.4f}{lines:>12}{took:>9.0f}", flush=True)  # fmt: skip
    return 0


def _teach(running: RunningStack) -> None:
    """Have batches come back to each lane of the worker."""
    case = Case(running)
    case.publish(*(case.intent(NOTE, processing="batch") for _ in range(LESSONS)))
    case.wait(LESSONS, within_s=WITHIN_S)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:2])))

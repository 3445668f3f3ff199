"""2,000 calls of 1 to 8 seconds in flight in one worker: what is reached, and in how much memory.

Usage: python bench/long_calls.py [in flight]; it needs `cc`. Calls take log-normal times; their
mean is computed, so that the most that so many calls in flight can come to is known.
"""

import logging
import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.peers.ground import require_compiler
from bench.peers.lineup import lineup
from bench.peers.series import work_ground
from bench.peers.throughput import run_backlog
from hybrid.errors import HybridError
from streams.worker.dispatcher import reserved_slots

IN_FLIGHT = 2_000
LEAST_MS, MOST_MS = 1_000, 8_000
#: Rounds of calls in the backlog; the steady window is 80 % of them.
ROUNDS = 12
STEPS = 20_000


def mean_s(least_ms: float, most_ms: float) -> float:
    """Give the mean of what stub.c draws: log-normal, cut off at two standard deviations."""
    middle = (math.log(least_ms) + math.log(most_ms)) / 2
    deviation = (math.log(most_ms) - math.log(least_ms)) / 4
    total = 0.0
    for step in range(STEPS):
        z = -6 + 12 * (step + 0.5) / STEPS
        weight = math.exp(-z * z / 2) / math.sqrt(2 * math.pi) * 12 / STEPS
        total += weight * min(most_ms, max(least_ms, math.exp(middle + z * deviation)))
    return total / 1000


def main(in_flight: int = IN_FLIGHT) -> int:
    """Run once, and print a table of one line."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    slots = in_flight - reserved_slots(in_flight)  # the others are for urgent work
    mean = mean_s(LEAST_MS, MOST_MS)
    try:
        require_compiler()
        extra = {"HYBRID_CONCURRENCY": str(in_flight)}
        pipeline = lineup(["product"], python=Path(sys.executable), second=None, extra=extra)[0]
        with work_ground() as (broker, folder):
            run = run_backlog(
                pipeline,
                broker,
                folder,
                intents=in_flight * ROUNDS,
                latency_ms=LEAST_MS,
                up_to_ms=MOST_MS,
                seconds=ROUNDS * MOST_MS / 1000,
            )
    except HybridError as error:
        print(f"bench: {error}", file=sys.stderr)
        return error.exit_status
    print(f"calls of {LEAST_MS} to {MOST_MS} ms, mean {mean:.2f} s; {slots} slots of {in_flight}")
    print("  ideal/s  reached/s  share  CPU s per 1,000  worker, cores  peak MB  doubled")
    ideal = slots / mean
    print(
        f"{ideal:9.0f} {run.rate:10.0f} {run.rate / ideal:6.0%} {run.cpu_s_per_1000:16.2f} "
        f"{run.worker_cores:14.2f} {run.peak_mb:8.0f} {run.again:8d}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:2])))

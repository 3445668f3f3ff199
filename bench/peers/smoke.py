"""A guard: fails when an intent takes clearly more CPU than it did, as a multiple of the floor.

Usage: python -m bench.peers.smoke [--most TIMES] [--intents N]

Both are measured in the same half minute on the same machine, so its speed cancels out.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.peers.lineup import Pipeline, lineup
from bench.peers.places import Broker
from bench.peers.series import work_ground
from bench.peers.tables import cpu_of_floor
from bench.peers.throughput import Run, run_backlog
from hybrid.errors import HybridError

__all__ = ["MOST_TIMES_FLOOR", "main"]

#: Of the floor's CPU for an intent. It was 6 to 8.4 when this was written: more than `make bench`
#: says, as a start is a part of so short a run. Lower it when the product has become faster.
MOST_TIMES_FLOOR = 15.0
INTENTS = 1_500
#: The floor is through a backlog of the product's size before there is a window to measure: of
#: 6,000, the same machine gave 0.12 and 0.19 CPU s per 1,000 a minute apart.
FLOOR_INTENTS = 20_000
MOST_SECONDS = 15
#: One bad measurement is chance, two in a row are not.
TRIES = 2


def _measured(
    pipelines: Sequence[Pipeline], broker: Broker, folder: Path, intents: int
) -> list[Run]:
    return [
        run_backlog(
            one,
            broker,
            folder,
            intents=max(intents, FLOOR_INTENTS) if one.name == "floor" else intents,
            latency_ms=0,
            seconds=MOST_SECONDS,
        )
        for one in pipelines
    ]


def main(arguments: Sequence[str] = ()) -> int:
    """Measure, print one line; 1 when the product takes more than it may, twice in a row."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers.smoke", description=__doc__)
    parser.add_argument("--most", type=float, default=MOST_TIMES_FLOOR, help="times the floor")
    parser.add_argument("--intents", type=int, default=INTENTS, help="in the product's backlog")
    options = parser.parse_args(arguments or sys.argv[1:])
    if options.intents < 100:  # noqa: PLR2004 - less has no window
        parser.error("--intents: 100 or more")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        pipelines = lineup(["product", "floor"], python=Path(sys.executable), second=None, extra={})
        with work_ground() as (broker, folder):
            for _ in range(TRIES):
                runs = _measured(pipelines, broker, folder, options.intents)
                times = cpu_of_floor(runs, "product") or 0.0
                words = ", ".join(f"{one.name} {one.cpu_s_per_1000:.2f}" for one in runs)
                print(
                    f"CPU s per 1,000 intents: {words}; {times:.1f} times the floor, "
                    f"at most {options.most:g}",
                    flush=True,
                )
                if times <= options.most:
                    return 0
    except HybridError as error:
        print(f"bench: {error}", file=sys.stderr)
        return error.exit_status
    print("bench: an intent takes clearly more CPU than it did", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())

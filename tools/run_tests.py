"""`make test`: the suite in two halves at once, one for each core.

Most tests of real parts wait for a broker, a disk or a time limit. Each half starts its own
services, once. Lines of both come as they are finished, with the half's name before them.
"""

import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COVERAGE = Path(sys.executable).with_name("coverage")
#: The decisions are covered by the first half alone.
HALVES = {
    "core": [str(COVERAGE), "run", "-m", "pytest", "tests/unit", "tests/contract", "tests/model",
             "tests/faults", "--durations=30"],
    "parts": [sys.executable, "-m", "pytest", "tests/integration", "--durations=60"],
}  # fmt: skip


def main() -> int:
    """Run both; gives 1 when a test fails, or a decision is not covered."""
    began = time.monotonic()
    running = {
        name: subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for name, command in HALVES.items()
    }
    told = [threading.Thread(target=_tell, args=pair) for pair in running.items()]
    for thread in told:
        thread.start()
    try:
        statuses = {name: process.wait() for name, process in running.items()}
    except KeyboardInterrupt:
        statuses = {name: process.wait() for name, process in running.items()}
    for thread in told:
        thread.join()
    failed = [name for name, status in statuses.items() if status]
    covered = subprocess.run([str(COVERAGE), "report"], cwd=ROOT, check=False)
    print(f"{'failed: ' + ', '.join(failed) if failed else 'passed'}, "
          f"in {time.monotonic() - began:.0f} s", flush=True)  # fmt: skip
    return 1 if failed or covered.returncode else 0


def _tell(name: str, process: "subprocess.Popen[str]") -> None:
    for line in process.stdout or ():
        print(f"{name:<6}| {line}", end="", flush=True)


if __name__ == "__main__":
    sys.exit(main())

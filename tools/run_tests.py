"""`make test`: the suite in jobs, side by side; those that need servers share them (`tests.house`).

Half of the time a test of real parts waits: for a broker, a process that starts, a time limit. So
more jobs run at once than there are cores. Lines come as they are finished, with the job's name
before them. A file that no job names is of the last one: none is left out.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTED = ("contract", "faults", "integration", "model", "unit")
#: What a file is of: the job that names the most of the beginning of its path.
JOBS = {
    # What a worker of its own dies in.
    "faults": ("faults/", "integration/test_trace"),
    # The decisions, which these cover whole: tracing takes as long again as the tests do.
    "decisions": (
        "unit/", "model/test_replays", "model/test_suspects", "contract/test_answers",
        "contract/test_model_groups", "contract/test_parameters", "contract/test_provider_options",
    ),
    # What is on record.
    "records": (
        "integration/test_alerts", "integration/test_clickhouse", "integration/test_focus",
        "integration/test_questions", "integration/test_recorder", "integration/test_reports",
        "integration/test_repricing",
    ),
    # Workers of other settings.
    "settings": (
        "integration/test_configured", "integration/test_secrets_unseen", "integration/test_batches",
        "integration/test_status",
    ),
    # A broker that asks who one is.
    "secured": ("integration/test_rights", "integration/test_security"),
    # What people do about dead letters and providers, on processes that are killed.
    "operating": (
        "integration/test_plans", "integration/test_runs", "integration/test_partitions",
        "integration/test_orphans",
    ),
    "core": (
        "contract/", "model/", "unit/test_asyncapi", "unit/test_client", "unit/test_command_itself",
        "unit/test_console", "unit/test_contract", "unit/test_deploy", "unit/test_doc", "unit/test_imported_names", "unit/test_layout",
        "unit/test_licences", "unit/test_mutants", "unit/test_outside_text", "unit/test_peer_bench",
        "unit/test_printing", "unit/test_project_files", "unit/test_secret_files",
        "unit/test_stack", "unit/test_startup", "unit/test_telemetry", "unit/test_upgrade",
    ),
    "parts": ("",),
}  # fmt: skip
#: Those that take longest; what is pure fills what they leave of the cores.
FIRST = (
    "parts", "settings", "secured", "operating", "records", "faults", "decisions", "core",
)  # fmt: skip
COVERED = "decisions"
#: These need no broker, wait for nothing, and leave the cores to the others, which share one.
ALONE = ("decisions", "core")
#: How pytest's lines begin that say in short what failed.
NAMES_A_FAILURE = ("FAILED ", "ERROR ", "E   ")
COVERAGE = Path(sys.executable).with_name("coverage")
#: What the tests' variable for their servers may say here: each job would start containers.
BACKENDS = ("", "embedded")
#: Jobs at once, for each core: memory for as many stacks is there where two cores are.
AT_ONCE = 4


def files_of_jobs() -> dict[str, list[str]]:
    """Give each file of the suite to the job that names most of it, in the order of its names."""
    named = sorted(
        ((start, place, job) for job, starts in JOBS.items() for place, start in enumerate(starts)),
        key=lambda one: -len(one[0]),
    )
    found: dict[str, list[tuple[int, str]]] = {name: [] for name in JOBS}
    for folder in TESTED:
        for path in (ROOT / "tests" / folder).glob("test_*.py"):
            file = path.relative_to(ROOT / "tests").as_posix()
            place, job = next((place, job) for start, place, job in named if file.startswith(start))
            found[job].append((place, f"tests/{file}"))
    return {name: [file for _, file in sorted(files)] for name, files in found.items()}


def main() -> int:
    """Run all; gives 1 when a test fails, or a decision is not covered; 2 for another backend."""
    given = os.environ.get("HYBRID_TEST_BACKEND", "")
    if given not in BACKENDS:
        print(f"HYBRID_TEST_BACKEND = {given}: say embedded, or nothing; what can run on containers "
              "is run there by `make test-containers`", file=sys.stderr)  # fmt: skip
        return 2
    began = time.monotonic()
    jobs = files_of_jobs()
    order = sorted(jobs, key=FIRST.index)
    pool = ThreadPoolExecutor(AT_ONCE * max(2, os.cpu_count() or 2))
    with _house() as address:
        running = {name: pool.submit(_run, name, jobs[name], address) for name in order}
        try:
            statuses = {name: one.result() for name, one in running.items()}
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)  # those that run were interrupted too
            return 130
    failed = [name for name, (status, _) in statuses.items() if status]
    for name in failed:  # said again at the end, where whoever reads only that looks
        for line in statuses[name][1]:
            print(f"{name:<10}| {line}", end="", flush=True)
    used = os.times()
    print(f"{'failed: ' + ', '.join(failed) if failed else 'passed'}, in "
          f"{time.monotonic() - began:.0f} s, with {used.children_user + used.children_system:.0f} s "
          "of CPU", flush=True)  # fmt: skip
    return 1 if failed else 0


@contextmanager
def _house() -> Iterator[Callable[[], str]]:
    """Start the servers that jobs share; gives what waits until it is there and says where."""
    command = [sys.executable, "-m", "tests.house"]
    with (
        subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as house,
        ThreadPoolExecutor(1) as pool,
    ):
        line = pool.submit(lambda: house.stdout.readline() if house.stdout else "")
        yield lambda: line.result().strip()
        if house.stdin:
            house.stdin.close()


def _run(name: str, files: Sequence[str], house: Callable[[], str]) -> tuple[int, list[str]]:
    """Run one job; gives its exit status, and the lines that name what failed in it."""
    began = time.monotonic()
    tool = [str(COVERAGE), "run"] if name == COVERED else [sys.executable]
    after = ["nice"] if name in ALONE else []
    command = [*after, *tool, "-m", "pytest", "--durations=10", *files]
    environment = {**os.environ, "TESTS_HOUSE": "" if name in ALONE else house()}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip
    named = []
    for line in process.stdout or ():
        if line.startswith(NAMES_A_FAILURE):
            named.append(line)
        print(f"{name:<10}| {line}", end="", flush=True)
    status = process.wait()
    if name == COVERED and not status:
        report = [str(COVERAGE), "report"]
        done = subprocess.run(report, cwd=ROOT, capture_output=True, text=True, check=False)
        status = done.returncode
        named = done.stdout.splitlines(keepends=True)
        print("".join(f"{name:<10}| {line}" for line in named), end="", flush=True)
    print(f"{name:<10}| {'failed' if status else 'passed'}, in {time.monotonic() - began:.0f} s",
          flush=True)  # fmt: skip
    return status, named


if __name__ == "__main__":
    sys.exit(main())

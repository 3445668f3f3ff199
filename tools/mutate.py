"""Puts known bugs back, one at a time, into a copy of the tree, and shows that the suite catches each.

`make mutants`, or `python tools/mutate.py [name …]`. Exit status 1 when a bug goes unnoticed, 2 when
the code it was in has changed so much that it cannot be put back.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("schemas", "agents", "streams", "hybrid", "tests", "docs", "pyproject.toml")
LIMIT_S = 300


@dataclass(frozen=True)
class Bug:
    """A known bug: the text that keeps it out, the text that lets it in, and who must notice."""

    name: str
    file: str
    right: str
    wrong: str
    tests: str


BUGS = (
    Bug(
        "acknowledged out of order",
        "streams/messages/offset_tracker.py",
        "offset = self._heap[0] if self._heap else self._next",
        "offset = self._next",
        "tests/unit/test_lanes.py",
    ),
    Bug(
        "one refused key is its provider's failure",
        "agents/capacity/turns.py",
        "if another_s is not None:",
        "if another_s is not None and another_s < 0:",
        "tests/unit/test_capacity.py",
    ),
    Bug(
        "a key file is not read again after a refusal",
        "agents/credentials/credentials.py",
        "if kind is FailureKind.AUTH:",
        "if kind is FailureKind.TIMEOUT:",
        "tests/contract/test_keys.py",
    ),
    Bug(
        "ledger read before the producer starts",
        "streams/lanes/committer.py",
        """        self._producer = await broker.open_producer(self._lane)
        ends = await broker.mark_ends(self._lane, self._producer)
        return await broker.read_ledger(self._lane, self._ledger, ends)
""",
        """        count = await broker.read_ledger(self._lane, self._ledger, {})
        self._producer = await broker.open_producer(self._lane)
        return count
""",
        "tests/model",
    ),
    Bug(
        "a ledger that ends where any broker says",
        "streams/lanes/ledger.py",
        "            {tp: end},\n",
        "            await reader.end_offsets([tp]),\n",
        "tests/integration/test_lane_broker.py",
    ),
    Bug(
        "transactional id of the worker, not the lane",
        "streams/lanes/broker.py",
        '{self._settings.hybrid_topic_prefix}.lane.{lane}"',
        '{self._settings.hybrid_topic_prefix}.worker"',
        "tests/integration/test_lane_broker.py",
    ),
    Bug(
        "started anew after fencing",
        "streams/lanes/committer.py",
        "            case FaultKind.FENCED:\n",
        "            case FaultKind.FENCED if error is None:\n",
        "tests/unit/test_broker_faults.py",
    ),
    Bug(
        "decisions are forgotten although their records may come again",
        "streams/lanes/reach.py",
        "return min([now_ms, *sane])",
        "return now_ms",
        "tests/model tests/unit/test_lanes.py",
    ),
    Bug(
        "deferred and upstream records read uncommitted",
        "streams/membership/faust_app.py",
        'isolation_level="read_committed"',
        'isolation_level="read_uncommitted"',
        "tests/integration/test_transactions.py",
    ),
    Bug(
        "sent again what was committed",
        "streams/lanes/committer.py",
        "return [job for job in batch if job not in done and job not in overtaken]",
        "return [job for job in batch if job not in overtaken]",
        "tests/model",
    ),
    Bug(
        "decided again although another owner had done so meanwhile",
        "streams/lanes/committer.py",
        "return [job for job in batch if job not in done and job not in overtaken]",
        "return [job for job in batch if job not in done]",
        "tests/model",
    ),
    Bug(
        "a redelivery does not join what runs",
        "streams/lanes/lane.py",
        "running = self.jobs.get(who.key)",
        "running = None",
        "tests/model",
    ),
    Bug(
        "a commit without markers is left hanging",
        "streams/lanes/broker.py",
        "            if not await self._is_readable_up_to(ledger, ends[ledger]):\n",
        "            if not ends:\n",
        "tests/integration/test_lane_broker.py",
    ),
    Bug(
        "starts are not counted",
        "streams/lanes/lane.py",
        "if starts >= MAX_STARTS else None",
        "if starts >= MAX_STARTS + 100 else None",
        "tests/faults/test_faults.py -k circulation",
    ),
    Bug(
        "suspects run side by side",
        "streams/lanes/runner.py",
        "        if not job.is_suspect:",
        "        if True:",
        "tests/model/test_suspects.py",
    ),
    Bug(
        "a header name that is not UTF-8 stops the consumer",
        "streams/kafka/parsing.py",
        "except UnicodeDecodeError:",
        "except ZeroDivisionError:",
        "tests/unit/test_foreign_records.py",
    ),
    Bug(
        "a record without a timestamp is of 1969",
        "streams/messages/moments.py",
        "if timestamp_ms is None or not EARLIEST_MS <= timestamp_ms <= now_ms + MOST_AHEAD_MS:",
        "if timestamp_ms is None:",
        "tests/unit/test_foreign_records.py",
    ),
    Bug(
        "one tenant's ids swallow another's",
        "streams/messages/identity.py",
        'return f"{TENANT_PREFIX}{len(tenant)}/{tenant}/{stated}"',
        "return stated",
        "tests/unit/test_foreign_records.py",
    ),
    Bug(
        "half a surrogate pair in an answer raises after the call",
        "schemas/base.py",
        "except PydanticSerializationError:",
        "except ZeroDivisionError:",
        "tests/unit/test_foreign_records.py",
    ),
    Bug(
        "a foreign record ends those who follow its topic",
        "streams/kafka/following.py",
        "    except Exception as error:  # noqa: BLE001",
        "    except ZeroDivisionError as error:  # noqa: BLE001",
        "tests/integration/test_foreign_topics.py",
    ),
)


def notices(bug: Bug) -> tuple[bool, str]:
    """Say whether the suite fails with the bug in, and in which test first."""
    with tempfile.TemporaryDirectory(prefix="hybrid-mutant-") as name:
        copy = Path(name)
        for part in COPIED:
            source = ROOT / part
            if source.is_dir():
                shutil.copytree(
                    source, copy / part, ignore=shutil.ignore_patterns("__pycache__", ".*_cache")
                )
            else:
                shutil.copy(source, copy / part)
        file = copy / bug.file
        text = file.read_text()
        if text.count(bug.right) != 1:
            sys.exit(f"'{bug.name}' cannot be put back: {bug.file} has changed; adapt {__file__}")
        file.write_text(text.replace(bug.right, bug.wrong))
        # Without tracebacks: to show one, pytest parses the source around it, which Python 3.11 has
        # failed at (SystemError: AST constructor recursion depth mismatch), and that is no proof.
        command = [sys.executable, "-m", "pytest", "-x", "--tb=no", "-p", "no:cacheprovider"]
        try:
            done = subprocess.run(
                [*command, *bug.tests.split()],
                cwd=copy,
                capture_output=True,
                text=True,
                timeout=LIMIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return True, f"the suite does not end within {LIMIT_S} s"
        failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
        # 1 = tests ran and some failed; anything else is no proof.
        return done.returncode == 1, (failed or ["nothing failed"])[0].partition(" - ")[0]


def main() -> None:
    """Print one line a bug."""
    wanted = sys.argv[1:]
    missed = 0
    for bug in BUGS:
        if wanted and not any(word in bug.name for word in wanted):
            continue
        begin = time.monotonic()
        noticed, where = notices(bug)
        missed += not noticed
        verdict = "caught" if noticed else "MISSED"
        print(f"{verdict}  {bug.name}: {where} ({time.monotonic() - begin:.0f} s)", flush=True)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()

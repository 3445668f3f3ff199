"""A local stack whose parts are of two versions, changed one at a time as a rollout does it."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress

from hybrid.stack.environment import StackOptions, callers_environment
from hybrid.stack.local import LocalStack
from hybrid.stack.parts import Report
from tests.chaos.running import RunningStack
from tests.upgrade.released import Released

__all__ = ["MixedStack", "StuckError", "until", "version_at"]

LIMIT_S = 180


class StuckError(Exception):
    """Raised when something does not come about; the text says what."""


class MixedStack(LocalStack):
    """Workers and recorder begin as the last version; Kafka and the simulator are this one's."""

    ready_limit_s = LIMIT_S

    def __init__(self, options: StackOptions, *, report: Report, last: Released) -> None:
        self.last = last
        workers = [f"worker-{number}" for number in range(options.workers)]
        #: Parts that are of the last version at their next start.
        self.of_last = {"recorder", *workers}
        #: When a part began to be of a version: (wall time, part, of the last one).
        self.began = [(0.0, part, True) for part in self.of_last]
        super().__init__(options, report=report)

    def command_of(self, part: str, *arguments: str) -> list[str]:
        """Give the command of the part's version."""
        if part in self.of_last:
            return [str(self.last.hybrid), *arguments]
        return super().command_of(part, *arguments)

    def make_topics(self) -> None:
        """Have the last version make its topics."""
        self.run("topics", "ensure", of_last=True)

    def make_tables(self) -> None:
        """Have the last version make its tables."""
        self.run("migrate", of_last=True)

    def set_up(self, *, of_last: bool) -> None:
        """Do what a rollout does before it begins, by the version that is rolled out."""
        self.run("topics", "ensure", of_last=of_last)
        self.run("migrate", of_last=of_last)

    def run(self, *arguments: str, of_last: bool) -> str:
        """Run a command of a version; gives what it printed; raises StuckError."""
        command = [str(self.last.hybrid), *arguments]
        if not of_last:
            command = super().command_of("", *arguments)
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_S,
            env={**callers_environment(), **self.environment()},
        )
        if done.returncode:
            which = "last" if of_last else "this"
            message = f"hybrid {' '.join(arguments)} of the {which} version: {done.stderr[-500:]}"
            raise StuckError(message)
        return done.stdout

    def pid_of(self, part: str) -> int:
        """Give the process of a part as it is now."""
        pids = self.addresses()["pids"]
        name, _, number = part.partition("-")
        return int(pids["workers"][int(number)] if name == "worker" else pids[part])

    def change(self, running: RunningStack, part: str, *, to_last: bool) -> None:
        """Stop a part in good order and have the supervisor start its other version."""
        before = self.pid_of(part)
        (self.of_last.add if to_last else self.of_last.discard)(part)
        with suppress(ProcessLookupError):
            os.kill(before, signal.SIGTERM)
        until(f"{part} is not started again", lambda: self.pid_of(part) != before)
        self.began.append((time.time(), part, to_last))
        name, _, number = part.partition("-")
        if name == "worker":
            until(f"{part} is not ready", lambda: running.ready(int(number)))


def version_at(began: list[tuple[float, str, bool]], part: str, moment: float) -> bool:
    """Say whether a part was of the last version at a moment."""
    return max(one for one in began if one[1] == part and one[0] <= moment)[2]


def until(otherwise: str, holds: Callable[[], bool], *, within_s: float = LIMIT_S) -> None:
    """Poll until something holds; raises StuckError with what it means that it does not."""
    deadline = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline:
            raise StuckError(otherwise)
        time.sleep(0.1)

"""The faults: what is done to which process, and which lanes feel it."""

import math
import os
import random
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field

from hybrid.stack.process import hybrid_command
from tests.chaos.cluster import CLUSTER_FAULTS, Cluster
from tests.chaos.running import RunningStack

__all__ = ["FAULTS", "Fault", "Injector"]

FAULTS = (
    "kill", "sigstop", "rolling", "scale", "broker", "disk", "clock", "instance", "recorder",
    "clickhouse", "clickhouse_away", *CLUSTER_FAULTS,
)  # fmt: skip
#: What can still begin at a worker between the count of its calls and its death.
LATE_STARTS = 4
#: Nobody hears the workers while they last: they are put out of their group, with all that they
#: have in flight, for a while after it too.
SILENT_FAULTS = ("frozen", "leaderless")
THROWN_OUT_S = 15


@dataclass
class Fault:
    """One fault as it happened."""

    name: str
    at: float  # wall time
    lanes: set[int] = field(default_factory=set)  # which feel it
    ended: float = 0.0


class Injector:
    """Carries out faults, one at a time."""

    def __init__(self, running: RunningStack, dice: random.Random) -> None:
        self.running = running
        self.dice = dice
        self.in_flight_at_kills = 0
        self.trouble: list[str] = []
        self.cluster = Cluster(running, dice, self.trouble)
        self._everything = set(range(running.settings.hybrid_partitions))

    def inject(self, name: str) -> Fault:
        """Do it, and say when and to whom."""
        fault = Fault(name, time.time(), set(self._everything))
        if name in CLUSTER_FAULTS:
            with self._counting() if name in SILENT_FAULTS else nullcontext():
                self.cluster.inject(name)
        else:
            action: Callable[[Fault], None] = getattr(self, f"_{name}")
            action(fault)
        fault.ended = time.time()
        return fault

    @contextmanager
    def _counting(self) -> Iterator[None]:
        """Count the most that is in flight at all workers together, to the end and a while after.

        The count goes on in a thread of its own: what is published meanwhile is part of it.
        """
        ended = threading.Event()
        most = 0

        def count() -> None:
            nonlocal most
            until = math.inf
            while time.monotonic() < until:
                until = min(until, time.monotonic() + THROWN_OUT_S) if ended.is_set() else until
                workers = range(len(self.running.pids()))
                with suppress(OSError):  # one may just be starting again
                    most = max(most, sum(map(self.running.in_flight, workers)))
                time.sleep(0.5)
            self.in_flight_at_kills += most

        counter = threading.Thread(target=count, daemon=True)
        counter.start()
        try:
            yield
        finally:
            ended.set()
            counter.join()

    # ── workers ─────────────────────────────────────────────────────────────────────────────

    def _kill(self, fault: Fault) -> None:
        """SIGKILL one worker."""
        self._signal_a_worker(signal.SIGKILL, fault)

    def _sigstop(self, fault: Fault) -> None:
        """Stop a worker for longer than its session, then wake it."""
        pid = self._signal_a_worker(signal.SIGSTOP, fault)
        time.sleep(9)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    def _signal_a_worker(self, number: int, fault: Fault) -> int:
        """Signal a worker that is up (one may just be starting again); gives its pid."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            chosen = self.dice.randrange(len(self.running.pids()))
            if self.running.ready(chosen):
                pid, lanes = self.running.pids()[chosen], self.running.lanes(chosen)
                in_flight = self.running.in_flight(chosen) + LATE_STARTS
                with suppress(ProcessLookupError):
                    fault.at, fault.lanes = time.time(), lanes
                    os.kill(pid, number)
                    self.in_flight_at_kills += in_flight
                    return pid
            time.sleep(0.1)
        message = "no worker came up within 60 s"
        raise AssertionError(message)

    def _rolling(self, _fault: Fault) -> None:
        """SIGTERM every worker, one after the other; each comes back before the next goes."""
        for number, pid in enumerate(self.running.pids()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            self._until(
                lambda number=number, pid=pid: (  # type: ignore[misc]
                    self.running.pids()[number] != pid and self.running.ready(number)
                )
            )

    def _scale(self, _fault: Fault) -> None:
        """To one worker, to four, to what it was."""
        before = len(self.running.pids())
        for workers in (1, 4, 1, before):
            self.running.stack.scale(workers)
            self._until(lambda workers=workers: all(map(self.running.ready, range(workers))))  # type: ignore[misc]

    def _instance(self, _fault: Fault) -> None:
        """Start a second worker with an id that is in use: it must refuse, and disturb nobody."""
        self._until(lambda: self.running.ready(0))
        environment = {
            **os.environ,
            **self.running.stack.environment(),
            "HYBRID_INSTANCE_ID": "worker-0",
            "HYBRID_METRICS_PORT": "0",
        }
        pid = self.running.pids()[0]
        try:
            done = subprocess.run(
                hybrid_command("worker"), env=environment, capture_output=True, text=True,
                timeout=60, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            self.trouble.append("a second worker with the same instance id was not refused")
            return
        if done.returncode != 2 or "worker-0" not in done.stderr:
            self.trouble.append(f"a second worker-0 ended with {done.returncode}: {done.stderr}")
        if self.running.pids()[0] != pid:
            self.trouble.append("a second worker with the same instance id disturbed the first")

    def _clock(self, _fault: Fault) -> None:
        """Set the wall clock half an hour ahead, an hour back, and right again."""
        for seconds in (1800.0, -1800.0, 0.0):
            self.running.set_clock(seconds)
            time.sleep(4)

    # ── servers ─────────────────────────────────────────────────────────────────────────────

    def _broker(self, _fault: Fault) -> None:
        """SIGKILL the broker; the supervisor starts it again on the same data."""
        pid = self.running.stack.addresses()["pids"]["kafka"]
        os.kill(pid, signal.SIGKILL)
        self._until(
            lambda: (
                self.running.stack.addresses()["pids"]["kafka"] != pid
                and _listens(self.running.stack.ports["kafka"])
            )
        )

    def _disk(self, _fault: Fault) -> None:
        """Fill the broker's disk, and free it after a while."""
        filler = self.running.stack.folder / "kafka" / "filler"
        until = time.monotonic() + 8
        with filler.open("wb", buffering=0) as file:
            while time.monotonic() < until:
                try:
                    file.write(b"\0" * 65_536)
                except OSError:
                    time.sleep(0.1)
        filler.unlink()
        self._until(lambda: _listens(self.running.stack.ports["kafka"]))

    def _recorder(self, _fault: Fault) -> None:
        """SIGKILL the recorder."""
        os.kill(self.running.stack.addresses()["pids"]["recorder"], signal.SIGKILL)

    def _clickhouse(self, _fault: Fault) -> None:
        """SIGKILL the ClickHouse engine."""
        os.kill(self.running.stack.addresses()["pids"]["clickhouse"], signal.SIGKILL)

    def _clickhouse_away(self, _fault: Fault) -> None:
        """Have the ClickHouse engine answer nobody for 30 s."""
        pid = self.running.stack.addresses()["pids"]["clickhouse"]
        os.kill(pid, signal.SIGSTOP)
        time.sleep(30)
        os.kill(pid, signal.SIGCONT)

    def _until(self, holds: Callable[[], bool]) -> None:
        """Poll for a minute; the run goes on even if it never holds, and shows what follows."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not holds():
            time.sleep(0.1)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 0.5).close()
    except OSError:
        return False
    return True

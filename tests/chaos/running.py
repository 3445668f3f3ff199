"""A running local stack under test: watched by a thread as `hybrid up` does, asked over HTTP."""

import json
import os
import re
import shutil
import struct
import subprocess
import tempfile
import threading
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from hybrid.config import load_settings
from hybrid.stack.environment import StackOptions, callers_environment
from hybrid.stack.local import LocalStack
from hybrid.stack.parts import Report
from hybrid.stack.process import Child
from schemas.settings import Settings
from tests.chaos.following import Following
from tests.chaos.forking import ForkedChild

__all__ = [
    "ENVIRONMENT",
    "YOUNG_JVM",
    "ForkedStack",
    "RunningStack",
    "ServedStack",
    "VisitingStack",
    "running_stack",
]

#: Short waits, so that a run takes minutes; the session timeout is the broker's own matter.
ENVIRONMENT = {
    "HYBRID_RETRY_DELAYS": "0.1,0.2,0.4",
    "HYBRID_DEFER_DELAYS": "1,2,4",
    "HYBRID_OPENAI_TIMEOUT": "3",
    "HYBRID_AZURE_TIMEOUT": "3",
    "HYBRID_SESSION_TIMEOUT": "6",
    # Tests of one fault after the other share a stack: breakers have tests of their own.
    "HYBRID_BREAKER_CALLS": "100000",
    "HYBRID_BREAKER_OPEN": "0.5",
    "HYBRID_DELIVERY_SPACING": "1.5",
    "HYBRID_DELIVERY_PER_MINUTE": "1000",
    "HYBRID_DELIVERY_PER_HOUR": "10000",
    "HYBRID_CONCURRENCY": "32",
    "HYBRID_LOG_LEVEL": "info",
    # Tests point providers of their own at dead ports: they must not all be played.
    "HYBRID_SIMULATOR": "",
}
#: A broker of the tests lives for a minute or two, most of it interpreted: it compiles sooner what
#: it runs often, which takes a quarter of its CPU away.
YOUNG_JVM = "-XX:CompileThresholdScaling=0.3"
#: Size of the file system that Kafka gets where a full disk is part of the plan.
SMALL_DISK_MB = 400


@dataclass
class RunningStack:
    """The stack, the settings to talk to it, and what its supervisor said."""

    stack: LocalStack
    settings: Settings
    events: list[str]
    _calls: list[dict[str, Any]] = field(default_factory=list)
    _calls_read: int = 0

    def calls(self) -> list[dict[str, Any]]:
        """The simulator's log so far; what was read before is not read again."""
        with self.stack.simulator_log.open("rb") as log:
            log.seek(self._calls_read)
            whole, end, _ = log.read().rpartition(b"\n")  # the last line may just be being written
        self._calls_read += len(whole) + len(end)
        self._calls += [json.loads(line) for line in whole.splitlines()]
        return self._calls

    @cached_property
    def following(self) -> Following:
        """The reader of all outcomes, from the first look on."""
        return Following(self.settings)

    def close(self) -> None:
        """End what looks into the stack; the stack runs on."""
        following = self.__dict__.pop("following", None)
        if following is not None:
            following.close()

    def pids(self) -> list[int]:
        return list(self.stack.addresses()["pids"]["workers"])

    def metrics(self, number: int) -> str:
        """What a worker's `/metrics` says; empty when it does not answer."""
        with suppress(OSError, ValueError):
            url = f"http://127.0.0.1:{self.stack.metrics_ports[number]}/metrics"
            with urllib.request.urlopen(url, timeout=2) as answer:
                return str(answer.read().decode())
        return ""

    def in_flight(self, number: int) -> int:
        found = re.search(r"(?m)^hybrid_in_flight (\S+)", self.metrics(number))
        return int(float(found[1])) if found else 0

    def outcomes(self, number: int) -> dict[str, int]:
        """What a worker has committed since it started: completed, failed, deferred."""
        found = re.findall(
            r'(?m)^hybrid_outcomes_total\{outcome="(\w+)"\} (\S+)', self.metrics(number)
        )
        return {"completed": 0, "failed": 0, "deferred": 0} | {
            name: int(float(count)) for name, count in found
        }

    def lanes(self, number: int) -> set[int]:
        """The lanes that run at a worker."""
        found = re.findall(r'(?m)^hybrid_lane_open\{lane="(\d+)"\} 1', self.metrics(number))
        return {int(lane) for lane in found}

    def ready(self, number: int) -> bool:
        url = f"http://127.0.0.1:{self.stack.metrics_ports[number]}/readyz"
        with suppress(OSError):
            return bool(urllib.request.urlopen(url, timeout=2).status == 200)
        return False

    def set_faults(self, document: dict[str, Any]) -> None:
        request = urllib.request.Request(
            f"{self.stack.simulator}/_sim/faults", json.dumps(document).encode()
        )
        urllib.request.urlopen(request, timeout=10).close()

    @property
    def clock_file(self) -> Path:
        return self.stack.folder / "clock"

    def set_clock(self, seconds: float) -> None:
        """Set the wall clock of all parts wrong by so much."""
        with self.clock_file.open("r+b") as file:
            file.write(struct.pack("d", seconds))


class ForkedStack(LocalStack):
    """A stack whose own processes start without loading what each of them loads."""

    def _child(self, name: str, *arguments: str, **environment: str) -> Child:
        logs = self.folder / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        return ForkedChild(
            name,
            *arguments,
            log_file=logs / f"{name}.log",
            environment={**callers_environment(), **self.environment(), **environment},
        )


class ServedStack(ForkedStack):
    """Workers, recorder and providers of its own, at servers that run already."""

    def _start_servers(self) -> None:
        self._supervise("simulator", self._start_simulator)
        self.make_topics()
        self._wait_http("simulator", self.ports["simulator"], "/_sim/calls")


class VisitingStack(ServedStack):
    """One of several at the same broker and ClickHouse: topics and tables of its own."""

    def __init__(
        self, kafka: str, clickhouse: str, options: StackOptions, *, report: Report
    ) -> None:
        self._kafka, self._clickhouse = kafka, clickhouse
        self._name = f"v{uuid.uuid4().hex[:8]}"
        environment = {**options.environment, "HYBRID_TOPIC_PREFIX": self._name}
        super().__init__(replace(options, environment=environment), report=report)
        places = (("kafka", kafka), ("clickhouse", clickhouse))
        self.ports |= {name: int(address.rpartition(":")[2]) for name, address in places}

    @property
    def kafka(self) -> str:
        return self._kafka

    @property
    def clickhouse(self) -> str:
        return f"http://default:@{self._clickhouse}/{self._name}"


class GuestStack(VisitingStack):
    """One that visits another stack's servers."""

    def __init__(self, host: LocalStack, options: StackOptions, *, report: Report) -> None:
        self._host = host
        clickhouse = f"127.0.0.1:{host.ports['clickhouse']}"
        super().__init__(host.kafka, clickhouse, options, report=report)

    def addresses(self) -> dict[str, Any]:
        """Its own and its host's processes: the host starts its own again."""
        found, host = super().addresses(), self._host.addresses()
        return {**found, "pids": {**host["pids"], **found["pids"]}}


@contextmanager
def running_stack(
    *,
    workers: int,
    environment: dict[str, str],
    brokers: int = 1,
    seed: int = 0,
    small_disk: bool = False,
    partitions: int | None = None,
    simulator_port: int | None = None,
    make: Callable[..., LocalStack] | None = None,
    forked: bool = False,
    host: RunningStack | None = None,
) -> Iterator[RunningStack]:
    """Start a stack on an empty folder, watch it, and stop it whatever happens.

    Where its processes are `forked`, they start in no time, and `set_clock` has no say: a clock of
    the stack's own is what an interpreter loads at its start. At a `host` they are forked too, and
    its brokers and its engine are the host's. With CHAOS_KEEP set in the
    environment the folder, with all logs, stays.
    """
    events: list[str] = []
    folder = Path(tempfile.mkdtemp(prefix="hybrid-chaos-"))
    (folder / "clock").write_bytes(struct.pack("d", 0.0))
    options = StackOptions(
        workers=workers,
        brokers=brokers,
        data_dir=folder,
        simulator_port=simulator_port,
        real_providers=False,
        environment={
            **ENVIRONMENT,
            **({} if forked or host else _clock_of(folder)),
            **({"HYBRID_PARTITIONS": str(partitions)} if partitions else {}),
            **environment,
        },
        seed=seed,
    )
    stack = (
        GuestStack(host.stack, options, report=events.append)
        if host
        else (make or (ForkedStack if forked else LocalStack))(options, report=events.append)
    )
    stopped = threading.Event()

    def watch() -> None:
        while not stopped.wait(0.1):
            stack.supervise()

    watcher = threading.Thread(target=watch, daemon=True)
    mounted = _mount(folder / "kafka") if small_disk else None
    try:
        stack.start()
        watcher.start()
        settings = load_settings(environment={**stack.environment()}).model_copy(
            update={"clickhouse_url": SecretStr(stack.clickhouse)}
        )
        running = RunningStack(stack, settings, events)
        try:
            yield running
        finally:
            running.close()
    finally:
        stopped.set()
        if watcher.is_alive():
            watcher.join(10)
        stack.stop()
        if mounted is not None:
            subprocess.run(["umount", str(mounted)], check=False)
        if not os.environ.get("CHAOS_KEEP"):
            shutil.rmtree(folder, ignore_errors=True)


def _clock_of(folder: Path) -> dict[str, str]:
    return {
        "PYTHONPATH": str(Path(__file__).parent / "clock"),
        "HYBRID_CHAOS_CLOCK": str(folder / "clock"),
    }


def _mount(folder: Path) -> Path:
    """Put a small file system there; it needs root on Linux."""
    folder.mkdir(parents=True)
    size = f"size={SMALL_DISK_MB}m"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)], check=True)
    return folder

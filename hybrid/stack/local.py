"""The local stack: starts the parts in order, keeps them running, ends them all.

Only processes started here are ended, by their id. The kernel ends the children when this process
dies (Linux), so that nothing is left behind even after kill -9.
"""

import asyncio
import fcntl
import http.client
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any

from hybrid.config import load_settings
from hybrid.errors import HybridError, UsageError
from hybrid.stack import state
from hybrid.stack.kafka import EmbeddedKafka
from hybrid.stack.process import Child, free_port, hybrid_command, wait_until
from streams.kafka.topics import ensure_topics
from streams.store.clickhouse import ClickHouse
from streams.store.migrations import Layout, migrate

__all__ = ["LocalStack", "StackOptions"]

READY_LIMIT_S = 60
WORKER_STOP_S = 40
#: A part that keeps ending is started again after at most this long.
MAX_RESTART_DELAY_S = 5.0
#: Running this long counts as healthy: the next restart is immediate again.
HEALTHY_AFTER_S = 30.0

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class StackOptions:
    """What `hybrid up` and the tests ask for."""

    workers: int = 1
    data_dir: Path | None = None
    ready_file: Path | None = None
    kafka_port: int | None = None
    clickhouse_port: int | None = None
    simulator_port: int | None = None
    metrics_port: int | None = None
    seed: int = 0
    #: Whether commands in other terminals find this stack without configuration.
    announced: bool = False
    #: Whether a provider whose key is set is the real one (it costs money).
    real_providers: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass
class _Part:
    """A supervised child and how to start it again."""

    child: Child
    start: Callable[[], Child]
    started_at: float
    delay: float = 0.0
    restart_at: float | None = None


class LocalStack:
    """One running stack; `start`, then `supervise` now and then, then `stop`."""

    def __init__(self, options: StackOptions, *, report: Report) -> None:
        """Choose folder and ports; raises UsageError when they cannot be used."""
        self.options = options
        self._report = report
        self._temporary = options.data_dir is None
        self.folder = options.data_dir or Path(tempfile.mkdtemp(prefix="hybrid-"))
        self._lock = self._lock_folder()
        self.ports = {
            "kafka": _usable(options.kafka_port, "--kafka-port"),
            "clickhouse": _usable(options.clickhouse_port, "--clickhouse-port"),
            "simulator": _usable(options.simulator_port, "--simulator-port"),
        }
        self.metrics_ports = [
            _usable(options.metrics_port + number, "--metrics-port")
            if options.metrics_port
            else free_port()
            for number in range(options.workers)
        ]
        self._kafka: EmbeddedKafka | None = None
        self._parts: dict[str, _Part] = {}
        self.restarts = 0
        self._changes = threading.RLock()  # `supervise` may run on a thread of its own

    # ── addresses ───────────────────────────────────────────────────────────────────────────

    @property
    def kafka(self) -> str:
        """The bootstrap servers."""
        return f"127.0.0.1:{self.ports['kafka']}"

    @property
    def clickhouse(self) -> str:
        """The CLICKHOUSE_URL."""
        return f"http://default:@127.0.0.1:{self.ports['clickhouse']}/hybrid"

    @property
    def simulator(self) -> str:
        """The simulator's base address."""
        return f"http://127.0.0.1:{self.ports['simulator']}"

    @property
    def simulator_log(self) -> Path:
        """The file with one line for each call the simulator saw."""
        return self.folder / "simulator-calls.jsonl"

    def environment(self) -> dict[str, str]:
        """Give the configuration of a process that uses this stack."""
        environment = {
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka,
            "KAFKA_SECURITY_PROTOCOL": "PLAINTEXT",
            "CLICKHOUSE_URL": self.clickhouse,
            "HYBRID_REPLICATION_FACTOR": "1",
            "HYBRID_LOG_FORMAT": "json",
        }
        real = self.options.real_providers
        if not (real and os.environ.get("OPENAI_API_KEY")):
            environment |= {
                "OPENAI_API_KEY": "simulated",
                "OPENAI_BASE_URL": f"{self.simulator}/v1",
            }
        if not (real and os.environ.get("AZURE_OPENAI_API_KEY")):
            environment |= {
                "AZURE_OPENAI_API_KEY": "simulated",
                "AZURE_OPENAI_ENDPOINT": self.simulator,
            }
        return {**environment, **self.options.environment}

    def addresses(self) -> dict[str, Any]:
        """Give what the ready file says."""
        pids: dict[str, Any] = {"up": os.getpid()}
        if self._kafka is not None and self._kafka.child is not None:
            pids["kafka"] = self._kafka.child.pid
        for name, part in list(self._parts.items()):
            if name.startswith("worker-"):
                pids.setdefault("workers", []).append(part.child.pid)
            else:
                pids[name] = part.child.pid
        return {
            "kafka": self.kafka,
            "clickhouse": self.clickhouse,
            "console": None,
            "simulator": self.simulator,
            "metrics": [f"http://127.0.0.1:{port}/metrics" for port in self.metrics_ports],
            "pids": pids,
        }

    # ── start ───────────────────────────────────────────────────────────────────────────────

    def start(self, *, should_stop: Callable[[], bool] = lambda: False) -> None:
        """Start everything and wait until it is ready; ends early when `should_stop` says so.

        Raises UsageError, HybridError; on failure nothing is left running.
        """
        try:
            for step in self._steps():
                if should_stop():
                    return
                step()
        except BaseException:
            self.stop()
            raise

    def _steps(self) -> list[Callable[[], None]]:
        return [self._start_servers, self._start_recording, self._start_workers, self._announce]

    def _start_servers(self) -> None:
        # Engine and simulator come up while Kafka does.
        self._supervise("clickhouse", self._start_clickhouse)
        self._supervise("simulator", self._start_simulator)
        self._start_kafka()
        self._report("creating topics")
        asyncio.run(ensure_topics(load_settings(environment=self.environment())))
        self._wait_http("clickhouse", self.ports["clickhouse"], "/ping")
        self._wait_http("simulator", self.ports["simulator"], "/_sim/calls")

    def _start_recording(self) -> None:
        settings = load_settings(environment=self.environment())
        store = ClickHouse(settings)
        try:
            migrate(store, Layout.of(settings))
        finally:
            store.close()
        self._supervise("recorder", self._start_recorder)

    def _start_workers(self) -> None:
        for number in range(self.options.workers):
            self._supervise(f"worker-{number}", partial(self._start_worker, number))
        self._report("waiting for the workers")
        for number, port in enumerate(self.metrics_ports):
            self._wait_http(f"worker-{number}", port, "/readyz")

    def _start_kafka(self) -> None:
        ports_file = self.folder / "kafka-controller-port"
        controller = int(ports_file.read_text()) if ports_file.exists() else free_port()
        self.folder.mkdir(parents=True, exist_ok=True)
        ports_file.write_text(str(controller))
        self._kafka = EmbeddedKafka(
            self.folder / "kafka", port=self.ports["kafka"], controller_port=controller
        )
        last = -1

        def on_progress(done: int, total: int) -> None:
            nonlocal last
            percent = done * 100 // total
            if percent // 10 > last // 10:
                last = percent
                self._report(f"Kafka's jars: {percent} % of {total // 1_000_000} MB")

        self._report("starting Kafka")
        self._kafka.start(on_progress)
        child = self._kafka.child
        if child is not None:
            self._parts["kafka"] = _Part(child, self._kafka.launch, time.monotonic())

    def _start_clickhouse(self) -> Child:
        return self._child(
            "clickhouse",
            "clickhouse-engine",
            "--data-dir",
            str(self.folder / "clickhouse"),
            "--port",
            str(self.ports["clickhouse"]),
        )

    def _start_simulator(self) -> Child:
        return self._child(
            "simulator",
            "simulator",
            "--port",
            str(self.ports["simulator"]),
            "--seed",
            str(self.options.seed),
            "--log",
            str(self.simulator_log),
        )

    def _start_recorder(self) -> Child:
        return self._child(
            "recorder", "recorder", HYBRID_METRICS_PORT="0", HYBRID_INSTANCE_ID="recorder-0"
        )

    def _start_worker(self, number: int) -> Child:
        return self._child(
            f"worker-{number}",
            "worker",
            HYBRID_METRICS_PORT=str(self.metrics_ports[number]),
            HYBRID_INSTANCE_ID=f"worker-{number}",
        )

    def _child(self, name: str, *arguments: str, **environment: str) -> Child:
        logs = self.folder / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        return Child(
            name,
            hybrid_command(*arguments),
            log_file=logs / f"{name}.log",
            environment={**self.environment(), **environment},
        )

    def _supervise(self, name: str, start: Callable[[], Child]) -> None:
        self._parts[name] = _Part(start(), start, time.monotonic())

    def _wait_http(self, name: str, port: int, path: str) -> None:
        child = self._parts[name].child
        ready = wait_until(
            lambda: child.exit_status() is not None or _answers(port, path),
            within_s=READY_LIMIT_S,
        )
        if not ready or child.exit_status() is not None:
            message = f"{name} did not start; the end of {child.log_file}: {child.tail(3)}"
            raise HybridError(message)

    # ── while it runs ───────────────────────────────────────────────────────────────────────

    def supervise(self) -> None:
        """Look once at every part, and start those again that have ended."""
        with self._changes:
            for name, part in self._parts.items():
                self._keep_up(name, part, time.monotonic())

    def _keep_up(self, name: str, part: _Part, now: float) -> None:
        status = part.child.exit_status()
        if status is None:
            return
        if part.restart_at is None:
            healthy = now - part.started_at > HEALTHY_AFTER_S
            part.delay = 0.0 if healthy else min(part.delay * 2 + 0.1, MAX_RESTART_DELAY_S)
            part.restart_at = now + part.delay
            self._report(f"{name} ended with status {status}; starting it again")
        if now >= part.restart_at:
            part.child, part.restart_at, part.started_at = part.start(), None, now
            self.restarts += 1
            self._announce()

    def scale(self, workers: int) -> None:
        """Run this many workers from now on; those that go finish their calls first."""
        with self._changes:
            running = sum(name.startswith("worker-") for name in self._parts)
            for number in range(running, workers):
                if number == len(self.metrics_ports):
                    self.metrics_ports.append(free_port())
                self._supervise(f"worker-{number}", partial(self._start_worker, number))
            gone = [self._parts.pop(f"worker-{number}") for number in range(workers, running)]
        for part in gone:
            part.child.stop(within_s=WORKER_STOP_S)
        self._announce()

    def _announce(self) -> None:
        addresses = self.addresses()
        if self.options.ready_file is not None:
            state.write_json(self.options.ready_file, addresses)
        if self.options.announced:
            state.announce(addresses)

    # ── end ─────────────────────────────────────────────────────────────────────────────────

    def stop(self) -> None:
        """End every part: first those that use the others; remove a temporary folder."""
        state.withdraw()
        users = [
            part.child
            for name, part in self._parts.items()
            if name.startswith(("worker", "recorder"))
        ]
        for child in users:
            child.ask_to_stop()
        for child in users:
            child.stop(within_s=WORKER_STOP_S)
        others = [part.child for part in self._parts.values() if part.child not in users]
        for child in others:
            child.ask_to_stop()
        for child in others:
            child.stop(within_s=20)
        if self._kafka is not None:
            self._kafka.stop()
        self._parts.clear()
        if self.options.ready_file is not None:
            self.options.ready_file.unlink(missing_ok=True)
        self._lock.close()
        if self._temporary:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _lock_folder(self) -> IO[str]:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / "lock").open("w")
        except OSError as error:
            message = f"--data-dir {self.folder} cannot be used: {error.strerror}"
            raise UsageError(message) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            message = (
                f"--data-dir {self.folder} is in use by another `hybrid up`; stop that one, or "
                "choose another folder"
            )
            raise UsageError(message) from error
        return lock


def _usable(port: int | None, option: str) -> int:
    """Give a free port, or the given one if it is; raises UsageError."""
    import socket  # noqa: PLC0415 - only here

    if port is None:
        return free_port()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            message = f"{option} {port}: the port cannot be used ({error.strerror}); choose another"
            raise UsageError(message) from error
    return port


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()

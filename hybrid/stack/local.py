"""The local stack: starts the parts in order, keeps them running, ends them all.

Only processes started here are ended, by their id. The kernel ends the children when this process
dies (Linux), so that nothing is left behind even after kill -9.
"""

import asyncio
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from hybrid import announced
from hybrid.config import load_settings
from hybrid.errors import HybridError
from hybrid.stack.brokers import Brokers, broker_names
from hybrid.stack.environment import (
    CONSOLE_LINK,
    StackOptions,
    callers_environment,
    stack_environment,
    where_of,
)
from hybrid.stack.ground import (
    answers,
    lock_folder,
    remember_ports,
    remembered_ports,
    usable_port,
    usable_ports,
)
from hybrid.stack.parts import WORKER_STOP_S, Part, Report, stop_in_order, told_by_tens
from hybrid.stack.process import Child, free_port, hybrid_command, spelled, wait_until
from schemas.settings import Settings
from streams.kafka.topics import ensure_topics
from streams.store.clickhouse import ClickHouse
from streams.store.migrations import Layout, migrate

__all__ = ["LocalStack", "StackOptions"]


class LocalStack:
    """One running stack; `start`, then `supervise` now and then, then `stop`."""

    #: Seconds that a part may take until it is ready.
    ready_limit_s = 60.0

    def __init__(self, options: StackOptions, *, report: Report) -> None:
        """Choose folder and ports; raises UsageError when they cannot be used."""
        kafkas = broker_names(options.brokers)
        self.options = options
        self._report = report
        self._temporary = options.data_dir is None
        self.folder = options.data_dir or Path(tempfile.mkdtemp(prefix="hybrid-"))
        self._lock = lock_folder(self.folder)
        before = remembered_ports(self.folder)
        self.ports = {
            name: usable_port(getattr(options, f"{name}_port"), f"--{name}-port", before.get(name))
            for name in ("clickhouse", "simulator")
        }
        kafka_ports = usable_ports(kafkas, options.kafka_port, "--kafka-port", before)
        self.ports |= kafka_ports
        self._brokers = Brokers(self.folder, kafka_ports)
        if options.announced and self.settings().hybrid_console_port:
            self.ports["console"] = usable_port(None, "", before.get("console"))
        metrics = [f"metrics-{number}" for number in range(options.workers)]
        metrics_ports = usable_ports(metrics, options.metrics_port, "--metrics-port", before)
        self.metrics_ports = list(metrics_ports.values())
        self._parts: dict[str, Part] = {}
        self.restarts = 0
        self._changes = threading.RLock()  # `supervise` may run on a thread of its own

    # ── addresses ───────────────────────────────────────────────────────────────────────────

    @property
    def kafka(self) -> str:
        """The bootstrap servers."""
        return self._brokers.servers

    @property
    def clickhouse(self) -> str:
        """The CLICKHOUSE_URL."""
        return f"http://default:@127.0.0.1:{self.ports['clickhouse']}/hybrid"

    @property
    def simulator(self) -> str:
        """The simulator's base address."""
        return f"http://127.0.0.1:{self.ports['simulator']}"

    @property
    def console(self) -> str | None:
        """The address of the operator's pages; None = they are not served."""
        return f"http://127.0.0.1:{self.ports['console']}" if "console" in self.ports else None

    @property
    def simulator_log(self) -> Path:
        """The file with one line for each call the simulator saw."""
        return self.folder / "simulator-calls.jsonl"

    def environment(self) -> dict[str, str]:
        """Give the configuration of a process that uses this stack, beside the caller's own."""
        return stack_environment(
            self.options, kafka=self.kafka, clickhouse=self.clickhouse, simulator=self.simulator
        )

    def settings(self) -> Settings:
        """Read the settings as the stack's own processes do: the caller's, at our addresses."""
        return load_settings(environment={**callers_environment(), **self.environment()})

    def providers(self) -> list[tuple[str, str]]:
        """Say for each provider that can be called where it is, and whether it is simulated."""
        settings = self.settings()
        return [
            (spec.name, where_of(settings, spec, simulator=self.simulator))
            for spec in settings.provider_specs
        ]

    def addresses(self) -> dict[str, Any]:
        """Give what the ready file says."""
        pids: dict[str, Any] = {"up": os.getpid()}
        for name, part in list(self._parts.items()):
            if name.startswith("worker-"):
                pids.setdefault("workers", []).append(part.child.pid)
            else:
                pids[name] = part.child.pid
        return {
            "kafka": self.kafka,
            "clickhouse": self.clickhouse,
            "console": self.console,
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
        steps = [self._start_servers, self._start_recording, self._start_workers, self._announce]
        if self.console is not None:  # it starts beside the workers
            steps[2:3] = [self._start_console, steps[2], self._wait_console]
        return steps

    def _start_servers(self) -> None:
        metrics = {f"metrics-{number}": port for number, port in enumerate(self.metrics_ports)}
        remember_ports(self.folder, {**self.ports, **metrics})
        self._supervise("clickhouse", self._start_clickhouse)
        self._supervise("simulator", self._start_simulator)
        self._start_kafka()
        self._report("creating topics")
        self.make_topics()
        self._wait_http("clickhouse", self.ports["clickhouse"], "/ping")
        self._wait_http("simulator", self.ports["simulator"], "/_sim/calls")

    def make_topics(self) -> None:
        """Create the topics that are not there."""
        asyncio.run(ensure_topics(self.settings()))

    def make_tables(self) -> None:
        """Apply the migrations."""
        settings = self.settings()
        with closing(ClickHouse(settings)) as store:
            migrate(store, Layout.of(settings))

    def command_of(self, _part: str, *arguments: str) -> list[str]:
        """Give the command line of a part; a test gives a part another version of ours."""
        return hybrid_command(*arguments)

    def _start_recording(self) -> None:
        self.make_tables()
        self._supervise("recorder", self._start_recorder)

    def _start_workers(self) -> None:
        for number in range(self.options.workers):
            self._supervise(f"worker-{number}", partial(self._start_worker, number))
        self._report("waiting for the workers")
        for number, port in enumerate(self.metrics_ports):
            self._wait_http(f"worker-{number}", port, "/readyz")

    def _start_kafka(self) -> None:
        self._report("starting Kafka")
        self._brokers.launch(told_by_tens(self._report), self._parts.__setitem__)
        self._brokers.wait_ready(self.settings())

    def _start_clickhouse(self) -> Child:
        given = spelled(data_dir=self.folder / "clickhouse", port=self.ports["clickhouse"])
        return self._child("clickhouse", "clickhouse-engine", *given)

    def _start_simulator(self) -> Child:
        port, seed = self.ports["simulator"], self.options.seed
        given = spelled(port=port, seed=seed, log=self.simulator_log)
        return self._child("simulator", "simulator", *given)

    def _start_recorder(self) -> Child:
        return self._child(
            "recorder", "recorder", HYBRID_METRICS_PORT="0", HYBRID_INSTANCE_ID="recorder-0"
        )

    def _start_worker(self, number: int) -> Child:
        name, port = f"worker-{number}", str(self.metrics_ports[number])
        return self._child(name, "worker", HYBRID_METRICS_PORT=port, HYBRID_INSTANCE_ID=name)

    def _start_console(self) -> None:
        given = spelled(port=self.ports["console"], link_file=self.folder / CONSOLE_LINK)
        given += [f"--metrics={one}" for one in self.addresses()["metrics"]]
        start = partial(self._child, "console", "console", *given, HYBRID_CONSOLE_ADDRESSES="")
        self._supervise("console", start)

    def _wait_console(self) -> None:
        try:
            self._wait_http("console", self.ports["console"], "/healthz")
        except HybridError as error:
            self._report(f"{error}; the stack runs on, and it is started again")

    def _child(self, name: str, *arguments: str, **environment: str) -> Child:
        logs = self.folder / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        return Child(
            name,
            self.command_of(name, *arguments),
            log_file=logs / f"{name}.log",
            environment={**callers_environment(), **self.environment(), **environment},
        )

    def _supervise(self, name: str, start: Callable[[], Child]) -> None:
        self._parts[name] = Part(start(), start, time.monotonic())

    def _wait_http(self, name: str, port: int, path: str) -> None:
        child = self._parts[name].child
        ready = wait_until(
            lambda: child.exit_status() is not None or answers(port, path),
            within_s=self.ready_limit_s,
        )
        if not ready or child.exit_status() is not None:
            message = f"{name} did not start; the end of {child.log_file}: {child.tail(3)}"
            raise HybridError(message)

    # ── while it runs ───────────────────────────────────────────────────────────────────────

    def supervise(self) -> None:
        """Look once at every part, and start those again that have ended."""
        with self._changes:
            for name, part in self._parts.items():
                if part.keep_up(name, time.monotonic(), report=self._report):
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
            announced.write_json(self.options.ready_file, addresses)
        if self.options.announced:
            announced.announce(addresses)

    # ── end ─────────────────────────────────────────────────────────────────────────────────

    def stop(self) -> None:
        """End every part: first those that use the others; remove a temporary folder."""
        announced.withdraw()
        stop_in_order(self._parts)
        self._parts.clear()
        if self.options.ready_file is not None:
            self.options.ready_file.unlink(missing_ok=True)
        self._lock.close()
        if self._temporary:
            shutil.rmtree(self.folder, ignore_errors=True)

"""One run under faults: real broker, real processes, a seeded schedule, a report."""

import asyncio
import json
import os
import random
import signal
import socket
import tempfile
import threading
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from aiokafka.errors import KafkaError
from aiokafka.partitioner import DefaultPartitioner
from pydantic import SecretStr

from hybrid.config import load_settings
from hybrid.stack.local import LocalStack, StackOptions
from schemas.settings import Settings
from streams.publish import open_producer
from tests.chaos.oracle import Calls, Outcomes, Recorded, read_calls, read_outcomes, read_recorded

__all__ = ["ENVIRONMENT", "Plan", "Report", "RunningStack", "run", "running_stack"]

#: Short waits, so that a run takes minutes; the session timeout is the broker's own matter.
ENVIRONMENT = {
    "HYBRID_RETRY_DELAYS": "0.1,0.2,0.4",
    "HYBRID_DEFER_DELAYS": "1,2,4",
    "HYBRID_OPENAI_TIMEOUT": "3",
    "HYBRID_AZURE_TIMEOUT": "3",
    "HYBRID_SESSION_TIMEOUT": "6",
    "HYBRID_CONCURRENCY": "32",
    "HYBRID_LOG_LEVEL": "info",
}
TYPES = ("content_planning", "campaign_execution", "content_validation", "message_generation")
SETTLE_S = 240
#: A silence that begins this long after a fault still counts as the fault's.
FAULT_SHADOW_S = 8.0


@dataclass(frozen=True)
class Plan:
    """What a run does; faults happen in this order, spread over the publishing."""

    seed: int = 1
    intents: int = 2_000
    workers: int = 3
    faults: tuple[str, ...] = ()
    rate: float = 150.0  # intents a second
    provider_faults: dict[str, float] = field(default_factory=dict)
    latency_ms: float = 150.0
    environment: dict[str, str] = field(default_factory=dict)


@dataclass
class RunningStack:
    """A stack whose parts are watched by a thread, as `hybrid up` does."""

    stack: LocalStack
    settings: Settings
    events: list[str]

    def pids(self) -> list[int]:
        return list(self.stack.addresses()["pids"]["workers"])

    def in_flight(self, number: int) -> int:
        """What a worker says it has in flight, or 0 when it does not answer."""
        with suppress(OSError, ValueError):
            url = f"http://127.0.0.1:{self.stack.metrics_ports[number]}/metrics"
            with urllib.request.urlopen(url, timeout=2) as answer:
                for line in answer.read().decode().splitlines():
                    if line.startswith("hybrid_in_flight "):
                        return int(float(line.split()[1]))
        return 0

    def set_faults(self, document: dict[str, Any]) -> None:
        request = urllib.request.Request(
            f"{self.stack.simulator}/_sim/faults", json.dumps(document).encode()
        )
        urllib.request.urlopen(request, timeout=10).close()


@contextmanager
def running_stack(
    *, workers: int, environment: dict[str, str], seed: int = 0
) -> Iterator[RunningStack]:
    """Start a stack on an empty folder, watch it, and stop it whatever happens."""
    events: list[str] = []
    folder = Path(tempfile.mkdtemp(prefix="hybrid-chaos-"))
    options = StackOptions(
        workers=workers,
        data_dir=folder,
        real_providers=False,
        environment={**ENVIRONMENT, **environment},
        seed=seed,
    )
    stack = LocalStack(options, report=events.append)
    stopped = threading.Event()

    def watch() -> None:
        while not stopped.wait(0.1):
            stack.supervise()

    watcher = threading.Thread(target=watch, daemon=True)
    try:
        stack.start()
        watcher.start()
        settings = load_settings(environment={**stack.environment()}).model_copy(
            update={"clickhouse_url": SecretStr(stack.clickhouse)}
        )
        yield RunningStack(stack, settings, events)
    finally:
        stopped.set()
        if watcher.is_alive():
            watcher.join(10)
        stack.stop()


@dataclass
class Report:
    """What came out, and whether it may."""

    plan: Plan
    outcomes: Outcomes
    calls: Calls
    recorded: Recorded
    published: set[str]
    in_flight_at_kills: int
    faults: list[tuple[str, float]]
    recoveries: list[float]
    seconds: float
    restarts: int

    def problems(self) -> list[str]:
        """The invariants I1 to I4 that do not hold; empty is good."""
        found = []
        lost, doubled = self.outcomes.lost(self.published), self.outcomes.doubled()
        if lost:
            found.append(f"I1: {len(lost)} intents lost: {sorted(lost)[:5]}")
        if doubled:
            found.append(f"I1: {len(doubled)} intents with two outcomes: {list(doubled)[:5]}")
        bound = self.repeat_bound()
        if self.calls.repeated() > bound:
            found.append(f"I2: {self.calls.repeated()} repeated calls, at most {bound} allowed")
        seen = self.calls.attempt_ids
        if len(seen) != len(set(seen)):
            found.append("I3: one attempt id was sent twice")
        missing = set(seen) - self.recorded.all
        if missing:
            found.append(f"I3: {len(missing)} calls are not on record: {sorted(missing)[:3]}")
        unseen = self.recorded.finished - set(seen) - self.cancelled()
        if unseen:
            found.append(f"I3: {len(unseen)} attempts on record that nobody saw")
        return found

    def cancelled(self) -> set[str]:
        """Attempts that may never have left: connection refused, cancelled."""
        return self._unsent

    _unsent: set[str] = field(default_factory=set)

    def repeat_bound(self) -> int:
        """I2: calls in flight at the kills; none are repeated without kills."""
        return self.in_flight_at_kills

    def rows(self) -> list[tuple[str, str]]:
        """The report as two columns."""
        recoveries = sorted(self.recoveries)
        middle = recoveries[len(recoveries) // 2] if recoveries else 0.0
        return [
            ("seed", str(self.plan.seed)),
            ("faults", ", ".join(f"{name} at {at:.0f} s" for name, at in self.faults) or "none"),
            ("intents", str(len(self.published))),
            ("results", str(sum(map(len, self.outcomes.results.values())))),
            ("dead letters", str(sum(map(len, self.outcomes.dead_letters.values())))),
            ("lost", str(len(self.outcomes.lost(self.published)))),
            ("doubled", str(len(self.outcomes.doubled()))),
            ("calls seen by the simulator", str(len(self.calls.entries))),
            ("repeated calls", f"{self.calls.repeated()} (at most {self.repeat_bound()})"),
            ("attempts on record", str(len(self.recorded.all))),
            ("  of them without an end", str(len(self.recorded.started_only))),
            ("billed by the simulator", f"{self.calls.billed_usd} USD"),
            ("on record in ClickHouse", f"{self.recorded.cost_usd} USD"),
            (
                "recovery after a fault",
                f"p50 {middle:.1f} s, max {max(recoveries, default=0):.1f} s",
            ),
            ("restarts by the supervisor", str(self.restarts)),
            ("duration", f"{self.seconds:.0f} s"),
            ("verdict", "; ".join(self.problems()) or "all invariants hold"),
        ]


def intent(number: int, *, prefix: str) -> tuple[str, bytes]:
    """One intent with a marker by which the simulator's log knows it."""
    identifier = f"{prefix}-{number:06d}"
    document = {
        "intent_id": identifier,
        "type": TYPES[number % len(TYPES)],
        "user_id": f"user-{number % 50}",
        "tenant": f"tenant-{number % 5}",
        "data": {"marker": identifier},
    }
    return identifier, json.dumps(document).encode()


class Injector:
    """Carries out faults, one at a time, and measures how long nothing came out after each."""

    def __init__(self, running: RunningStack, dice: random.Random) -> None:
        self.running = running
        self.dice = dice
        self.in_flight_at_kills = 0
        self.actions: dict[str, Callable[[], None]] = {
            "kill": self.kill,
            "sigstop": self.sigstop,
            "rolling": self.rolling,
            "broker": self.broker,
            "recorder": self.recorder,
            "clickhouse": self.clickhouse,
        }

    def kill(self) -> None:
        """SIGKILL one worker."""
        self._signal_a_worker(signal.SIGKILL)

    def sigstop(self) -> None:
        """Stop a worker for longer than its session, then wake it."""
        pid = self._signal_a_worker(signal.SIGSTOP)
        time.sleep(9)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    def _signal_a_worker(self, number: int) -> int:
        """Signal a worker that is up (one may just be starting again); gives its pid."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            chosen = self.dice.randrange(len(self.running.pids()))
            pid, in_flight = self.running.pids()[chosen], self._bound(chosen)
            if self._ready(chosen):
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
                    self.in_flight_at_kills += in_flight
                    return pid
            time.sleep(0.1)
        message = "no worker came up within 60 s"
        raise AssertionError(message)

    def rolling(self) -> None:
        """SIGTERM every worker, one after the other; each comes back before the next goes."""
        for number, pid in enumerate(self.running.pids()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                if self.running.pids()[number] != pid and self._ready(number):
                    break
                time.sleep(0.2)

    def broker(self) -> None:
        """SIGKILL the broker; the supervisor starts it again on the same data."""
        pid = self.running.stack.addresses()["pids"]["kafka"]
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            now = self.running.stack.addresses()["pids"]["kafka"]
            if now != pid and _listens(self.running.stack.ports["kafka"]):
                return
            time.sleep(0.1)

    def recorder(self) -> None:
        """SIGKILL the recorder."""
        os.kill(self.running.stack.addresses()["pids"]["recorder"], signal.SIGKILL)

    def clickhouse(self) -> None:
        """SIGKILL the ClickHouse engine."""
        os.kill(self.running.stack.addresses()["pids"]["clickhouse"], signal.SIGKILL)

    def _ready(self, number: int) -> bool:
        url = f"http://127.0.0.1:{self.running.stack.metrics_ports[number]}/readyz"
        with suppress(OSError):
            return bool(urllib.request.urlopen(url, timeout=2).status == 200)
        return False

    def _bound(self, number: int) -> int:
        """In flight at the kill: what the worker says, plus what can start before it dies."""
        return self.running.in_flight(number) + 4


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 0.5).close()
    except OSError:
        return False
    return True


def run(plan: Plan, *, say: Callable[[str], None] = lambda _text: None) -> Report:
    """Run a plan to its end."""
    with running_stack(
        workers=plan.workers, environment=plan.environment, seed=plan.seed
    ) as running:
        return asyncio.run(_run(plan, running, say))


async def _run(plan: Plan, running: RunningStack, say: Callable[[str], None]) -> Report:
    dice = random.Random(plan.seed)
    injector = Injector(running, dice)
    faults = {"latency_ms": plan.latency_ms, "retry_after": "0.1", **plan.provider_faults}
    running.set_faults({"openai": faults, "azure": faults})
    began = time.monotonic()
    published: set[str] = set()
    done_faults: list[tuple[str, float]] = []
    moments: list[float] = []
    publishing = asyncio.create_task(_publish(plan, running, published))
    watch = _OutcomeWatch(running.settings)
    watching = asyncio.create_task(watch.follow())
    seconds = plan.intents / plan.rate
    for number, name in enumerate(plan.faults):
        at = seconds * (number + 0.7) / (len(plan.faults) + 0.5)
        await asyncio.sleep(max(0.0, began + at - time.monotonic()))
        say(f"{time.monotonic() - began:6.1f} s  {name}; {watch.count} of {plan.intents} outcomes")
        before = watch.count
        done_faults.append((name, time.monotonic() - began))
        since = time.monotonic()
        await asyncio.to_thread(injector.actions[name])
        while before == watch.count < plan.intents and time.monotonic() - since < 60:
            await asyncio.sleep(0.05)
        moments.append(since)
    await publishing
    deadline = time.monotonic() + SETTLE_S
    while watch.count < plan.intents and time.monotonic() < deadline:
        await asyncio.sleep(0.2)
    say(f"{time.monotonic() - began:6.1f} s  {watch.count} of {plan.intents} outcomes")
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    calls, recorded = await _settled(running)
    report = Report(
        plan=plan,
        outcomes=await read_outcomes(running.settings),
        calls=calls,
        recorded=recorded,
        published=published,
        in_flight_at_kills=injector.in_flight_at_kills,
        faults=done_faults,
        recoveries=[watch.recovery(moment) for moment in moments],
        seconds=time.monotonic() - began,
        restarts=running.stack.restarts,
    )
    report._unsent = await asyncio.to_thread(_unsent, running.settings)
    return report


def _unsent(settings: Settings) -> set[str]:
    from streams.clickhouse import ClickHouse

    store = ClickHouse(settings)
    try:
        _, rows = store.rows(
            "SELECT toString(attempt_id) FROM provider_attempts FINAL "
            "WHERE outcome IN ('cancelled', 'connection', 'timeout')"
        )
    finally:
        store.close()
    return {str(one) for (one,) in rows}


async def _settled(running: RunningStack) -> tuple[Calls, Recorded]:
    """Wait until the recorder has caught up and nothing changes any more."""
    last: tuple[int, int] = (-1, -1)
    for _ in range(60):
        calls = read_calls(running.stack.simulator_log)
        with suppress(Exception):
            recorded = await asyncio.to_thread(read_recorded, running.settings)
            now = (len(calls.entries), len(recorded.finished))
            if now == last and not set(calls.attempt_ids) - recorded.all:
                return calls, recorded
            last = now
        await asyncio.sleep(1.5)
    return calls, recorded


async def _send(client: Any, running: RunningStack, identifier: str, value: bytes) -> None:
    """Send until the broker has it; a second copy is the same intent and must run once."""
    while True:
        with suppress(KafkaError):
            await client.send_and_wait(
                running.settings.topics.intents, value=value, key=identifier.encode()
            )
            return
        await asyncio.sleep(0.5)


async def _publish(plan: Plan, running: RunningStack, published: set[str]) -> None:
    begin = time.monotonic()
    async with open_producer(running.settings) as client:
        pending: set[asyncio.Task[None]] = set()
        for number in range(plan.intents):
            identifier, value = intent(number, prefix=f"c{plan.seed}")
            published.add(identifier)
            task = asyncio.create_task(_send(client, running, identifier, value))
            pending.add(task)
            task.add_done_callback(pending.discard)
            ahead = begin + number / plan.rate - time.monotonic()
            if ahead > 0:
                await asyncio.sleep(ahead)
        await asyncio.gather(*pending)


class _OutcomeWatch:
    """Counts distinct intents with an outcome as they come, and when they came."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._partitioner = DefaultPartitioner()
        self._seen: set[str] = set()
        #: partition of the intents' topic → when its outcomes came
        self._times: dict[int, list[float]] = defaultdict(list)

    @property
    def count(self) -> int:
        return len(self._seen)

    def recovery(self, moment: float) -> float:
        """The longest silence of any partition that began with or soon after a fault, in seconds."""
        silences = [0.0]
        for times in self._times.values():
            later = [moment, *(at for at in times if at > moment)]
            silences += [b - a for a, b in pairwise(later) if a - moment < FAULT_SHADOW_S]
        return max(silences)

    def _partition(self, intent_id: str) -> int:
        count = self._settings.hybrid_partitions
        return int(self._partitioner(intent_id.encode(), range(count), range(count)))

    async def follow(self) -> None:
        from streams.reading import read_topic

        async def one(topic: str) -> None:
            while True:
                with suppress(Exception):
                    async for record in read_topic(self._settings, topic, follow=True):
                        intent_id = json.loads(record.value or b"{}")["intent_id"]
                        self._seen.add(intent_id)
                        self._times[self._partition(intent_id)].append(time.monotonic())
                await asyncio.sleep(1)

        topics = self._settings.topics
        await asyncio.gather(one(topics.results), one(topics.dead_letters))

"""The production image: what it holds, and every process of the contract in it, locked down."""

import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from hybrid.stack.ground import answers
from hybrid.stack.process import free_port
from tests.chaos.running import RunningStack
from tests.deploy.engine import Engine
from tests.integration.databases import address_of, with_database
from tests.integration.driving import eventually

pytestmark = pytest.mark.timeout(1200)
#: As a careful platform runs it: nothing to write to, no rights, little memory.
LOCKED = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
          "--memory", "512m", "--pids-limit", "200", "--network", "host")  # fmt: skip
INTENTS = 30
#: Drain budget and margin; a process that takes longer would be killed by its platform.
STOP_S = 40


@dataclass
class Containers:
    """Processes of the image against somebody's Kafka and ClickHouse."""

    engine: Engine
    image: str
    environment: dict[str, str]
    started: list[str] = field(default_factory=list)

    def _variables(self, more: dict[str, str]) -> list[str]:
        pairs = {**self.environment, **more}.items()
        return [part for name, value in pairs for part in ("--env", f"{name}={value}")]

    def once(self, *command: str, text_in: str | None = None) -> str:
        """Run a command to its end; gives what it printed."""
        stdin = ("--interactive",) if text_in is not None else ()
        done = self.engine.docker(
            "run", "--rm", *stdin, *LOCKED, *self._variables({}), self.image, *command,
            text_in=text_in, limit_s=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def start(self, *command: str, **more: str) -> str:
        """Start a process that stays."""
        done = self.engine.docker(
            "run", "--detach", *LOCKED, *self._variables(more), self.image, *command
        )
        self.started.append(done.stdout.strip())
        return self.started[-1]

    def stop(self, container: str) -> tuple[int, float, str]:
        """Stop it as a platform does; gives its exit status, the seconds it took, its log."""
        begun = time.monotonic()
        self.engine.docker("stop", "--time", str(STOP_S), container)
        took = time.monotonic() - begun
        status = self.engine.docker("inspect", "--format", "{{.State.ExitCode}}", container)
        logged = self.engine.docker("logs", container)
        return int(status.stdout), took, logged.stdout + logged.stderr


@pytest.fixture
def containers(engine: Engine, image: str, stack: RunningStack) -> Iterator[Containers]:
    """Nothing set but where things are; the stack's own worker listens to other topics."""
    settings = with_database(stack.settings)
    found = Containers(
        engine,
        image,
        {
            "KAFKA_BOOTSTRAP_SERVERS": stack.stack.kafka,
            "CLICKHOUSE_URL": address_of(settings),
            "HYBRID_TOPIC_PREFIX": f"i{uuid.uuid4().hex[:8]}",
        },
    )
    yield found
    for container in found.started:
        engine.docker("rm", "--force", container, check=False)


def test_the_image_is_small_and_holds_no_installer(engine: Engine, image: str) -> None:
    details = json.loads(engine.docker("inspect", image).stdout)[0]
    assert details["Config"]["User"] == "10001:10001"
    assert details["Config"]["Labels"]["org.opencontainers.image.title"] == "Hybrid Orchestrator"
    base = json.loads(engine.docker("inspect", "python:3.11-slim").stdout)[0]
    ours = (details["Size"] - base["Size"]) / 1e6
    print(f"image {details['Size'] / 1e6:.0f} MB, {ours:.0f} MB of it on top of its base")
    assert ours < 250
    find = engine.docker("run", "--rm", image, "find", "/app", "-name", "pip*", "-maxdepth", "5")
    assert find.stdout == ""


def test_every_process_starts_works_and_stops_in_the_image(containers: Containers) -> None:
    containers.once("hybrid", "topics", "ensure")
    assert "applied: 0001_tables, views" in containers.once("hybrid", "migrate")
    simulator, worker_port, recorder_port = free_port(), free_port(), free_port()
    processes = {"simulator": containers.start("hybrid", "simulator", "--port", str(simulator))}
    url = f"http://127.0.0.1:{simulator}"
    processes["worker"] = containers.start(
        "hybrid", "worker", HYBRID_SIMULATOR=url, HYBRID_METRICS_PORT=str(worker_port)
    )
    processes["recorder"] = containers.start(
        "hybrid", "recorder", HYBRID_METRICS_PORT=str(recorder_port)
    )
    for port in (worker_port, recorder_port):
        eventually(lambda port=port: answers(port, "/readyz"), bool, within_s=90)

    lines = [
        json.dumps({"intent_id": f"image-{number}", "type": "message_generation", "user_id": "u",
                    "data": {"topic": "spring"}})
        for number in range(INTENTS)
    ]  # fmt: skip
    published = containers.once("hybrid", "publish", "-", text_in="\n".join(lines) + "\n")
    assert f"published {INTENTS}" in published
    results = eventually(
        lambda: containers.once("hybrid", "results").splitlines(),
        lambda found: len(found) >= INTENTS,
        within_s=90,
    )
    assert {json.loads(line)["intent_id"] for line in results} == {
        f"image-{number}" for number in range(INTENTS)
    }
    assert len(results) == INTENTS
    report = eventually(
        lambda: json.loads(containers.once("hybrid", "costs", "report", "--format", "json")),
        lambda rows: sum(row["calls"] for row in rows) >= INTENTS,
        within_s=60,
    )
    assert sum(row["calls"] for row in report) == INTENTS
    checks = json.loads(containers.once("hybrid", "doctor", "--format", "json"))
    assert [one for one in checks if one["state"] == "broken"] == []

    for name, container in processes.items():
        status, took, log = containers.stop(container)
        assert (name, status) == (name, 0), log[-2000:]
        assert took < STOP_S, f"{name} took {took:.0f} s to stop"
        assert "Traceback" not in log

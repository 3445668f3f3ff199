"""docker-compose.yml as it is shipped, under a project's name of its own."""

import json
import os
import re
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.deploy.engine import Engine
from tests.integration.driving import eventually

__all__ = ["KAFKA", "LONG_S", "Project", "Service", "some_intents"]

#: Where the host finds Kafka.
KAFKA = "localhost:29092"
#: Long enough for a busy machine: a JVM, a database, a rebalance.
LONG_S = 420
#: What stays once it is up; Grafana is never started here.
STAYING = ("kafka", "clickhouse", "worker", "recorder", "simulator")
#: Gets a page in a container and prints its status, then what it says.
GET = (
    "import sys, urllib.parse as p, http.client as h; u = p.urlsplit(sys.argv[1]); "
    "c = h.HTTPConnection(u.netloc, timeout=5); c.request('GET', u.path); "
    "r = c.getresponse(); print(r.status); print(r.read().decode())"
)


@dataclass(frozen=True)
class Service:
    """One container of a service, as the engine sees it."""

    name: str
    container: str
    status: str
    health: str
    exit_code: int
    pid: int


class Project:
    """The compose file under a name of its own; everything of it goes with `remove`."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine = engine
        self.folder = folder
        self.name = f"hybrid-test-{uuid.uuid4().hex[:8]}"

    def set_env(self, **values: str) -> None:
        """Make `.env` of `.env.example`, as it says: a value, or the `#` before a line gone."""
        text = (self.folder / ".env.example").read_text()
        for name, value in values.items():
            text, found = re.subn(f"(?m)^#?{name}=.*$", f"{name}={value}", text)
            assert found == 1, f".env.example has {found} lines of {name}"
        (self.folder / ".env").write_text(text)

    def compose(
        self, *arguments: str, check: bool = True, limit_s: float = 1500
    ) -> subprocess.CompletedProcess[str]:
        """Run `docker compose …` in the checkout."""
        line = ("compose", "--project-name", self.name, "--progress", "plain", *arguments)
        try:
            return self.engine.docker(*line, check=check, limit_s=limit_s, folder=self.folder)
        except AssertionError as error:
            logs = self.engine.docker(
                "compose", "--project-name", self.name, "logs", "--tail", "15",
                check=False, folder=self.folder,
            )  # fmt: skip
            message = f"{error}\n{logs.stdout[-6000:]}"
            raise AssertionError(message) from None

    def services(self) -> list[Service]:
        """Give all containers of the project."""
        mine = f"label=com.docker.compose.project={self.name}"
        ids = self.engine.docker("ps", "--all", "--quiet", "--no-trunc", "--filter", mine)
        if not ids.stdout.split():
            return []
        done = self.engine.docker("inspect", *ids.stdout.split(), check=False)
        return [_service(one) for one in json.loads(done.stdout)]

    def containers(self, service: str) -> list[Service]:
        """Give the containers of one service, in the order of their numbers."""
        found = [one for one in self.services() if one.name == service]
        return sorted(found, key=lambda one: one.container)

    def inside(self, service: str, *command: str, index: int = 1, check: bool = True) -> str:
        """Run a command in a service's container; gives what it printed."""
        where = ("exec", "--no-TTY", "--index", str(index), service)
        return self.compose(*where, *command, check=check, limit_s=180).stdout

    def logs(self, service: str) -> str:
        """Give what a service has said."""
        return self.compose("logs", "--no-color", "--no-log-prefix", service).stdout

    def remove(self) -> None:
        """Stop and delete all of it, its data too; what must be said cannot fail for lack of it."""
        (self.folder / ".env").write_text("CLICKHOUSE_PASSWORD=any\n")
        profile = ("--profile", "simulator")
        self.compose(*profile, "down", "--volumes", "--remove-orphans", "--timeout", "5")

    # ── what it says of itself ──────────────────────────────────────────────────────────────

    def get(self, address: str, *, index: int = 1) -> tuple[str, str]:
        """Get a page from within a worker's container; gives status and text, both empty if none."""
        said = self.inside("worker", "python", "-c", GET, address, index=index, check=False)
        status, _, text = said.partition("\n")
        return status, text

    def wait_until_healthy(self, *, workers: int = 1) -> None:
        """Wait until every part that stays runs and is healthy."""
        wanted = Counter(dict.fromkeys(STAYING, 1) | {"worker": workers})
        well = ("running", "healthy")
        eventually(
            self.services,
            lambda seen: (
                wanted == Counter(one.name for one in seen if (one.status, one.health) == well)
            ),
            within_s=LONG_S,
        )

    def wait_until_worker_says(self, status: str, path: str) -> None:
        """Wait until a worker answers a path of its health so."""
        address = f"http://localhost:9464{path}"
        eventually(lambda: self.get(address)[0], lambda seen: seen == status, within_s=LONG_S)

    def wait_for_results(self, intents: Sequence[dict[str, Any]]) -> None:
        """Wait until each of these intents has its result, and see that none has two."""
        ids = {one["intent_id"] for one in intents}
        found = eventually(
            lambda: Counter(one for one in self.results() if one in ids),
            lambda seen: len(seen) == len(ids),
            within_s=LONG_S,
        )
        assert set(found.values()) == {1}

    def calls_of(self, intents: Sequence[dict[str, Any]]) -> Counter[str]:
        """Count the calls of these intents that the simulator has seen since it was started."""
        ids = {one["intent_id"] for one in intents}
        status, text = self.get("http://simulator:8089/_sim/calls")
        assert status == "200"
        calls = [json.loads(line)["intent"] for line in text.splitlines() if line]
        return Counter(one for one in calls if one in ids)

    def outcomes(self, index: int) -> float:
        """Ask a worker how many outcomes it has committed."""
        _, text = self.get("http://localhost:9464/metrics", index=index)
        lines = [line for line in text.splitlines() if line.startswith("hybrid_outcomes_total")]
        return sum(float(line.split()[-1]) for line in lines)

    def billed_calls(self) -> int:
        """Ask for the bill, in a worker's container."""
        said = self.inside("worker", "hybrid", "costs", "report", "--format", "json")
        return sum(int(row["calls"]) for row in json.loads(said))

    def settled_bill(self) -> int:
        """Give the bill's calls once the recorder has written all, and they stand still."""

        def look() -> tuple[bool, int, int]:
            before, (_, text) = self.billed_calls(), self.get("http://recorder:9464/metrics")
            return "\nhybrid_recorder_lag 0.0" in text, before, self.billed_calls()

        settled = eventually(look, lambda seen: seen[0] and seen[1] == seen[2], within_s=LONG_S)
        return int(settled[2])

    def wait_until_billed(self, calls: int) -> None:
        """Wait until the bill has exactly so many calls."""
        eventually(self.billed_calls, lambda seen: seen == calls, within_s=LONG_S)

    # ── as programs of this host ────────────────────────────────────────────────────────────

    def publish(self, intents: Sequence[dict[str, Any]]) -> None:
        """Publish from the host."""
        lines = "".join(json.dumps(one) + "\n" for one in intents)
        said = self._hybrid("publish", "-", text_in=lines)
        assert f"published {len(intents)}" in said, said

    def results(self) -> list[str]:
        """Read on the host; gives the intents' ids, each as often as it has a result."""
        return [json.loads(line)["intent_id"] for line in self._hybrid("results").splitlines()]

    @staticmethod
    def _hybrid(*arguments: str, text_in: str = "") -> str:
        done = subprocess.run(
            [sys.executable, "-m", "hybrid", *arguments],
            env={**os.environ, "KAFKA_BOOTSTRAP_SERVERS": KAFKA},
            input=text_in, capture_output=True, text=True, timeout=180, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"hybrid {arguments[0]}: {done.stdout}{done.stderr}"
        return done.stdout


def _service(details: dict[str, Any]) -> Service:
    state = details["State"]
    return Service(
        details["Config"]["Labels"]["com.docker.compose.service"],
        details["Name"].lstrip("/"),
        state["Status"],
        state.get("Health", {}).get("Status", ""),
        state["ExitCode"],
        state["Pid"],
    )


def some_intents(prefix: str, count: int = 30) -> list[dict[str, Any]]:
    """Give new intents whose calls the simulator can tell."""
    name = f"{prefix}-{uuid.uuid4().hex[:6]}"
    return [
        {"intent_id": f"{name}-{number}", "type": "message_generation", "user_id": "u",
         "data": {"topic": "spring", "marker": f"{name}-{number}"}}
        for number in range(count)
    ]  # fmt: skip

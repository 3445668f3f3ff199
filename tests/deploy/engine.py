"""A container engine for the tests: the machine's own where one answers, else one started here.

Started here: `dockerd` with a socket and a data folder of its own, which needs root and Debian's
`docker.io`. It can be restarted, which nobody may do to the machine's own.
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.deploy.janitor import Janitor, remove_folder

__all__ = ["METRICS_CODE", "ROOT", "Daemon", "Engine", "EngineMissingError", "running_engine"]

ROOT = Path(__file__).resolve().parents[2]
#: Where the names of metrics are.
METRICS_CODE = "".join(
    (ROOT / "hybrid" / name).read_text() for name in ("metrics.py", "worker_metrics.py")
)
START_LIMIT_S = 60
#: The longest grace of a container, and what the engine does beside.
STOP_LIMIT_S = 120


class EngineMissingError(Exception):
    """Raised when a part that cannot be made here is missing; the text says what to install."""


@dataclass
class Engine:
    """Docker's command, talking to one engine."""

    host: str | None
    #: The engine's process where it was started here.
    daemon: "Daemon | None" = None
    #: A folder of the command's configuration, with its plugins; None is the user's own.
    configuration: Path | None = None
    #: Stand-ins that were made, which the machine's own engine must not keep under these names.
    made: list[str] = field(default_factory=list)

    def docker(
        self,
        *arguments: str,
        check: bool = True,
        text_in: str | None = None,
        limit_s: float = 900,
        folder: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run one command; with `check` a failure is an AssertionError that shows its output."""
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("COMPOSE_")
        }
        environment["DOCKER_BUILDKIT"] = "0"  # which builds without a plugin, too
        if self.host is not None:
            environment["DOCKER_HOST"] = self.host
        if self.configuration is not None:
            environment["DOCKER_CONFIG"] = str(self.configuration)
        done = subprocess.run(
            ["docker", *arguments],
            capture_output=True,
            text=True,
            input=text_in,
            stdin=subprocess.DEVNULL if text_in is None else None,
            timeout=limit_s,
            check=False,
            env=environment,
            cwd=folder,
        )
        if check:
            assert done.returncode == 0, f"docker {arguments[0]}: {done.stdout}{done.stderr}"
        return done

    def answers(self) -> bool:
        """Whether the engine can be talked to."""
        return self.docker("info", "--format", "{{.ServerVersion}}", check=False).returncode == 0


class Daemon:
    """An engine's process; its socket and its data lie in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.engine = Engine(f"unix://{folder}/docker.sock", self)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers; raises EngineMissingError."""
        folder = self.folder
        with (folder / "log").open("ab") as log:
            self._process = process = subprocess.Popen(
                ["dockerd", "--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec",
                 "--host", self.engine.host or "", "--pidfile", f"{folder}/pid"],
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + START_LIMIT_S
        while not self.engine.answers():
            if process.poll() is not None or time.monotonic() > deadline:
                last = (folder / "log").read_text(errors="replace")[-500:]
                message = f"dockerd did not start: {last}"
                raise EngineMissingError(message)
            time.sleep(0.2)

    def stop(self) -> None:
        """Stop it, and with it all containers."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(STOP_LIMIT_S)

    def remove(self) -> None:
        """Delete its data."""
        remove_folder(self.folder)


@contextmanager
def running_engine() -> Iterator[Engine]:
    """Give an engine; one that was started here is stopped, and its data go, also after kill -9.

    With DEPLOY_KEEP=DIR in the environment its data lie there and stay, so that the next run need
    not make the images again.
    """
    own = Engine(None)
    if shutil.which("docker") is None:
        message = "no docker command here: `apt-get install docker.io` (or any engine with one)"
        raise EngineMissingError(message)
    if own.answers():
        janitor = Janitor(None, None, keep=True)
        try:
            yield own
        finally:
            janitor.dismiss()
            for name in own.made:
                own.docker("image", "rm", "--force", name, check=False)
        return
    if shutil.which("dockerd") is None or os.geteuid() != 0:
        message = "no container engine answers: start one, or run this as root with docker.io"
        raise EngineMissingError(message)
    kept = os.environ.get("DEPLOY_KEEP")
    folder = Path(kept or tempfile.mkdtemp(prefix="hybrid-engine-"))
    folder.mkdir(parents=True, exist_ok=True)
    daemon = Daemon(folder)
    janitor = Janitor(daemon.engine.host, folder, keep=bool(kept))
    try:
        daemon.start()
        yield daemon.engine
    finally:
        daemon.stop()
        if not kept:
            daemon.remove()
        janitor.dismiss()

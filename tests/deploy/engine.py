"""A container engine for the tests: the machine's own where one answers, else one started here.

Started here: `dockerd` with a socket and a data folder of its own, which needs root and Debian's
`docker.io`. Base images that cannot be pulled get a stand-in of the same name, made by
`debootstrap`: the same Python on the same distribution, without the official image's extras.
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Engine", "EngineMissingError", "running_engine"]

ROOT = Path(__file__).resolve().parents[2]
START_LIMIT_S = 60
#: What a stand-in consists of; its pip trusts the authorities of this machine.
PACKAGES = "python3,python3-venv,python-is-python3,ca-certificates"
AUTHORITIES = Path(os.environ.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"))


class EngineMissingError(Exception):
    """Raised when there is no engine and none can be started; the text says what to do."""


@dataclass
class Engine:
    """Docker's command, talking to one engine."""

    host: str | None

    def docker(
        self, *arguments: str, check: bool = True, text_in: str | None = None, limit_s: float = 900
    ) -> subprocess.CompletedProcess[str]:
        """Run one command; with `check` a failure is an AssertionError that shows its output."""
        environment = {**os.environ, "DOCKER_BUILDKIT": "0"}
        if self.host is not None:
            environment["DOCKER_HOST"] = self.host
        done = subprocess.run(
            ["docker", *arguments],
            capture_output=True,
            text=True,
            input=text_in,
            timeout=limit_s,
            check=False,
            env=environment,
        )
        if check:
            assert done.returncode == 0, f"docker {arguments[0]}: {done.stdout}{done.stderr}"
        return done

    def answers(self) -> bool:
        """Whether the engine can be talked to."""
        return self.docker("info", "--format", "{{.ServerVersion}}", check=False).returncode == 0

    def need_base(self, name: str) -> None:
        """See that a base image is there: here already, pulled, or its stand-in."""
        if self.docker("image", "inspect", name, check=False).returncode == 0:
            return
        if self.docker("pull", "--quiet", name, check=False, limit_s=300).returncode == 0:
            return
        if not name.startswith("python:3.11"):
            message = f"the image {name} cannot be pulled, and no stand-in for it is known"
            raise EngineMissingError(message)
        with tempfile.TemporaryDirectory() as folder:
            self._make_python(Path(folder), name)

    def _make_python(self, folder: Path, name: str) -> None:
        root, archive = folder / "root", folder / "root.tar"
        if shutil.which("debootstrap") is None:
            message = f"the image {name} cannot be pulled; `apt-get install debootstrap` to make it"
            raise EngineMissingError(message)
        command = [
            "debootstrap",
            "--variant=minbase",
            f"--include={PACKAGES}",
            "bookworm",
            str(root),
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=900)
        trusted = root / "etc/ssl/certs/ca-certificates.crt"
        shutil.copy(AUTHORITIES, trusted)
        subprocess.run(["tar", "-C", str(root), "-cf", str(archive), "."], check=True)
        setting = "ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt"
        self.docker("import", "--change", setting, str(archive), name)


@contextmanager
def running_engine() -> Iterator[Engine]:
    """Give an engine; one that was started here is stopped, and its data go.

    With DEPLOY_KEEP=DIR in the environment its data lie there and stay, so that the next run need
    not make the base image again.
    """
    own = Engine(None)
    if shutil.which("docker") is None:
        message = "no docker command here: `apt-get install docker.io` (or any engine with one)"
        raise EngineMissingError(message)
    if own.answers():
        yield own
        return
    if shutil.which("dockerd") is None or os.geteuid() != 0:
        message = "no container engine answers: start one, or run this as root with docker.io"
        raise EngineMissingError(message)
    kept = os.environ.get("DEPLOY_KEEP")
    folder = Path(kept or tempfile.mkdtemp(prefix="hybrid-engine-"))
    folder.mkdir(parents=True, exist_ok=True)
    engine = Engine(f"unix://{folder}/docker.sock")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["dockerd", "--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec",
             "--host", engine.host or "", "--pidfile", f"{folder}/pid"],
            stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        _wait_until_it_answers(engine, process, folder)
        yield engine
    finally:
        process.terminate()
        process.wait(60)
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)


def _wait_until_it_answers(
    engine: Engine, process: "subprocess.Popen[bytes]", folder: Path
) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while not engine.answers():
        if process.poll() is not None or time.monotonic() > deadline:
            last = (folder / "log").read_text(errors="replace")[-500:]
            message = f"dockerd did not start: {last}"
            raise EngineMissingError(message)
        time.sleep(0.2)

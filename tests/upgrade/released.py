"""The last version: which commit it is, and an environment of its own with it in."""

import io
import os
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

__all__ = ["BEFORE_TAGS", "Released", "ReleasedError", "install", "last_release"]

ROOT = Path(__file__).resolve().parents[2]
#: What stands for the last release until one is tagged: main before the chart, the client, the
#: stories, and the records' versions.
BEFORE_TAGS = "8179bed26c9c"


class ReleasedError(Exception):
    """Raised when the last version cannot be had; the text says what to do."""


@dataclass(frozen=True)
class Released:
    """A version of ours in an environment of its own."""

    ref: str
    commit: str
    date: str
    #: Its command, whose interpreter has nothing of this checkout.
    hybrid: Path

    @property
    def name(self) -> str:
        """What to call it in a report."""
        return f"{self.ref} ({self.commit[:7]}, {self.date})"


def last_release() -> str:
    """Give the newest tag before this commit, or what stands for one while there is none."""
    command = ("describe", "--tags", "--abbrev=0", "--match", "v[0-9]*", "HEAD^")
    found = _git(*command, check=False)
    return found or BEFORE_TAGS


def install(ref: str, folder: Path) -> Released:
    """Install a commit of this repository, with the packages that it names; raises ReleasedError."""
    commit = _git("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}", check=False)
    if not commit:
        message = (
            f"{ref} is no commit here: name another with BASE=, or fetch it (a shallow clone?)"
        )
        raise ReleasedError(message)
    source, environment = folder / "source", folder / "environment"
    archive = subprocess.run(
        ["git", "archive", commit], cwd=ROOT, capture_output=True, check=True
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as committed:
        committed.extractall(source, filter="data")
    uv = str(Path(sys.executable).with_name("uv"))
    python = environment / "bin/python"
    pip = (uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(python))
    locks = ("requirements/runtime.lock", "requirements/build.lock")
    _run(uv, "venv", "--quiet", "--python", sys.executable, str(environment))
    for lock in locks:
        _run(*pip, "--require-hashes", "-r", str(source / lock))
    _run(*pip, "--no-deps", "--no-build-isolation", str(source))
    _require_own(python, environment)
    date = _git("show", "--no-patch", "--format=%cs", commit)
    return Released(ref, commit, date, environment / "bin/hybrid")


def _require_own(python: Path, environment: Path) -> None:
    """See that its packages are its own: this checkout's, imported by it, would prove nothing."""
    names = ("schemas", "agents", "streams", "hybrid")
    code = f"import {', '.join(names)}; print({', '.join(f'{name}.__file__' for name in names)})"
    for place in _run(str(python), "-P", "-c", code).split():
        if not Path(place).is_relative_to(environment):
            message = f"the last version imports {place}, which is not its own"
            raise ReleasedError(message)


def _git(*arguments: str, check: bool = True) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=check
    )
    return done.stdout.strip() if done.returncode == 0 else ""


def _run(*command: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, cwd="/"
    )
    if done.returncode:
        message = f"{' '.join(command[:3])}: {done.stderr.strip()[-500:]}"
        raise ReleasedError(message)
    return done.stdout

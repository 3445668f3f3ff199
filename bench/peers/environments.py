"""Environments of the peers' own: made once for each version of their lock file."""

import hashlib
import importlib.metadata
import shutil
import subprocess
import sys
from pathlib import Path

from bench.peers.ground import bench_cache
from hybrid.errors import HybridError

__all__ = ["environment_python", "version_in"]

REQUIREMENTS = Path(__file__).with_name("requirements")


def environment_python(name: str) -> Path:
    """Give the Python of the environment that `requirements/NAME.lock` describes.

    Raises HybridError when it cannot be made.
    """
    lock = REQUIREMENTS / f"{name}.lock"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    folder = bench_cache() / f"{name}-{digest}"
    python = folder / "bin/python"
    done = folder / ".installed"
    if not done.exists():
        print(f"installing the environment {name} (once)", file=sys.stderr, flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        _run(sys.executable, "-m", "venv", "--without-pip", str(folder))
        uv = Path(sys.executable).with_name("uv")
        _run(
            str(uv), "pip", "install", "--quiet", "--python", str(python), "--compile-bytecode",
            "--require-hashes", "--no-deps", "-r", str(lock),
        )  # fmt: skip
        done.touch()
    return python


def version_in(python: Path, distribution: str) -> str:
    """Give a distribution's version in an environment."""
    if python == Path(sys.executable):
        return importlib.metadata.version(distribution)
    code = f"from importlib.metadata import version; print(version({distribution!r}))"
    return _run(str(python), "-c", code).strip()


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        message = f"{' '.join(command[:4])} … failed: {done.stderr.strip()[-500:]}"
        raise HybridError(message)
    return done.stdout

"""Apache Kafka's jars: fetched once into the user's cache, checked against recorded sums."""

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hybrid.errors import UsageError

__all__ = ["Jar", "cache_folder", "ensure_jars", "locked_jars"]

LOCK_FILE = Path(__file__).with_name("kafka-jars.lock")
PARALLEL = 8
TRIES = 3


@dataclass(frozen=True, slots=True)
class Jar:
    """One file of the lock: Maven coordinates, SHA-256, bytes."""

    group: str
    artifact: str
    version: str
    sha256: str
    size: int


def locked_jars() -> list[Jar]:
    """Read the lock file."""
    jars = []
    for line in LOCK_FILE.read_text(encoding="utf-8").splitlines():
        coordinates, digest, size = line.split()
        group, artifact, version = coordinates.split(":")
        jars.append(Jar(group, artifact, version, digest.removeprefix("sha256:"), int(size)))
    return jars


def cache_folder() -> Path:
    """Give the user's cache folder of this product (XDG base directories)."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "hybrid-orchestrator"


def ensure_jars(on_progress: Callable[[int, int], None]) -> list[Path]:
    """Give the class path; while jars are missing, `on_progress(bytes done, bytes in all)`.

    Raises UsageError when a jar cannot be fetched or is not the recorded one.
    """
    try:
        from jgo.constants import MAVEN_CENTRAL_URL  # noqa: PLC0415 - part of extra [local]
        from jgo.maven import MavenContext  # noqa: PLC0415
    except ImportError as error:
        message = "the local stack is not installed: pip install 'hybrid-orchestrator[local]'"
        raise UsageError(message) from error
    folder = cache_folder() / "jars"
    folder.mkdir(parents=True, exist_ok=True)
    context = MavenContext(repo_cache=folder, remote_repos={"central": MAVEN_CENTRAL_URL})
    jars = locked_jars()
    total, done = sum(jar.size for jar in jars), 0
    missing = not all(_is_verified(_place(context, jar), jar) for jar in jars)
    paths: list[Path] = []
    with ThreadPoolExecutor(PARALLEL) as pool:
        futures = {pool.submit(_fetch, context, jar): jar for jar in jars}
        for future in as_completed(futures):
            paths.append(future.result())
            done += futures[future].size
            if missing:
                on_progress(done, total)
    return sorted(paths)


def _place(context: Any, jar: Jar) -> Path:  # noqa: ANN401 - an optional library's type
    """Give where a jar lies in the cache, whether it is there or not."""
    component = context.project(jar.group, jar.artifact).at_version(jar.version)
    return Path(component.artifact().cached_path)


def _is_verified(path: Path, jar: Jar) -> bool:
    """Whether a jar was checked when it came, and is not cut off since."""
    marker = path.with_suffix(".jar.verified")
    return marker.exists() and path.exists() and path.stat().st_size == jar.size


def _fetch(context: Any, jar: Jar) -> Path:  # noqa: ANN401 - an optional library's type
    name = f"{jar.group}:{jar.artifact}:{jar.version}"
    problem = "it cannot be fetched"
    for _ in range(TRIES):
        try:
            component = context.project(jar.group, jar.artifact).at_version(jar.version)
            path = Path(component.artifact().resolve())
        except Exception as error:  # noqa: BLE001 - the library raises many kinds
            problem = f"it cannot be fetched ({type(error).__name__})"
            continue
        if _is_verified(path, jar):
            return path
        if hashlib.sha256(path.read_bytes()).hexdigest() == jar.sha256:
            path.with_suffix(".jar.verified").touch()
            return path
        path.unlink(missing_ok=True)
        problem = "its SHA-256 is not the recorded one"
    message = (
        f"Kafka's jar {name}: {problem}; the first start of the local stack needs network access "
        "to Maven Central (45 MB, once), or set KAFKA_BOOTSTRAP_SERVERS to a broker of yours"
    )
    raise UsageError(message)

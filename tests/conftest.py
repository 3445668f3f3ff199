"""Shared parts: what is dear to make is made once for the whole session, on first use."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from hybrid.stack.local import LocalStack
from tests import backend
from tests.chaos.running import YOUNG_JVM, RunningStack, VisitingStack, running_stack
from tests.house import House
from tests.integration.secure_kafka import SecureKafka, secure_kafka
from tests.integration.servers import clickhouse_engine, served

if TYPE_CHECKING:
    from tests.integration.containers import Servers

ROOT = Path(__file__).resolve().parents[1]
BACKEND = pytest.StashKey[str]()

#: How long an example takes is a matter for `bench/`: a busy machine is not a bug.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

GIVEN_BACKEND = os.environ.get(backend.VARIABLE)
for _name in list(os.environ):
    # A developer's own configuration has no say in the tests.
    if _name.startswith(("KAFKA_", "CLICKHOUSE_", "OPENAI_", "AZURE_", "HYBRID_", "OTEL_")):
        del os.environ[_name]
os.environ.setdefault("JDK_JAVA_OPTIONS", YOUNG_JVM)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[BACKEND] = backend.choose(GIVEN_BACKEND)
    if config.stash[BACKEND] == backend.CONTAINERS:
        backend.forbid_embedded()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.stash[BACKEND] == backend.CONTAINERS:
        backend.skip_others(items)


@pytest.fixture(scope="session")
def servers(pytestconfig: pytest.Config) -> Iterator["Servers | None"]:
    """The broker and the ClickHouse of a stack where they are containers; None: it has its own."""
    if pytestconfig.stash[BACKEND] != backend.CONTAINERS:
        yield None
        return
    from tests.deploy.engine import EngineMissingError  # which loads the engine's client
    from tests.integration import containers

    seen = pytestconfig.pluginmanager.getplugin("capturemanager")
    try:
        with ExitStack() as whole:
            with seen.global_and_fixture_disabled():  # it may take minutes
                running = whole.enter_context(containers.running_servers())
                print(f"\n{running}", flush=True)  # noqa: T201
            yield running
    except EngineMissingError as error:
        pytest.exit(f"{backend.VARIABLE}={backend.CONTAINERS}: {error}", returncode=2)


@pytest.fixture(scope="session")
def stack(
    tmp_path_factory: pytest.TempPathFactory, servers: "Servers | None"
) -> Iterator[RunningStack]:
    """A running local stack with two workers, short waits and the simulated providers.

    Its broker and its ClickHouse are those that `make test` has started for several jobs, where it
    has.
    """
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))
    environment = {"HYBRID_LOG_LEVEL": "debug"}
    with running_stack(
        workers=2, environment=environment, partitions=6, forked=True, make=_maker(servers)
    ) as running:
        yield running


def _maker(servers: "Servers | None") -> Callable[..., LocalStack] | None:
    """Give what makes the stack, by whose its broker is; None: it has one of its own."""
    if servers is not None:
        from tests.integration.containers import ContainedStack

        return partial(ContainedStack, servers=servers)
    house = House.found()
    return partial(VisitingStack, house.kafka.at("PLAINTEXT"), house.clickhouse) if house else None


@pytest.fixture(scope="session")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    """Somebody else's broker: Kafka's own defaults, a listener for every way to log in."""
    house = House.found()
    if house:
        yield house.kafka
        return
    with secure_kafka(tmp_path_factory.mktemp("secure")) as running:
        yield running


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`host:port` of somebody else's ClickHouse: of no stack, with no database `hybrid` in it."""
    house = House.found()
    if house:
        yield house.clickhouse
        return
    with clickhouse_engine(tmp_path_factory.mktemp("clickhouse")) as port:
        yield f"127.0.0.1:{port}"


@pytest.fixture(scope="session")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of simulated providers that belong to no stack."""
    folder = tmp_path_factory.mktemp("simulator")
    with served("simulator", path="/_sim/calls", folder=folder) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in ("schemas", "agents", "streams", "hybrid"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q"]
    subprocess.run([*command, "-w", str(folder), str(source)], check=True, timeout=120)
    return next(folder.glob("*.whl"))

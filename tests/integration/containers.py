"""Kafka and ClickHouse in containers, and a stack at them: HYBRID_TEST_BACKEND=containers.

The containers are testcontainers' (its general one: its Kafka is another vendor's image, its
ClickHouse has one database for all). Its helper container, ryuk, is not used, as its image may not
be there; `tests/deploy/janitor.py` does what that would. The images are those of
docker-compose.yml, or their stand-ins (`tests/deploy/standins`).
"""

import asyncio
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import yaml
from aiokafka.errors import KafkaError
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer

from hybrid.config import load_settings
from hybrid.stack.environment import StackOptions
from hybrid.stack.ground import answers
from hybrid.stack.kafka import PROPERTIES
from hybrid.stack.parts import Report
from hybrid.stack.process import free_port, wait_until
from streams.kafka.clients import BrokerUnavailableError, admin_client
from tests.chaos.running import ServedStack
from tests.deploy.engine import ROOT, Engine, EngineMissingError, running_engine
from tests.deploy.standins import need_image

__all__ = ["ContainedStack", "Servers", "running_servers", "started"]

testcontainers_config.ryuk_disabled = True
LOOPBACK = "127.0.0.1"
CONTROLLER_PORT, CLICKHOUSE_PORT = 9093, 8123
KAFKA_DATA = "/var/lib/kafka/data"
DATABASE = USER = "hybrid"
READY_LIMIT_S = 180
#: What the embedded broker is told of ports and folders, which a container has of its own.
EMBEDDED = (
    "controller.quorum.bootstrap.servers", "listeners", "advertised.listeners", "log.dirs",
)  # fmt: skip


@dataclass(frozen=True)
class Servers:
    """A broker and a ClickHouse, each in a container whose port is published on 127.0.0.1."""

    engine: Engine
    kafka: DockerContainer
    clickhouse: DockerContainer
    kafka_port: int
    clickhouse_port: int
    password: str

    @property
    def bootstrap_servers(self) -> str:
        return f"{LOOPBACK}:{self.kafka_port}"

    @property
    def clickhouse_url(self) -> str:
        return f"http://{USER}:{self.password}@{LOOPBACK}:{self.clickhouse_port}/{DATABASE}"

    def __str__(self) -> str:
        """Say what runs where."""
        both = (
            (self.kafka, self.bootstrap_servers),
            (self.clickhouse, f"{LOOPBACK}:{self.clickhouse_port}"),
        )
        return "; ".join(
            f"{one.image} in container {one.get_container_id()[:12]} at {at}" for one, at in both
        )

    def inside(self, container: DockerContainer, *command: str) -> str:
        """Run a command in one of them; gives what it printed."""
        done = self.engine.docker("exec", container.get_container_id(), *command, limit_s=60)
        return done.stdout

    def published(self, container: DockerContainer) -> str:
        """Say what the engine publishes of one of them, a line a port."""
        return self.engine.docker("port", container.get_container_id()).stdout


class ContainedStack(ServedStack):
    """A stack whose broker and ClickHouse are containers."""

    def __init__(self, options: StackOptions, *, report: Report, servers: Servers) -> None:
        self._servers = servers
        super().__init__(options, report=report)
        self.ports |= {"kafka": servers.kafka_port, "clickhouse": servers.clickhouse_port}

    @property
    def kafka(self) -> str:
        return self._servers.bootstrap_servers

    @property
    def clickhouse(self) -> str:
        return self._servers.clickhouse_url


@contextmanager
def running_servers() -> Iterator[Servers]:
    """Run both until the block ends; raises EngineMissingError."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    images = {name: services[name]["image"] for name in ("kafka", "clickhouse")}
    with running_engine() as engine:
        for image in images.values():
            need_image(engine, image)
        kafka_port, clickhouse_port = free_port(), free_port()
        password = secrets.token_hex(8)
        with (
            started(
                engine, images["kafka"],
                ports={kafka_port: kafka_port}, environment=kafka_environment(kafka_port),
            ) as kafka,
            started(
                engine, images["clickhouse"],
                ports={CLICKHOUSE_PORT: clickhouse_port},
                environment={
                    "CLICKHOUSE_DB": DATABASE, "CLICKHOUSE_USER": USER,
                    "CLICKHOUSE_PASSWORD": password,
                },
            ) as clickhouse,
        ):  # fmt: skip
            servers = Servers(engine, kafka, clickhouse, kafka_port, clickhouse_port, password)
            _wait(kafka, lambda: _broker_answers(servers.bootstrap_servers))
            _wait(clickhouse, lambda: answers(clickhouse_port, "/ping"))
            yield servers


@contextmanager
def started(
    engine: Engine, image: str, *, ports: dict[int, int], environment: dict[str, str], **more: Any
) -> Iterator[DockerContainer]:
    """Run a container until the block ends; then it is removed by its id, with its data."""
    container = DockerContainer(
        image, docker_client_kw={"environment": {"DOCKER_HOST": engine.host}} if engine.host else {},
        env=environment, **more,
    )  # fmt: skip
    # `with_bind_ports` takes no address, and would publish on all of the machine's.
    container.ports.update({f"{inner}/tcp": (LOOPBACK, outer) for inner, outer in ports.items()})  # type: ignore[misc]
    try:
        container.start()
        yield container
    finally:
        container.stop()


def kafka_environment(port: int) -> dict[str, str]:
    """Give what makes the image's broker one like the embedded, reached at a port of this machine.

    The port is the same inside, so that one address of it is right on both sides.
    """
    lines = (line.partition("=") for line in PROPERTIES.splitlines())
    properties = {name: value for name, _, value in lines if name not in EMBEDDED}
    properties |= {
        "controller.quorum.voters": f"1@{LOOPBACK}:{CONTROLLER_PORT}",
        "listeners": f"PLAINTEXT://:{port},CONTROLLER://{LOOPBACK}:{CONTROLLER_PORT}",
        "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{port}",
        "log.dirs": KAFKA_DATA,
    }
    return {f"KAFKA_{name.replace('.', '_').upper()}": value for name, value in properties.items()}


def _wait(container: DockerContainer, ready: Any) -> None:
    """Wait until a server answers; raises EngineMissingError with its last lines."""

    def ended() -> bool:
        container.reload()
        return container.status == "exited"

    if not wait_until(lambda: ready() or ended(), within_s=READY_LIMIT_S, every_s=0.2) or ended():
        said = b"".join(container.get_logs()).decode(errors="replace").strip().splitlines()
        message = f"{container.image} did not start; the last that it said: {' '.join(said[-3:])}"
        raise EngineMissingError(message)


def _broker_answers(servers: str) -> bool:
    """Whether a client can talk to it."""
    if not _keeps_connection(servers):
        return False  # which the client would make lines of

    async def ask() -> bool:
        try:
            settings = load_settings(environment={"KAFKA_BOOTSTRAP_SERVERS": servers})
            async with asyncio.timeout(5), admin_client(settings) as admin:
                return len((await admin.describe_cluster())["brokers"]) == 1
        except (BrokerUnavailableError, KafkaError, TimeoutError, OSError):
            return False

    return asyncio.run(ask())


def _keeps_connection(address: str) -> bool:
    """Whether somebody is behind a port: the engine takes a connection, and closes it if not."""
    host, _, port = address.partition(":")
    try:
        with socket.create_connection((host, int(port)), 1) as connection:
            connection.settimeout(0.5)
            return connection.recv(1) != b""
    except TimeoutError:
        return True
    except OSError:
        return False

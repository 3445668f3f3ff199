"""The brokers of the local stack: one node, or three that vote and keep each record three times."""

import asyncio
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from aiokafka.errors import KafkaError

from hybrid.errors import HybridError, UsageError
from hybrid.stack.ground import usable_port
from hybrid.stack.kafka import EmbeddedKafka, new_cluster_id
from hybrid.stack.parts import Part
from hybrid.stack.process import free_port
from schemas.settings import Settings
from streams.kafka.clients import BrokerUnavailableError, admin_client

__all__ = ["Brokers", "broker_names"]

#: Two are worse than one: each of them must be up for anything to be written.
COUNTS = (1, 3)
CLUSTER_FILE = "brokers.json"
QUORUM_LIMIT_S = 60
#: Of each broker, in MB: three fit where one did.
MOST_MEMORY_MB = {1: 768, 3: 384}
#: What makes a node one of three; wins over the properties of a single one.
PROPERTIES = """\
node.id={number}
controller.quorum.bootstrap.servers=
controller.quorum.voters={voters}
offsets.topic.replication.factor=3
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
share.coordinator.state.topic.replication.factor=3
share.coordinator.state.topic.min.isr=2
default.replication.factor=3
min.insync.replicas=2
replica.lag.time.max.ms=10000
log.cleaner.dedupe.buffer.size=33554432
"""


def broker_names(count: int) -> list[str]:
    """Name the brokers: `kafka`, `kafka-2`, `kafka-3`; raises UsageError for another number."""
    if count not in COUNTS:
        message = f"--brokers {count}: a local stack has one broker or three"
        raise UsageError(message)
    return ["kafka", *(f"kafka-{number}" for number in range(2, count + 1))]


class Brokers:
    """All brokers of one stack, each with data, ports and a process of its own."""

    def __init__(self, folder: Path, ports: dict[str, int]) -> None:
        """Take as many brokers as there are ports, by their names; raises UsageError.

        A folder keeps its number: what one broker wrote, two others do not have.
        """
        count = len(ports)
        before = _cluster_of(folder)
        if before is not None and before[0] != count:
            message = (
                f"--data-dir {folder} holds the data of --brokers {before[0]}, not {count}: "
                "say the same number as before, or choose another folder"
            )
            raise UsageError(message)
        self._folder = folder
        self._cluster_id = before[1] if before else new_cluster_id()
        self.ports = ports
        self.nodes: dict[str, EmbeddedKafka] = {}

    @property
    def servers(self) -> str:
        """The bootstrap servers: all of them."""
        return ",".join(f"127.0.0.1:{port}" for port in self.ports.values())

    def launch(
        self,
        on_progress: Callable[[int, int], None],
        supervise: Callable[[str, Part], None],
    ) -> None:
        """Start every broker and hand it over; raises UsageError, HybridError."""
        cluster = {"count": len(self.ports), "cluster_id": self._cluster_id}
        (self._folder / CLUSTER_FILE).write_text(json.dumps(cluster), encoding="utf-8")
        self.nodes = self._nodes()
        first, *others = self.nodes.values()
        first.prepare(on_progress)
        with ThreadPoolExecutor() as pool:  # a JVM each, which takes seconds
            list(pool.map(EmbeddedKafka.prepare, others))
        for name, node in self.nodes.items():
            supervise(name, Part(node.launch(), node.launch, time.monotonic()))

    def wait_ready(self, settings: Settings) -> None:
        """Wait until all of them listen and know of each other; raises HybridError."""
        for node in self.nodes.values():
            node.wait_ready()
        if len(self.nodes) > 1:
            asyncio.run(_all_known(settings, len(self.nodes)))

    def _nodes(self) -> dict[str, EmbeddedKafka]:
        controllers = {name: self._controller_port(name) for name in self.ports}
        voters = ",".join(
            f"{number}@127.0.0.1:{port}" for number, port in enumerate(controllers.values(), 1)
        )
        count = len(self.ports)
        return {
            name: EmbeddedKafka(
                self._folder / name,
                port=port,
                controller_port=controllers[name],
                properties=PROPERTIES.format(number=number, voters=voters) if count > 1 else "",
                format_arguments=() if count > 1 else ("--standalone",),
                name=name,
                cluster_id=self._cluster_id,
                most_memory_mb=MOST_MEMORY_MB[count],
            )
            for number, (name, port) in enumerate(self.ports.items(), 1)
        }

    def _controller_port(self, name: str) -> int:
        file = self._folder / f"{name}-controller-port"
        before = int(file.read_text()) if file.exists() else None
        # A single node has its port in its data; three are told each other's at every start.
        port = usable_port(None, "", before) if len(self.ports) > 1 else before or free_port()
        file.write_text(str(port))
        return port


def _cluster_of(folder: Path) -> tuple[int, str] | None:
    """Give the number of brokers and the cluster's id; None for a folder without data.

    Data without the file is from a time when there was one broker only; its id is in its data.
    """
    try:
        found = json.loads((folder / CLUSTER_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return (1, "") if (folder / "kafka" / "data" / "meta.properties").exists() else None
    return int(found["count"]), str(found["cluster_id"])


async def _all_known(settings: Settings, count: int) -> None:
    deadline = time.monotonic() + QUORUM_LIMIT_S
    known = 0
    while time.monotonic() < deadline:
        try:
            async with admin_client(settings) as admin:
                known = len((await admin.describe_cluster())["brokers"])
        except (BrokerUnavailableError, KafkaError):
            known = 0
        if known == count:
            return
        await asyncio.sleep(0.1)
    message = f"only {known} of {count} brokers came up within {QUORUM_LIMIT_S} s"
    raise HybridError(message)

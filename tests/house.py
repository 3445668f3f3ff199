"""The broker and the ClickHouse that the jobs of `make test` share: `python -m tests.house`.

Its first line says where they are, in JSON; it ends when its input does. A broker that is young is
slow, for most of what it runs is not compiled yet: one for all costs a fraction of one for each.
"""

import json
import os
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.chaos.running import YOUNG_JVM
from tests.integration.secure_kafka import SecureKafka, secure_kafka
from tests.integration.servers import clickhouse_engine

__all__ = ["VARIABLE", "House"]

#: What the jobs read its line from.
VARIABLE = "TESTS_HOUSE"


@dataclass(frozen=True)
class House:
    """Where the shared servers are: the broker's files and ports, and ClickHouse's port."""

    folder: str
    kafka_ports: dict[str, int]
    clickhouse_port: int

    @classmethod
    def found(cls) -> "House | None":
        """Give the one that was started for this run, if one was."""
        line = os.environ.get(VARIABLE)
        return cls(**json.loads(line)) if line else None

    @property
    def kafka(self) -> SecureKafka:
        return SecureKafka(Path(self.folder), self.kafka_ports)

    @property
    def clickhouse(self) -> str:
        return f"127.0.0.1:{self.clickhouse_port}"


def main() -> None:
    os.environ.setdefault("JDK_JAVA_OPTIONS", YOUNG_JVM)
    with tempfile.TemporaryDirectory(prefix="hybrid-house-") as folder:
        engine = Path(folder) / "clickhouse"
        engine.mkdir()
        with (
            clickhouse_engine(engine, forked=False) as port,
            secure_kafka(Path(folder)) as kafka,
        ):
            house = House(folder, kafka.ports, port)
            sys.stdout.write(json.dumps(asdict(house)) + "\n")
            sys.stdout.flush()
            sys.stdin.read()


if __name__ == "__main__":
    main()

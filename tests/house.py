"""The broker that the jobs of `make test` share: `python -m tests.house`.

Its first line says where it is, in JSON; it ends when its input does. A broker that is young is
slow, for most of what it runs is not compiled yet: one for all costs a fraction of one for each.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

from tests.integration.secure_kafka import SecureKafka, secure_kafka

__all__ = ["VARIABLE", "shared"]

#: What the jobs read its line from.
VARIABLE = "TESTS_HOUSE"


def shared() -> SecureKafka | None:
    """Give the broker that others started for this run, if they did."""
    line = os.environ.get(VARIABLE)
    if not line:
        return None
    found = json.loads(line)
    return SecureKafka(Path(found["folder"]), found["ports"])


def main() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="hybrid-house-") as folder,
        secure_kafka(Path(folder)) as broker,
    ):
        sys.stdout.write(json.dumps({"folder": folder, "ports": broker.ports}) + "\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()

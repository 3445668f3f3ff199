"""Shared parts: one stack for the whole session, started on first use."""

import os
from collections.abc import Iterator

import pytest

from tests.chaos.running import RunningStack, running_stack

for _name in list(os.environ):
    # A developer's own configuration has no say in the tests.
    if _name.startswith(("KAFKA_", "CLICKHOUSE_", "OPENAI_", "AZURE_", "HYBRID_")):
        del os.environ[_name]


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A running local stack with two workers, short waits and the simulated providers."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))
    with running_stack(workers=2, environment={"HYBRID_LOG_LEVEL": "debug"}) as running:
        yield running

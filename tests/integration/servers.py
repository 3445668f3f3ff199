"""Servers of `hybrid` that belong to no stack: a ClickHouse engine, simulated providers."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from hybrid.stack.ground import answers
from hybrid.stack.process import Child, free_port, hybrid_command, wait_until
from tests.chaos.forking import ForkedChild

__all__ = ["clickhouse_engine", "served"]


@contextmanager
def served(
    *command: str,
    path: str,
    folder: Path,
    environment: Mapping[str, str] | None = None,
    forked: bool = True,
) -> Iterator[int]:
    """Run a command that serves until the block ends; gives its port once `path` answers."""
    port = free_port()
    arguments, log_file = (*command, "--port", str(port)), folder / "log"
    child = (
        ForkedChild(command[0], *arguments, log_file=log_file, environment=environment or {})
        if forked
        else Child(
            command[0],
            hybrid_command(*arguments),
            log_file=log_file,
            environment={**os.environ, **(environment or {})},
        )
    )
    try:
        assert wait_until(lambda: answers(port, path), within_s=60), child.tail()
        yield port
    finally:
        child.stop(within_s=20)


@contextmanager
def clickhouse_engine(
    folder: Path, *, environment: Mapping[str, str] | None = None, forked: bool = True
) -> Iterator[int]:
    """Run an engine with nothing in it until the block ends; gives its port."""
    command = ("clickhouse-engine", "--data-dir", str(folder))
    with served(
        *command, path="/ping", folder=folder, environment=environment, forked=forked
    ) as port:
        yield port

"""HYBRID_TEST_BACKEND: on which Kafka and ClickHouse the tests run, the embedded or containers.

On containers only FILES run, as nothing else needs just a broker and a ClickHouse; every other test
is skipped, and what would start an embedded server fails: nothing falls back to one unseen.
`python -m tests.backend` prints FILES.
"""

from typing import NoReturn

import pytest

from hybrid.stack.kafka import EmbeddedKafka
from hybrid.stack.local import LocalStack

__all__ = [
    "CONTAINERS",
    "EMBEDDED",
    "FILES",
    "VARIABLE",
    "choose",
    "forbid_embedded",
    "skip_others",
]

VARIABLE = "HYBRID_TEST_BACKEND"
EMBEDDED, CONTAINERS = "embedded", "containers"
#: What needs a broker and a ClickHouse, and does nothing to either that a container has not.
FILES = tuple(
    f"tests/integration/test_{name}.py"
    for name in (
        "containers", "main_job", "transactions", "lane_broker", "foreign_producers",
        "foreign_topics", "client", "clickhouse", "recorder", "reports", "questions", "trace"
    )
)  # fmt: skip


def choose(given: str | None) -> str:
    """Give the backend that the variable names; ends pytest with status 2 where there is none."""
    found = given or EMBEDDED
    if found not in {EMBEDDED, CONTAINERS}:
        message = f"{VARIABLE} = {found}: say {EMBEDDED}, which is what is used without it, or "
        pytest.exit(f"{message}{CONTAINERS}", returncode=2)
    return found


def skip_others(items: list[pytest.Item]) -> None:
    """Skip what cannot run on containers, each with the reason."""
    for item in items:
        file = item.path.relative_to(item.config.rootpath).as_posix()
        own = item.get_closest_marker("embedded")
        if file not in FILES:
            reason = f"{file} does not run on containers: it needs no servers, or its own"
            item.add_marker(pytest.mark.skip(reason=reason))
        elif own is not None:
            item.add_marker(pytest.mark.skip(reason=own.args[0]))
        elif item.get_closest_marker("timeout") is None:
            # The first test waits for images that may have to be made.
            item.add_marker(pytest.mark.timeout(func_only=True))


def forbid_embedded() -> None:
    """Have every embedded server fail where it would be started."""

    def refuse(*_: object, **__: object) -> NoReturn:
        message = f"{VARIABLE}={CONTAINERS}, and a test starts an embedded server"
        raise AssertionError(message)

    EmbeddedKafka.launch = refuse  # type: ignore[method-assign]
    LocalStack._start_clickhouse = refuse  # type: ignore[method-assign]


if __name__ == "__main__":
    print(*FILES)  # noqa: T201 - for the Makefile

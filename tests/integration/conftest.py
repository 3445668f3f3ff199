"""Parts that several files share."""

from collections.abc import Iterator

import pytest

from schemas.settings import Settings
from streams.store.clickhouse import ClickHouse
from tests.chaos.running import RunningStack
from tests.integration.databases import migrated, with_database


@pytest.fixture
def database(stack: RunningStack) -> Settings:
    """Settings with a database of the test's own, which nobody has made yet."""
    return with_database(stack.settings)


@pytest.fixture
def store(database: Settings) -> Iterator[ClickHouse]:
    """A connection to the test's own database, tables and views made."""
    found = migrated(database)
    yield found
    found.close()

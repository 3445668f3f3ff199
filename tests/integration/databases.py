"""A ClickHouse database of a test's own, in the engine that all share."""

import uuid

from pydantic import SecretStr

from schemas.settings import Settings
from streams.store.clickhouse import ClickHouse
from streams.store.migrations import migrate

__all__ = ["address_of", "migrated", "with_database"]


def with_database(settings: Settings) -> Settings:
    """Give the settings with a database that nobody has made yet."""
    url = address_of(settings).rpartition("/")[0] + f"/t{uuid.uuid4().hex[:8]}"
    return settings.model_copy(update={"clickhouse_url": SecretStr(url)})


def address_of(settings: Settings) -> str:
    """Give CLICKHOUSE_URL as it stands in an environment."""
    assert settings.clickhouse_url is not None
    return settings.clickhouse_url.get_secret_value()


def migrated(settings: Settings) -> ClickHouse:
    """Connect to a database that has its tables and views."""
    store = ClickHouse(settings)
    migrate(store)
    return store

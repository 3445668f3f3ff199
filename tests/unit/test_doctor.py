"""What the doctor makes of what it meets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import GroupCoordinatorNotAvailableError

from hybrid import doctor
from schemas.settings import Settings


def test_no_error_of_a_broker_ends_the_doctor() -> None:
    async def fails(_settings: Settings) -> doctor.Check:
        raise GroupCoordinatorNotAvailableError

    found = asyncio.run(doctor._guarded("recorder", fails, Settings()))
    assert (found.name, found.state) == ("recorder", "broken")
    assert "GroupCoordinatorNotAvailableError" in found.detail


@pytest.mark.parametrize(("count", "said"), [(1, "1 broker answers"), (3, "3 brokers answer")])
def test_brokers_are_counted_in_words(
    monkeypatch: pytest.MonkeyPatch, count: int, said: str
) -> None:
    @asynccontextmanager
    async def cluster(_settings: Settings) -> AsyncIterator[Any]:
        async def describe() -> dict[str, Any]:
            return {"brokers": [{}] * count}

        yield SimpleNamespace(describe_cluster=describe)

    monkeypatch.setattr(doctor, "admin_client", cluster)
    assert asyncio.run(doctor._kafka(Settings())).detail == said


def test_workers_of_the_local_stack_need_no_key_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """`hybrid up` runs in another terminal; it has given its workers simulated providers."""
    stack = {"kafka": "127.0.0.1:9", "clickhouse": "http://127.0.0.1:9/hybrid"}

    async def said(settings: Settings) -> tuple[str, str]:
        found = {one.name: one for one in await doctor.examine(settings)}
        return found["providers"].state, found["providers"].detail

    monkeypatch.setattr("hybrid.config.running_stack", lambda: stack)
    assert asyncio.run(said(Settings()))[0] == "ok"
    elsewhere = Settings(kafka_bootstrap_servers="127.0.0.1:9")
    refused = ("warning", "no key is set: workers will refuse to start")
    assert asyncio.run(said(elsewhere)) == refused
    monkeypatch.setattr("hybrid.config.running_stack", lambda: None)
    assert asyncio.run(said(Settings())) == refused

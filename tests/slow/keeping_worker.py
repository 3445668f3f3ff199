"""One lane in a process of its own, to be killed: real executor, adapter, lane; its broker is a file.

What a transaction or the journal writes is one write to that file, which a killed process has made
whole or not at all. `python -m tests.slow.keeping_worker ADDRESS FILE INTENTS [HEADER]`.
"""

import asyncio
import base64
import json
import os
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from agents.capacity.breaker import BreakerPolicy
from agents.capacity.limiter import ProviderLimits
from agents.capacity.turns import Capacity
from agents.clock import SystemClock, SystemDice
from agents.deciding.budgets import Spending
from agents.deciding.cache import AnswerCache
from agents.deciding.hedging import HedgePolicy
from agents.deciding.policy import RetryPolicy
from agents.deciding.routes import Router
from agents.executing.executor import Executor, Rules
from agents.executing.ground import Ground
from agents.executing.prompts import load_prompts
from agents.log import silent
from agents.pricing.prices import PriceBook
from agents.providers.building import openai_provider
from schemas.attempt import ProviderAttempt
from streams.failpoints import FailPoints
from streams.lanes.job import Delivery, LaneParts
from streams.lanes.lane import Lane
from streams.messages.offset_tracker import OffsetTracker
from streams.messages.records import OutRecord
from tests.builders import an_incoming
from tests.model.test_lane_model import SETTINGS, TOPICS, ModelBroker

__all__ = ["records"]


class FileRecords(list[OutRecord]):
    """Records that are in a file too."""

    def __init__(self, file: Path) -> None:
        super().__init__(records(file))
        self._file = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def append(self, record: OutRecord) -> None:
        self += [record]

    def __iadd__(self, more: Iterable[OutRecord]) -> Self:  # type: ignore[misc,override]
        lines = [json.dumps(_document(one)) + "\n" for one in more]
        os.write(self._file, "".join(lines).encode())
        self.extend(more)
        return self


def _document(record: OutRecord) -> dict[str, Any]:
    key, value = (None if raw is None else base64.b64encode(raw).decode()
                  for raw in (record.key, record.value))  # fmt: skip
    return {"topic": record.topic, "key": key, "value": value}


def records(file: Path) -> list[OutRecord]:
    """Read what has been written."""
    if not file.exists():
        return []
    found = []
    for line in file.read_text().splitlines():
        one = json.loads(line)
        key, value = (
            None if one[name] is None else base64.b64decode(one[name]) for name in ("key", "value")
        )
        found.append(OutRecord(one["topic"], key, value))
    return found


class FileJournal:
    """Attempts and starts, outside of transactions."""

    def __init__(self, committed: list[OutRecord]) -> None:
        self._committed = committed

    async def write(self, attempt: ProviderAttempt, traceparent: str | None) -> None:
        await asyncio.sleep(0)
        self.post(attempt, traceparent)

    def post(self, attempt: ProviderAttempt, _traceparent: str | None) -> None:
        key = attempt.intent_id.encode()
        self._committed.append(OutRecord(TOPICS.attempts, key, attempt.to_json()))

    async def write_record(self, record: OutRecord) -> None:
        await asyncio.sleep(0)
        self.post_record(record)

    def post_record(self, record: OutRecord) -> None:
        self._committed.append(record)


async def work(address: str, file: Path, intents: int, header: str) -> None:
    """Run all intents to their outcomes, those that are decided already left alone."""
    broker, clock, dice = ModelBroker(), SystemClock(), SystemDice()
    broker.committed = FileRecords(file)
    journal, spending = FileJournal(broker.committed), Spending(())
    provider = openai_provider(
        "openai", api_key="k", base_url=f"{address}/v1", model="gpt-3.5-turbo", timeout_s=60,
        concurrency=64, clock=clock, api="responses", background=True, idempotency_header=header,
    )  # fmt: skip
    executor = Executor(
        providers={"openai": provider}, router=Router({"openai": "openai"}),
        capacity=Capacity({"openai": ProviderLimits()}, BreakerPolicy(calls=10_000), clock=clock),
        rules=Rules(
            RetryPolicy(retry_delays=(0.05, 0.1, 0.2)), HedgePolicy(), PriceBook(), load_prompts(),
            3600,
        ),
        spending=spending, cache=AnswerCache(1_000_000), journal=journal,
        ground=Ground(clock, dice, "w", silent),
    )  # fmt: skip
    parts = LaneParts(
        settings=SETTINGS, executor=executor, journal=journal,  # type: ignore[arg-type]
        clock=clock, dice=dice, worker="w", log=silent, fail_points=FailPoints(None),
        lease_holds=lambda: True, broker=broker, spending=spending,
    )  # fmt: skip
    lane, position = Lane(3, parts), OffsetTracker()
    await lane.open()
    for number in range(intents):
        value = {
            "type": "message_generation", "user_id": "u", "intent_id": f"i-{number}",
            "data": {"marker": f"i-{number}"},
        }  # fmt: skip
        incoming = replace(
            an_incoming(json.dumps(value).encode()), offset=number, topic=TOPICS.intents,
            timestamp_ms=clock.now_ms(),
        )  # fmt: skip
        position.deliver(number)
        lane.offer(Delivery(incoming, position), lambda: None)
    await lane.drained()
    await provider.close()


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), "".join(sys.argv[4:])))

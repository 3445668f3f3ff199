"""What a ledger from before tenants were told apart still decides."""

import asyncio
from typing import Any

import pytest

from agents.clock import ManualClock, SystemDice
from schemas.events import LedgerRecord
from schemas.vocabulary import WorkflowStatus
from streams.lanes.job import Delivery
from streams.messages.identity import NO_OUTLINE
from streams.messages.offset_tracker import OffsetTracker
from tests.builders import NOW, NOW_MS, an_incoming, an_intent
from tests.model.test_lane_model import ModelBroker, ModelWorker

INTENTS = "workflow.intents"


@pytest.mark.parametrize(
    ("tenant", "offset", "runs"),
    [("acme", 7, False), ("acme", 8, True), ("default", 7, False), ("default", 8, False)],
)
def test_an_entry_under_the_plain_id_counts_for_its_own_record(
    tenant: str, offset: int, runs: bool
) -> None:
    value = an_intent(intent_id="i", deduplication_id="order-1", tenant=tenant).to_json()
    assert asyncio.run(_calls_for(an_incoming(value, offset=offset))) == runs


async def _calls_for(incoming: Any) -> bool:
    worker = ModelWorker(ModelBroker(), ManualClock(NOW), SystemDice(1), 0)
    await worker.opening
    entry = LedgerRecord(
        outcome_id="o",
        status=WorkflowStatus.COMPLETED,
        topic=INTENTS,
        offset=7,
        decided_at_ms=NOW_MS,
    )
    worker.lane.ledger.put("order-1", entry)
    position = OffsetTracker()
    position.deliver(incoming.offset)
    finished = asyncio.Event()
    worker.lane.offer(Delivery(incoming, position, NO_OUTLINE, None), finished.set)
    async with asyncio.timeout(10):
        while not worker.executor.calls and not finished.is_set():
            await asyncio.sleep(0)
    called = bool(worker.executor.calls)
    await worker.lane.close()
    return called

"""Calls of the client while workers and the broker die: each ends with a result or its own error."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from hybrid.client import ExecutionError, HybridClient, OutcomeRecord, WorkflowResult
from tests.chaos.oracle import read_outcomes
from tests.chaos.running import RunningStack
from tests.integration.driving import Case, soon

pytestmark = pytest.mark.integration

CALLS = 1_000


def client_of(running: RunningStack) -> HybridClient:
    return HybridClient(kafka_bootstrap_servers=running.settings.kafka_bootstrap_servers)


@pytest.mark.timeout(240)
def test_a_broker_that_is_killed_while_calls_wait_delays_them_only(stack: RunningStack) -> None:
    quick = {"latency_ms": 1_000}
    stack.set_faults({"openai": quick, "azure": quick})
    case, followed = Case(stack), set[str]()

    async def follow(stream: AsyncGenerator[OutcomeRecord, None]) -> None:
        async with aclosing(stream) as outcomes:
            async for one in outcomes:
                followed.add(one.intent_id)

    async def run() -> None:
        async with client_of(stack) as client:
            stream = client.outcomes(group=f"{case.name}.followers")
            following = asyncio.create_task(follow(stream))
            before = [
                asyncio.create_task(client.execute(case.intent(), timeout=90)) for _ in range(20)
            ]

            async def called() -> int:
                return len(case.calls())

            await soon(called, lambda count: count >= 5)
            kafka = stack.stack.addresses()["pids"]["kafka"]
            os.kill(kafka, signal.SIGKILL)
            # Published while there is no broker.
            during = [
                asyncio.create_task(client.execute(case.intent(), timeout=90)) for _ in range(5)
            ]
            results = await asyncio.gather(*before, *during)
            wanted = {one.intent_id for one in results}
            assert len(wanted) == 25

            async def missing() -> int:
                return len(wanted - followed)

            await soon(missing, lambda count: count == 0)
            following.cancel()
            await asyncio.wait([following])

    asyncio.run(run())


@pytest.mark.timeout(240)
def test_a_thousand_calls_at_once_over_a_kill_all_end_with_a_result_or_their_error(
    stack: RunningStack,
) -> None:
    """40 are refused by their provider, 20 have no time left."""
    provider = {"latency_ms": 100, "rate_429": 0.02, "retry_after": "0.1"}
    stack.set_faults({"openai": {**provider, "plan": ["400"] * 40}, "azure": provider})
    case = Case(stack)
    intents = [
        case.intent(
            type=("content_planning", "message_generation")[n % 2],
            **({"deadline_ms": 1} if n % 50 == 0 else {}),
        )
        for n in range(CALLS)
    ]

    async def run() -> list[WorkflowResult | BaseException]:
        async with client_of(stack) as client:
            calls = [asyncio.create_task(client.execute(one, timeout=150)) for one in intents]

            async def done() -> int:
                return sum(call.done() for call in calls)

            await soon(done, lambda count: count >= CALLS // 5)
            os.kill(stack.pids()[0], signal.SIGKILL)
            assert await done() < CALLS
            return await asyncio.gather(*calls, return_exceptions=True)

    ends = asyncio.run(run())
    kinds = Counter(type(one).__name__ for one in ends)
    for intent, end in zip(intents, ends, strict=True):
        assert isinstance(end, WorkflowResult | ExecutionError), end
        assert end.intent_id == intent["intent_id"]
    assert "ExecutionTimeoutError" not in kinds
    assert min(kinds["OpenAIExecutionError"], kinds["DeadLetterError"]) >= 15, kinds
    assert sum(n for name, n in kinds.items() if name.endswith("Result")) > CALLS * 0.8
    outcomes = asyncio.run(read_outcomes(stack.settings))
    assert not outcomes.lost({one["intent_id"] for one in intents})
    assert not outcomes.doubled()

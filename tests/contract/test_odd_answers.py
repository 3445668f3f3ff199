"""Whatever is answered, each intent ends well and each call's cost is on record.

ODD_ANSWERS and ODD_SEED in the environment make it longer and another one (`make answers`).
"""

import asyncio
import json
import os
import random
from decimal import Decimal
from typing import Any

import pytest

from agents.capacity.breaker import BreakerPolicy
from agents.capacity.limiter import ProviderLimits
from agents.capacity.turns import Capacity
from agents.clock import ManualClock, SystemDice
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
from agents.providers.adapters import SdkProvider, Transport
from agents.providers.apis import APIS
from agents.providers.building import openai_provider
from agents.task import Completed, Deferred, Failed
from schemas.attempt import ProviderAttempt
from schemas.rows import attempt_row
from schemas.vocabulary import AttemptStatus, DeadLetterReason, UsageSource
from tests.builders import NOW, a_task, an_intent
from tests.contract.odd_answers import Odd, odd_answer
from tests.contract.test_policy_lines import Free, Record

ANSWERS = int(os.environ.get("ODD_ANSWERS", "1000"))
SEED = int(os.environ.get("ODD_SEED", "1"))
#: Executors side by side: a quarter for each API, whole and streamed.
WORLDS = 16
#: Dollars of a token, in and out, of the contract's flat price.
EACH = Decimal("0.000002")


class Vendor:
    """Answers oddly, and remembers what it billed for which call."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.answers: dict[str, Odd] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.split("content-length: ")[1].split("\r\n")[0])
        stream = b'"stream":true' in await reader.readexactly(length)
        answer = odd_answer(self.dice, stream=stream, responses="/responses " in head)
        self.answers[head.split("x-client-request-id: ")[1].split("\r\n")[0]] = answer
        writer.write(answer.wire)
        await writer.drain()
        writer.close()


class World:
    """One executor whose time passes between intents; its provider is shared."""

    def __init__(self, number: int, provider: SdkProvider) -> None:
        self.clock, self.record = ManualClock(NOW), Record()
        self.dice = random.Random(f"{SEED}/{number}")
        self.attempts: dict[str, ProviderAttempt] = {}
        self.executor = Executor(
            providers={"openai": provider}, router=Router({"openai": "openai"}),
            capacity=Capacity({"openai": ProviderLimits()}, BreakerPolicy(), clock=self.clock),
            rules=Rules(RetryPolicy(), HedgePolicy(), PriceBook(), load_prompts(), 3600),
            spending=Spending(()), cache=AnswerCache(10_000), journal=self.record,
            ground=Ground(self.clock, SystemDice(number), f"w{number}", silent),
        )  # fmt: skip

    async def one(self) -> None:
        """Pursue one intent, and look at its end and at the record of its calls."""
        wishes: dict[str, Any] = {
            "temperature": 0.5, "max_output_tokens": 50, "cache": True, "max_cost_usd": "1",
            "response_schema": {"type": "object"}, "model": "gpt-3.5-turbo",
        }  # fmt: skip
        chosen = {name: value for name, value in wishes.items() if self.dice.random() < 0.3}
        outcome = await self.executor.execute(a_task(intent=an_intent(**chosen)), Free())
        assert isinstance(outcome, Completed | Failed | Deferred)
        if isinstance(outcome, Completed):
            assert outcome.result.to_json()
        if isinstance(outcome, Failed):
            assert outcome.reason is not DeadLetterReason.INTERNAL
            assert outcome.message.isprintable()
        for one in (*self.record.written, outcome.last_attempt):
            if one is not None:
                self.attempts[one.attempt_id] = one
        self.record.written.clear()
        self.clock.slept.clear()
        self.clock.advance(3_600)  # whoever asked for a rest has had it


async def _storm(vendor: Vendor) -> dict[str, ProviderAttempt]:
    server = await asyncio.start_server(vendor.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    providers = [
        openai_provider(
            "openai", api_key="k", base_url=url, model="gpt-3.5-turbo", timeout_s=600,
            concurrency=WORLDS, clock=ManualClock(NOW),
            transport=Transport(stream=stream, first_token_s=300, idle_s=300), api=api,
        )
        for stream in (False, True)
        for api in APIS
    ]  # fmt: skip
    worlds = [World(number, providers[number % len(providers)]) for number in range(WORLDS)]

    async def live(world: World) -> None:
        while len(vendor.answers) < ANSWERS:
            await world.one()

    try:
        async with asyncio.TaskGroup() as group:
            for world in worlds:
                group.create_task(live(world))
    finally:
        for provider in providers:
            await provider.close()
        server.close()
    return {name: one for world in worlds for name, one in world.attempts.items()}


@pytest.mark.timeout(120 + ANSWERS / 10)
def test_whatever_is_answered_each_call_is_on_record_at_what_was_billed() -> None:
    vendor = Vendor(SEED)
    attempts = asyncio.run(_storm(vendor))
    assert attempts.keys() == vendor.answers.keys()
    billed = spent = Decimal(0)
    known = 0
    for name, attempt in attempts.items():
        assert attempt.status is AttemptStatus.FINISHED
        row = attempt_row(attempt)[1]
        assert json.dumps(row, ensure_ascii=False).encode()
        cost, upper = attempt.cost_usd, attempt.cost_upper_usd
        assert cost is not None
        assert upper is not None
        assert 0 <= cost <= upper
        tokens = sum(row[f"{one}_tokens"] for one in ("uncached_input", "cached_input", "visible_output", "reasoning"))  # fmt: skip
        if attempt.served_model in {"", "gpt-3.5-turbo"}:  # another name has another price
            assert tokens * EACH == cost, "what the record counts is what it says it cost"
        answer = vendor.answers[name]
        if answer.billed is not None:
            known += 1
            billed += sum(answer.billed) * EACH
            spent += cost
            assert attempt.usage_source is UsageSource.PROVIDER, answer.wire
            assert cost == sum(answer.billed) * EACH, answer.wire
    assert spent == billed
    assert known > len(attempts) / 5

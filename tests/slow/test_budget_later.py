"""What is spent while nobody watches is found by a budget that is configured later."""

import asyncio
from datetime import timedelta
from decimal import Decimal

import pytest
from aiokafka import TopicPartition

from agents.clock import SystemClock
from agents.deciding.budgets import Spending
from agents.deciding.cache import AnswerCache
from agents.log import silent
from schemas.budgets import BudgetSpec
from streams.bill.budgets import budget_levels
from streams.kafka.clients import consumer, started
from streams.kafka.content_keys import empty_vault
from streams.lanes.broker import KafkaLaneBroker
from streams.lanes.ledger import Ledger
from streams.worker.followers import Followers
from streams.worker.supervisor import Supervisor
from tests.chaos.running import RunningStack
from tests.integration.driving import Case

pytestmark = pytest.mark.integration


def test_a_budget_starts_from_what_its_period_has_cost(stack: RunningStack) -> None:
    case = Case(stack)
    tenant = f"later-{case.name}"
    notes = [{"note": f"[[sim:tokens={tokens}]]"} for tokens in (4_000, 5_000, 3_000)]
    model = "gpt-3.5-turbo"  # 0.002 USD for 1,000 tokens
    case.publish(*(case.intent(note, tenant=tenant, model=model) for note in notes))
    case.wait(3)
    budget = BudgetSpec(tenant=tenant, per="month", usd=Decimal("0.025"))
    settings = stack.settings.model_copy(update={"budgets": (budget,)})
    clock = SystemClock()

    async def by_lanes() -> Spending:
        """As a worker that is given all lanes; their producers are left alone."""
        spending = Spending(settings.budgets)
        broker = KafkaLaneBroker(settings, spending=spending)
        for lane in range(settings.hybrid_partitions):
            known = (settings.topics.ledger, settings.topics.spend, settings.topics.replays)
            async with started(consumer(settings)) as reader:
                ends = await reader.end_offsets([TopicPartition(topic, lane) for topic in known])
            ledger = Ledger(sources=settings.topics.sources, window_ms=10**9)
            await broker.read_ledger(lane, ledger, ends)
        return spending

    async def by_following() -> Spending:
        """As a worker that has no lane yet: when it has started, it knows."""
        spending, supervisor = Spending(settings.budgets), Supervisor(log=silent)
        cache = AnswerCache(0)
        followers = Followers(
            settings,
            cache=cache,
            spending=spending,
            ordered=lambda _record: None,
            vault=empty_vault(settings),
            clock=clock,
            log=silent,
        )
        await followers.start(supervisor)
        supervisor.cancel()
        return spending

    for learn in (by_lanes, by_following):
        room = asyncio.run(learn()).room(tenant, clock.now(), execution="e")
        assert room is not None
        assert room.usd == Decimal("0.001"), learn.__name__
    asyncio.run(_levels_are_seen(stack, tenant))


async def _levels_are_seen(stack: RunningStack, tenant: str) -> None:
    """`hybrid costs budgets`: what was spent, whether that is too much, when it opens again."""
    now = SystemClock().now()
    budgets = (
        BudgetSpec(tenant=tenant, per="month", usd=Decimal("0.025")),
        BudgetSpec(tenant="*", per="day", usd=Decimal("0.024")),
    )
    settings = stack.settings.model_copy(update={"budgets": budgets})
    found = [one for one in await budget_levels(settings, now=now) if one.tenant == tenant]
    day, month = found  # nearest its limit first
    assert (day.per, day.state, day.spent_usd) == ("day", "spent", Decimal("0.024"))
    assert (month.per, month.state, month.limit_usd) == ("month", "alert", Decimal("0.025"))
    assert now < day.opens_at <= now + timedelta(days=1)
    assert (day.opens_at.hour, month.opens_at.day) == (0, 1)

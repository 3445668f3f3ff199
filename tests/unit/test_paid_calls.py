"""What was paid stays on record, wherever its intent is given up, refused or cancelled."""

import asyncio
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from aiokafka import errors

from agents.capacity.breaker import BreakerPolicy
from agents.capacity.limiter import ProviderLimits
from agents.capacity.turns import Capacity
from agents.clock import ManualClock, SystemDice
from agents.deciding.budgets import Spending
from agents.deciding.cache import AnswerCache
from agents.deciding.hedging import FEWEST, HedgePolicy, Hedger
from agents.deciding.policy import RetryPolicy
from agents.deciding.routes import Router
from agents.executing.account import Execution
from agents.executing.attempts import Attempts
from agents.executing.calls import Call, Caller
from agents.executing.executor import Executor, Rules
from agents.executing.ground import Ground
from agents.executing.prompts import load_prompts
from agents.log import silent
from agents.pricing.prices import PriceBook
from agents.providers.adapters import SdkProvider, Transport
from agents.task import Completed, Paid, Task
from schemas.attempt import ProviderAttempt
from schemas.budgets import BudgetSpec, SpendRecord
from schemas.vocabulary import AttemptOutcome, AttemptStatus
from streams.lanes.job import Delivery
from streams.lanes.lane import Lane
from streams.messages.offset_tracker import OffsetTracker
from streams.messages.records import OutRecord
from tests.builders import NOW, a_result, a_task, an_attempt, an_incoming, an_intent
from tests.contract.test_answers import Vendor, _provider, chat, said
from tests.contract.test_policy_lines import Free, Record
from tests.model.test_lane_model import TOPICS, ModelBroker, ModelJournal
from tests.unit.test_broker_faults import PickyBroker, Told, a_lane

PAID = Decimal("0.5")


class Paying:
    """Every call is answered and paid; the answer is as long as wanted."""

    def __init__(self, content: str = "c") -> None:
        self._content = content

    async def execute(self, task: Task, permit: Any) -> Completed:
        await permit.confirm()
        result = a_result(task)
        cost = result.cost_info.model_copy(update={"cost_usd": PAID})
        result = result.model_copy(
            update={"content": self._content, "cost_info": cost, "total_cost_usd": PAID}
        )
        attempt = an_attempt(task).model_copy(update={"cost_usd": PAID, "used_result": True})
        return Completed(result, attempt, paid=Paid(PAID))


class KeepingJournal(ModelJournal):
    def __init__(self) -> None:
        self.posted: list[ProviderAttempt] = []

    def post(self, attempt: ProviderAttempt, _traceparent: str | None) -> None:
        self.posted.append(attempt)


class Lane3:
    """One lane with a budget for everybody, and what is committed through it."""

    def __init__(self, broker: ModelBroker, content: str = "c") -> None:
        self.broker, self.told, self.journal = broker, Told(), KeepingJournal()
        lane = a_lane(broker, self.told, ManualClock(NOW))
        budget = BudgetSpec(tenant="*", per="day", usd=Decimal(100))
        self.lane = Lane(
            3,
            replace(
                lane._parts,
                executor=Paying(content),  # type: ignore[arg-type]
                journal=self.journal,  # type: ignore[arg-type]
                spending=Spending([budget]),
            ),
        )

    async def run(self, *intent_ids: str) -> None:
        await self.lane.open()
        tracker = OffsetTracker()
        for offset, name in enumerate(intent_ids):
            tracker.deliver(offset)
            value = json.dumps({**an_intent().to_dict(), "intent_id": name}).encode()
            self.lane.offer(Delivery(an_incoming(value, offset=offset), tracker), lambda: None)
        async with asyncio.timeout(5):
            await self.lane.drained()

    def written(self, topic: str) -> list[dict[str, Any]]:
        records = [one for one in self.broker.committed if one.topic == topic]
        return [json.loads(one.value or b"") for one in records]

    def costs(self) -> tuple[list[str], list[str], list[bool]]:
        """Dollars of dead letters, and of calls with whether their answers were used."""
        calls = [*self.written(TOPICS.attempts), *(one.to_dict() for one in self.journal.posted)]
        letters = [one["spent_usd"] for one in self.written(TOPICS.dead_letters)]
        return letters, [one["cost_usd"] for one in calls], [one["used_result"] for one in calls]

    def spent(self) -> list[str]:
        return [one["periods"]["day"][1] for one in self.written(TOPICS.spend)]


def refusing(topic: str) -> Callable[[OutRecord], Exception | None]:
    return lambda one: errors.MessageSizeTooLargeError() if one.topic == topic else None


def test_what_others_spent_in_a_lane_that_was_theirs_for_a_while_is_kept() -> None:
    """Its commit was in doubt when the lane went; what waits is added to the sum that it finds."""

    class Elsewhere(ModelBroker):
        world: Lane3

        async def read_ledger(self, lane: int, ledger: Any, ends: Any) -> int:
            if self.epochs[lane] > 1:  # opened anew
                theirs = {"day": (f"{NOW:%Y-%m-%d}", Decimal(10))}
                record = SpendRecord(tenant="default", lane=lane, periods=theirs)
                self.world.lane._parts.spending.learn(record)
            return await super().read_ledger(lane, ledger, ends)

    broker = Elsewhere()
    broker.world = Lane3(broker)
    broker.trouble.append("lost before")
    asyncio.run(broker.world.run("i-1", "i-2"))
    sums = [one["periods"]["day"][1] for one in broker.world.written(TOPICS.spend)]
    assert list(map(Decimal, sums)) == [Decimal("10.5"), Decimal(11)]


def test_an_answer_that_is_too_large_is_paid_for_and_unused() -> None:
    case = Lane3(ModelBroker(), content="x" * 10_000_000)
    asyncio.run(case.run("i-1"))
    assert case.costs() == (["0.5"], ["0.5"], [False])
    assert case.spent() == ["0.5"]


def test_an_answer_that_the_broker_refuses_is_paid_for_and_unused() -> None:
    case = Lane3(PickyBroker(refusing(TOPICS.results)))
    asyncio.run(case.run("i-1"))
    assert case.costs() == (["0.5"], ["0.5"], [False])
    assert case.spent() == ["0.5"]


@pytest.mark.parametrize("topic", [TOPICS.spend, TOPICS.attempts])
def test_where_not_even_the_cost_can_be_written_beside_it_the_journal_has_it(topic: str) -> None:
    case = Lane3(PickyBroker(refusing(topic)))
    asyncio.run(case.run("i-1"))
    assert case.costs() == (["0.5"], ["0.5"], [False])
    assert (case.spent(), case.told.broken) == ([], [])


def test_an_outcome_that_cannot_be_made_into_records_keeps_its_cost() -> None:
    case = Lane3(ModelBroker())
    decide, calls = case.lane._verdicts.decide, []

    def once(job: Any, outcome: Any) -> None:
        calls.append(outcome)
        if len(calls) == 1:
            raise ZeroDivisionError
        decide(job, outcome)

    case.lane._verdicts.decide = once  # type: ignore[method-assign]
    asyncio.run(case.run("i-1"))
    assert case.costs() == (["0.5"], ["0.5"], [False])
    assert case.spent() == ["0.5"]


def test_a_lane_that_is_closed_while_it_looks_for_a_refused_record_keeps_all_costs() -> None:
    """Half of the batch was put back after everything had been given up: it stayed `started`."""
    case = Lane3(PickyBroker(refusing(TOPICS.results)))

    async def run() -> None:
        clock: Any = case.lane._parts.clock
        committer = case.lane._committer

        async def sleep(_seconds: float) -> None:
            committer.abandon()  # the lane is given up while the committer waits

        clock.sleep = sleep
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await case.run("i-1", "i-2", "i-3", "i-4")

    asyncio.run(run())
    assert case.costs() == ([], ["0.5"] * 4, [False] * 4)


# ── in the middle of an execution ───────────────────────────────────────────────────────────────


class Stuck(Record):
    """A journal whose broker is away from the first record of one kind on."""

    def __init__(self, status: AttemptStatus) -> None:
        super().__init__()
        self._status = status
        self.stuck = asyncio.Event()

    async def write(self, attempt: ProviderAttempt, traceparent: str | None) -> None:
        if attempt.status is self._status:
            self.stuck.set()
            await asyncio.Event().wait()
        await super().write(attempt, traceparent)


async def given_up_while_it_writes(journal: Stuck, *answers: bytes) -> Vendor:
    vendor = Vendor(*answers)
    server = await asyncio.start_server(vendor.serve, "127.0.0.1", 0)
    provider, clock = _provider_of(server), ManualClock(NOW)
    executor = Executor(
        providers={"openai": provider}, router=Router({"openai": "openai"}),
        capacity=Capacity({"openai": ProviderLimits()}, BreakerPolicy(calls=1000), clock=clock),
        rules=Rules(RetryPolicy(), HedgePolicy(), PriceBook(), load_prompts(), 3600),
        spending=Spending(()), cache=AnswerCache(1_000_000), journal=journal,
        ground=Ground(clock, SystemDice(1), "w", silent),
    )  # fmt: skip
    running = asyncio.create_task(executor.execute(a_task(), Free()))
    await asyncio.wait_for(journal.stuck.wait(), 10)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await provider.close()
    server.close()
    return vendor


def _provider_of(server: asyncio.Server) -> SdkProvider:
    return _provider(server, Transport())


def test_a_failed_call_whose_record_is_on_its_way_is_recorded_all_the_same() -> None:
    async def run() -> None:
        journal = Stuck(AttemptStatus.FINISHED)
        await given_up_while_it_writes(journal, said({"error": {"message": "x"}}, 500))
        (attempt,) = {one.attempt_id: one for one in journal.written}.values()
        assert attempt.status is AttemptStatus.FINISHED
        assert (attempt.outcome, attempt.used_result) == (AttemptOutcome.SERVER_ERROR, False)

    asyncio.run(run())


def test_a_call_that_is_given_up_before_it_is_made_is_on_record_at_no_cost() -> None:
    async def run() -> None:
        journal = Stuck(AttemptStatus.STARTED)
        vendor = await given_up_while_it_writes(journal, chat())
        (attempt,) = journal.written
        assert vendor.bodies == []
        assert (attempt.status, attempt.outcome) == (
            AttemptStatus.FINISHED,
            AttemptOutcome.CANCELLED,
        )
        assert (attempt.cost_usd, attempt.cost_upper_usd) == (0, 0)

    asyncio.run(run())


def test_an_answer_that_comes_as_its_intent_is_given_up_is_on_record() -> None:
    """With a rival in prospect the call is a task of its own, which may end just before."""

    async def run() -> None:
        server = await asyncio.start_server(Vendor(chat()).serve, "127.0.0.1", 0)
        provider, clock, journal = _provider_of(server), ManualClock(NOW), Record()
        calling: list[asyncio.Task[Any]] = []

        def log(event: Any, /, **_: object) -> None:
            if event.value == "openai_execution_completed":
                calling[0].cancel()

        ground, prices = Ground(clock, SystemDice(1), "w", log), PriceBook()
        hedger = Hedger(HedgePolicy(who=frozenset({"message_generation"})), ["openai"])
        for _ in range(FEWEST):
            hedger.note("openai", 1.0)
        capacity = Capacity({"openai": ProviderLimits()}, BreakerPolicy(calls=1000), clock=clock)
        caller = Caller(
            capacity=capacity,
            attempts=Attempts(kinds={"openai": "openai"}, prices=prices, ground=ground),
            hedger=hedger,
            journal=journal,
            ground=replace(ground, clock=Waiting()),  # type: ignore[arg-type]
        )
        call = Call(provider, "m", [{"role": "user", "content": "x"}], 10, 20)
        run = Execution(a_task(), NOW)
        calling.append(asyncio.create_task(caller.call(run, call, Free(), rival=call)))
        await asyncio.gather(*calling, return_exceptions=True)
        await provider.close()
        server.close()
        assert calling[0].cancelled()
        last = journal.written[-1]
        assert (last.status, last.outcome) == (AttemptStatus.FINISHED, AttemptOutcome.SUCCESS)
        assert (last.used_result, last.cost_usd is not None) == (False, True)

    asyncio.run(run())


class Loading:
    """A tokenizer that is loaded only when somebody else has run meanwhile."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.others_ran = threading.Event(), threading.Event()
        monkeypatch.setattr("agents.executing.attempts.counter_of", self.load)

    def load(self, _models: Any) -> Callable[[str], int]:
        self.begun.set()
        assert self.others_ran.wait(5), "nobody else could run while it was loaded"
        return len

    async def until_begun(self) -> None:
        async with asyncio.timeout(5):
            while not self.begun.is_set():
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("given_up", [False, True])
def test_a_tokenizer_is_loaded_beside_the_loop_and_no_paid_answer_is_lost_meanwhile(
    monkeypatch: pytest.MonkeyPatch, *, given_up: bool
) -> None:
    async def run() -> None:
        tokenizer, journal = Loading(monkeypatch), Record()
        server = await asyncio.start_server(Vendor(chat(usage=None)).serve, "127.0.0.1", 0)
        provider, clock = _provider_of(server), ManualClock(NOW)
        ground, prices = Ground(clock, SystemDice(1), "w", silent), PriceBook()
        caller = Caller(
            capacity=Capacity({"openai": ProviderLimits()}, BreakerPolicy(calls=1000), clock=clock),
            attempts=Attempts(kinds={"openai": "openai"}, prices=prices, ground=ground),
            hedger=Hedger(HedgePolicy(), ["openai"]),
            journal=journal,
            ground=ground,
        )
        call = Call(provider, "m", [{"role": "user", "content": "x"}], 10, 20)
        calling = asyncio.create_task(caller.call(Execution(a_task(), NOW), call, Free()))
        await tokenizer.until_begun()
        if given_up:
            calling.cancel()
        tokenizer.others_ran.set()
        (ended,) = await asyncio.gather(calling, return_exceptions=True)
        await provider.close()
        server.close()
        attempt = journal.written[-1] if given_up else ended.attempt
        assert (attempt.status, attempt.usage_source) == ("finished", "estimated")
        assert attempt.cost_usd > 0
        assert calling.cancelled() is given_up

    asyncio.run(run())


class Waiting(ManualClock):
    """A clock on which nothing that is waited for comes."""

    def __init__(self) -> None:
        super().__init__(NOW)

    async def sleep(self, _seconds: float) -> None:
        await asyncio.Event().wait()

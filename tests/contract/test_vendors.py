"""Every line of the vendors' table, by HTTP through the real adapters, executor and breaker."""

import asyncio
import json
from dataclasses import dataclass
from decimal import Decimal

import pytest

from agents.capacity.breaker import BreakerPolicy, BreakerState
from agents.capacity.limiter import ProviderLimits
from agents.capacity.turns import BreakerChange, Capacity
from agents.clock import ManualClock, SystemDice
from agents.deciding.budgets import Spending
from agents.deciding.cache import AnswerCache
from agents.deciding.failures import FACETS
from agents.deciding.hedging import HedgePolicy
from agents.deciding.policy import RetryPolicy
from agents.deciding.routes import Router
from agents.executing.executor import Executor, Rules
from agents.executing.ground import Ground
from agents.executing.prompts import load_prompts
from agents.log import silent
from agents.pricing.prices import PriceBook
from agents.providers.adapters import SdkProvider, Transport
from agents.providers.building import azure_provider, openai_provider
from agents.task import Completed, Failed, Outcome
from schemas.attempt import ProviderAttempt
from schemas.providers import RouteSpec
from schemas.vocabulary import AttemptStatus, FailureKind
from tests.builders import NOW, a_task, an_intent
from tests.contract.test_answers import Vendor, chat, raw, said
from tests.contract.test_policy_lines import Free, Record
from tests.contract.vendors import LINES, Line


def answer_of(line: Line) -> bytes:
    """Write the answer as it goes over the wire."""
    if line.stream and line.status == 200:
        text = "".join(
            one + "\n\n" if isinstance(one, str) and one.startswith(":")
            else f"data: {one if isinstance(one, str) else json.dumps(one)}\n\n"
            for one in line.body
        )  # fmt: skip
        return raw(text.encode(), 200, "Content-Type: text/event-stream", *line.headers)
    if isinstance(line.body, bytes):
        return raw(line.body, line.status, "Content-Type: text/html", *line.headers)
    return said(line.body, line.status, *line.headers)


@dataclass
class Came:
    """What came of one intent."""

    outcome: Outcome
    first: ProviderAttempt
    calls: tuple[int, int]
    slept: list[float]
    changes: list[BreakerChange]

    @property
    def step(self) -> str:
        """What followed the first call."""
        if isinstance(self.outcome, Failed):
            return "end"
        here, other = self.calls
        if other:
            return "other" if here == 1 else f"other after {here}"
        if here == 1:
            return "result"
        return "retry" if self.slept and self.slept[0] > 0 else "again"


class Bench:
    """A vendor that answers a first call as the line says, then well; and a spare provider."""

    def __init__(self, line: Line, *, breaker_calls: int) -> None:
        self.line = line
        good = chat()
        self.vendor, self.spare = Vendor(answer_of(line), good), Vendor(good)
        self.policy = BreakerPolicy(calls=breaker_calls)

    async def run(self) -> Came:
        servers = [
            await asyncio.start_server(one.serve, "127.0.0.1", 0)
            for one in (self.vendor, self.spare)
        ]
        ports = [one.sockets[0].getsockname()[1] for one in servers]
        clock, record, changes = ManualClock(NOW), Record(), list[BreakerChange]()
        providers = {
            "vendor": self._vendor(ports[0], clock),
            "spare": _openai("spare", ports[1], clock),
        }
        executor = Executor(
            providers=providers,
            router=Router(
                {name: one.kind for name, one in providers.items()},
                [RouteSpec(providers=("vendor", "spare"))],
            ),
            capacity=Capacity(
                {name: ProviderLimits() for name in providers},
                self.policy, clock=clock, on_change=changes.append,
            ),
            rules=Rules(RetryPolicy(jitter=0), HedgePolicy(), PriceBook(), load_prompts(), 3600),
            spending=Spending(()), cache=AnswerCache(1_000), journal=record,
            ground=Ground(clock, SystemDice(1), "w", silent),
        )  # fmt: skip
        try:
            intent = an_intent(temperature=0.5)
            outcome = await executor.execute(a_task(intent=intent), Free())
        finally:
            for provider in providers.values():
                await provider.close()
            for server in servers:
                server.close()
        written = [*record.written, *([outcome.last_attempt] if outcome.last_attempt else [])]
        finished = {one.attempt_id: one for one in written}
        assert all(one.status is AttemptStatus.FINISHED for one in finished.values())
        assert len(finished) == len(self.vendor.bodies) + len(self.spare.bodies)
        return Came(
            outcome, next(iter(finished.values())),
            (len(self.vendor.bodies), len(self.spare.bodies)), list(clock.slept), changes,
        )  # fmt: skip

    def _vendor(self, port: int, clock: ManualClock) -> SdkProvider:
        transport = Transport(stream=self.line.stream, first_token_s=20, idle_s=20)
        if self.line.vendor != "azure":
            return _openai("vendor", port, clock, transport)
        return azure_provider(
            "vendor", api_key="k", endpoint=f"http://127.0.0.1:{port}", api_version="2024-10-21",
            deployment="gpt-4-turbo", timeout_s=20, concurrency=2, clock=clock, transport=transport,
        )  # fmt: skip


def _openai(
    name: str, port: int, clock: ManualClock, transport: Transport | None = None
) -> SdkProvider:
    return openai_provider(
        name, api_key="k", base_url=f"http://127.0.0.1:{port}/v1", model="gpt-3.5-turbo",
        timeout_s=20, concurrency=2, clock=clock, transport=transport or Transport(),
    )  # fmt: skip


def test_the_table_is_long_and_names_no_answer_twice() -> None:
    assert len(LINES) >= 120
    assert len({(line.vendor, line.status, line.stream, repr(line.body), line.headers) for line in LINES}) == len(LINES)  # fmt: skip
    assert {line.kind for line in LINES} == {
        "",
        *(
            kind.value
            for kind in FailureKind
            # No answer, or the intent's own model: not a vendor's words.
            if kind.value not in {"timeout", "connection", "model_not_found"}
        ),
    }


@pytest.mark.parametrize("line", LINES, ids=str)
def test_a_vendors_answer_has_its_kind_and_what_follows(line: Line) -> None:
    came = asyncio.run(Bench(line, breaker_calls=1000).run())
    # A breaker of one call tells what would count, as no other call is asked for.
    touchy = asyncio.run(Bench(line, breaker_calls=1).run())
    moved = touchy.changes[0] if touchy.changes else None
    health = moved.after if moved else BreakerState.CLOSED
    states = {"closed": BreakerState.CLOSED, "counts": BreakerState.OPEN, "down": BreakerState.DOWN}
    assert health is states[line.breaker]
    assert bool(came.changes) == (line.breaker == "down")
    assert came.step == line.step
    assert came.first.outcome.value == ("success" if not line.kind else _recorded(line.kind))
    if moved is not None:
        assert moved.cause is FailureKind(line.kind)
    _same_cost(came.first, line)
    if line.step == "result":
        assert isinstance(came.outcome, Completed)
        assert came.outcome.result.content == "ok"
        assert came.outcome.result.total_cost_usd == Decimal(line.cost)


def _recorded(kind: str) -> str:
    return FACETS[FailureKind(kind)][1].value


def _same_cost(attempt: ProviderAttempt, line: Line) -> None:
    if line.cost == "bound":
        assert (attempt.cost_usd, attempt.cost_upper_usd and attempt.cost_upper_usd > 0) == (
            0,
            True,
        )
    elif line.cost:
        assert (attempt.cost_usd, attempt.cost_upper_usd) == (Decimal(line.cost),) * 2
    else:  # nobody said what it costs: counted here, and marked
        assert attempt.cost_usd
        assert attempt.usage_source.value == "estimated"

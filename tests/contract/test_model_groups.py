"""Model groups through the executor and both adapters, as the settings build them, by HTTP."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from agents.capacity.breaker import BreakerState
from agents.clock import ManualClock, SystemDice
from agents.deciding.budgets import Spending
from agents.deciding.cache import AnswerCache
from agents.executing.executor import Executor, Rules
from agents.executing.ground import Ground
from agents.executing.prompts import load_prompts
from agents.log import silent
from agents.pricing.book import book_of
from agents.pricing.usage import Usage
from agents.task import Completed, Deferred, Failed, Outcome
from hybrid.config import load_settings
from hybrid.errors import UsageError
from hybrid.providing import build_providers
from hybrid.stack import simulator
from hybrid.stack.process import free_port
from schemas.attempt import ProviderAttempt
from schemas.codec import InvalidIntentError
from schemas.intent import WorkflowIntent
from schemas.settings import Settings
from schemas.vocabulary import DeadLetterReason, ErrorClass, UsageSource
from streams.messages.identity import identify, outline
from streams.publishing.intents import route_of, routes
from streams.worker.assembly import capacity_of, hedging_of, policy_of, router_of
from tests.builders import NOW, a_task, an_incoming, an_intent
from tests.contract.test_policy_lines import Free, Record

CHAT: dict[str, Any] = {
    "name": "chat",
    "at": {
        "openai": "gpt-4.1-mini",
        "azure": {"model": "chat-eu", "base_model": "gpt-4.1-nano"},
    },
}
SHARED = {
    "name": "shared",
    "base_model": "gpt-4.1-mini",
    "at": {"openai": {"model": "m-1", "weight": 1}, "azure": {"model": "m-2", "weight": 3}},
}
#: Long after the newest price that the tests rely on began.
LATER = datetime(2026, 11, 1, tzinfo=UTC)


@dataclass
class Ran:
    """What came of some intents."""

    outcomes: list[Outcome]
    calls: list[simulator.Call]
    written: list[ProviderAttempt]
    states: dict[str, BreakerState]

    @property
    def asked(self) -> list[tuple[str, str]]:
        return [(call.provider, call.model) for call in self.calls]

    @property
    def result(self) -> Any:
        (outcome,) = self.outcomes
        assert isinstance(outcome, Completed), outcome
        return outcome.result


def run(
    *intents: WorkflowIntent,
    models: Sequence[dict[str, Any]] = (CHAT,),
    faults: dict[str, Any] | None = None,
    **settings: Any,
) -> Ran:
    return asyncio.run(_run(intents, models, faults or {}, settings))


async def _run(
    intents: Sequence[WorkflowIntent],
    models: Sequence[dict[str, Any]],
    faults: dict[str, Any],
    changes: dict[str, Any],
) -> Ran:
    port, simulated, clock = free_port(), simulator.Simulator(), ManualClock(LATER)
    for name, fault in simulated.faults.items():
        fault.latency_ms = 0
        vars(fault).update(faults.get(name, {}))
    runner = await simulator.serve(simulated, port=port)
    settings = Settings.model_validate(
        {"models": list(models), "hybrid_simulator": f"http://127.0.0.1:{port}", **changes}
    )
    providers = build_providers(settings, clock)
    capacity = capacity_of(settings, providers, clock=clock, on_change=lambda _change: None)
    journal = Record()
    executor = Executor(
        providers=providers,
        router=router_of(settings, providers),
        capacity=capacity,
        rules=Rules(
            policy_of(settings), hedging_of(settings), book_of(settings), load_prompts(), 3600
        ),
        spending=Spending(settings.budgets),
        cache=AnswerCache(1_000_000),
        journal=journal,
        ground=Ground(clock, SystemDice(1), "w", silent),
    )
    try:
        outcomes = [
            await executor.execute(
                a_task(intent=one, intent_id=one.intent_id or "i-1", execution_id=f"e-{number}"),
                Free(),
            )
            for number, one in enumerate(intents)
        ]
    finally:
        for provider in providers.values():
            await provider.close()
        await runner.cleanup()
    states = {name: capacity.state(name) for name in providers}
    return Ran(outcomes, list(simulated.calls), journal.written, states)


def cost(result: Any, input_usd: str, output_usd: str) -> Decimal:
    """Price a result by dollars per million tokens."""
    info = result.cost_info
    usd = info.input_tokens * Decimal(input_usd) + info.output_tokens * Decimal(output_usd)
    return usd / 1_000_000


@pytest.mark.parametrize(
    ("forced", "model", "deployment", "prices"),
    [
        ("openai", "gpt-4.1-mini", "", ("0.4", "1.6")),
        ("azure", "chat-eu", "chat-eu", ("0.1", "0.4")),
    ],
)
def test_a_group_is_served_by_each_providers_own_name_and_priced_as_what_it_is(
    forced: str, model: str, deployment: str, prices: tuple[str, str]
) -> None:
    ran = run(an_intent(model="chat", force_provider=forced))
    assert ran.asked == [(forced, model)]
    assert (ran.result.provider, ran.result.model) == (forced, model)
    assert ran.result.total_cost_usd == cost(ran.result, *prices)
    (started,) = ran.written
    assert (started.requested_model, started.deployment) == (model, deployment)


def test_a_limit_is_held_by_the_price_of_what_the_group_is() -> None:
    intent = an_intent(model="chat", max_cost_usd="0.01", force_provider="azure")
    (started,) = run(intent).written
    assert started.cost_upper_usd is not None
    assert 0 < started.cost_upper_usd <= Decimal("0.01")
    nameless = {"name": "chat", "at": {"azure": "nobody-knows"}}
    (outcome,) = run(intent, models=[nameless]).outcomes
    assert isinstance(outcome, Failed)
    assert outcome.code == "price_unknown"


def test_retries_and_fallbacks_keep_the_group() -> None:
    ran = run(an_intent(model="chat"), faults={"openai": {"always": "503"}})
    assert ran.asked == [("openai", "gpt-4.1-mini")] * 4 + [("azure", "chat-eu")]
    assert ran.result.metadata.fallback


def test_a_provider_that_lacks_the_group_is_passed_over_without_a_call() -> None:
    only = {"name": "chat", "at": {"azure": "chat-eu"}}
    ran = run(an_intent(model="chat"), models=[only])
    assert ran.asked == [("azure", "chat-eu")]
    assert ran.result.fallback_history == []


def test_without_a_provider_that_has_it_an_intent_is_refused_once_and_clearly() -> None:
    only = {"name": "chat", "at": {"azure": "chat-eu"}}
    ran = run(an_intent(model="chat", force_provider="openai"), models=[only])
    (outcome,) = ran.outcomes
    assert isinstance(outcome, Failed)
    assert (outcome.reason, outcome.error_class) == (
        DeadLetterReason.REJECTED,
        ErrorClass.VALIDATION,
    )
    assert outcome.code == "model_not_at_provider"
    assert outcome.message == (
        "no provider of the intent's route (openai) has model chat: [[models]] has it at azure"
    )
    assert ran.calls == []


def test_a_name_that_is_no_groups_stays_what_it_is() -> None:
    assert run(an_intent(model="gpt-4o")).asked == [("openai", "gpt-4o")]
    assert run(an_intent(), hybrid_openai_model="m-0").asked == [("openai", "m-0")]


def test_a_missing_deployment_of_a_group_is_the_configurations_fault_and_no_providers() -> None:
    ran = run(an_intent(model="chat", force_provider="azure"), faults={"azure": {"always": "404"}})
    (outcome,) = ran.outcomes
    assert isinstance(outcome, Deferred), "it waits for the configuration to be mended"
    assert ran.states["azure"] is BreakerState.CLOSED, "the provider's own deployment is well"
    own = run(an_intent(force_provider="azure"), faults={"azure": {"always": "404"}})
    assert own.states["azure"] is BreakerState.DOWN


def test_weights_share_the_first_call_by_the_intents_id() -> None:
    intents = [an_intent(model="shared", intent_id=f"i-{number}") for number in range(400)]
    ran, again = (run(*intents, models=[SHARED]) for _ in range(2))
    assert ran.asked == again.asked, "whenever it is delivered, it begins at the same provider"
    shares = Counter(ran.asked)
    assert set(shares) == {("openai", "m-1"), ("azure", "m-2")}
    assert 0.65 < shares["azure", "m-2"] / 400 < 0.85
    assert {one.result.metadata.fallback for one in ran.outcomes if isinstance(one, Completed)} == {
        False
    }


def test_who_is_not_first_stands_in() -> None:
    intents = [an_intent(model="shared", intent_id=f"i-{number}") for number in range(10)]
    ran = run(*intents, models=[SHARED], faults={"azure": {"always": "401"}})
    assert all(isinstance(one, Completed) for one in ran.outcomes)
    assert ran.asked.count(("openai", "m-1")) == 10


def test_the_order_of_work_knows_the_same_first_provider() -> None:
    settings = Settings.model_validate({"models": [SHARED]})
    router = router_of(settings, _kinds(settings))
    for number in range(20):
        for stated in (None, f"i-{number}"):
            intent = an_intent(model="shared", intent_id=stated)
            incoming = an_incoming(intent.to_json(), offset=number)
            who = identify(incoming, max_bytes=10_000).who
            assert outline(incoming, router, max_bytes=10_000).route == router.route(
                intent, identity=who.intent_id
            )


def test_the_same_request_is_paid_once_wherever_it_begins() -> None:
    intents = [
        an_intent(model="shared", intent_id=f"i-{number}", cache=True) for number in range(10)
    ]
    assert len(run(*intents, models=[SHARED]).calls) == 1
    forced = [
        an_intent(model="shared", force_provider=one, cache=True) for one in ("azure", "openai")
    ]
    assert len(run(*forced, models=[SHARED]).calls) == 2


def _kinds(settings: Settings) -> Any:
    return {spec.name: spec for spec in settings.provider_specs}


# ── what is said beforehand ─────────────────────────────────────────────────────────────────


def test_publish_says_that_nobody_in_the_route_has_the_group() -> None:
    only = {"name": "chat", "at": {"azure": "chat-eu"}}
    settings = Settings.model_validate({"models": [only]})
    ways = routes(settings)
    line = an_intent(model="chat", force_provider="openai", intent_id="i").to_json()
    with pytest.raises(InvalidIntentError, match=r"has model chat: .* has it at azure"):
        route_of(settings, ways, line)
    topic, key = route_of(settings, ways, an_intent(model="chat", intent_id="i").to_json())
    assert (topic, key) == ("workflow.intents", b"i")


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ([{"name": "chat", "at": {"nobody": "m"}}], "chat is at nobody, which is not a provider"),
        ([CHAT, CHAT], "the name chat is used twice"),
        ([{"name": "chat", "at": {}}], "at: Dictionary should have at least 1 item"),
        ([{"name": "chat", "at": "gpt"}], "number 1, at: "),
        ([{"name": "chat", "at": {"azure": 7}}], "number 1, at.azure: "),
        (
            [{"name": "chat", "at": {"azure": {"model": "m", "weight": 0}}}],
            "one of its weights must be above 0",
        ),
        (
            [
                {"name": "a", "at": {"azure": "d"}, "base_model": "x"},
                {"name": "b", "at": {"azure": "d"}, "base_model": "y"},
            ],
            "d at azure has two base models, x and y",
        ),
    ],
)
def test_a_group_that_cannot_be_is_refused_at_the_start(
    models: list[dict[str, Any]], said: str, tmp_path: Any
) -> None:
    file = tmp_path / "hybrid.toml"
    file.write_text("".join(_toml(one) for one in models))
    with pytest.raises(UsageError) as caught:
        load_settings(environment={}, file=file)
    assert said in str(caught.value)


def _toml(table: dict[str, Any]) -> str:
    def value(one: Any) -> str:
        if isinstance(one, dict):
            return "{" + ", ".join(f"{name} = {value(it)}" for name, it in one.items()) + "}"
        return json.dumps(one)

    return "[[models]]\n" + "".join(f"{name} = {value(one)}\n" for name, one in table.items())


def test_what_a_model_really_is_is_known_from_the_record_too() -> None:
    """Pricing anew reads provider and requested name only."""
    book, who = book_of(Settings.model_validate({"models": [CHAT, SHARED]})), ("azure", "azure")
    usage = Usage(uncached_input=1_000_000, source=UsageSource.PROVIDER)
    named = {
        name: book.price(who, book.seller(who).names(name), usage, at=NOW).usd
        for name in ("chat-eu", "m-2")
    }
    assert named == {"chat-eu": Decimal("0.1"), "m-2": Decimal("0.4")}


@pytest.mark.parametrize(("base", "limit_s"), [("", 45), ("o3", 600), ("gpt-4o", 45)])
def test_a_deployment_gets_the_time_that_its_base_model_needs(base: str, limit_s: float) -> None:
    group = {"name": "chat", "base_model": base, "at": {"azure": "mine"}}
    for changes in ({"models": [group]}, {"hybrid_azure_deployment": "mine",
                                          "hybrid_azure_base_model": base or None}):  # fmt: skip
        settings = Settings.model_validate({"hybrid_simulator": "http://127.0.0.1:1", **changes})
        assert build_providers(settings, ManualClock(NOW))["azure"].limit_s("mine") == limit_s


def test_who_is_missing_is_said_by_name() -> None:
    router = router_of(Settings(), {})
    code, message = router.absence(an_intent(force_provider="vllm"))
    assert (code, message) == ("provider_not_configured", "provider vllm is not configured")

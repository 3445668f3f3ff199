"""A stack of its own with a hybrid.toml: more providers, routes, budgets; and the cache."""

import asyncio
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from hybrid.stack.process import free_port
from streams.kafka.reading import read_topic
from tests.chaos.running import RunningStack, running_stack
from tests.integration.driving import Case, eventually
from tests.integration.test_commands import hybrid

pytestmark = pytest.mark.integration
CONFIG = """
[[providers]]
name = "azure-eu"
kind = "azure"
endpoint = "http://127.0.0.1:{port}"
deployment = "gpt-4-turbo"
key_variable = "AZURE_EU_KEY"

[[providers]]
name = "azure-us"
kind = "azure"
endpoint = "http://127.0.0.1:1"
deployment = "gpt-4-turbo"
key_variable = "AZURE_EU_KEY"

[[providers]]
name = "vllm"
kind = "openai-compatible"
base_url = "http://127.0.0.1:{port}/v1"
model = "llama-3-70b"

[[models]]
name = "chat"
at = {{ azure-eu = "chat-eu" }}

[[routes]]
types = ["content_planning"]
providers = ["azure-us", "azure-eu"]

[[routes]]
priorities = ["low"]
providers = ["vllm"]

[[routes]]
providers = ["azure-eu"]

[policy]
azure-us_connection = "azure-eu"

[[budgets]]
tenant = "thrifty"
per = "month"
usd = 0.02
then = "dead_letter"
"""


@pytest.fixture(scope="module")
def configured(
    stack: RunningStack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningStack]:
    port = free_port()
    file = tmp_path_factory.mktemp("config") / "hybrid.toml"
    file.write_text(CONFIG.format(port=port))
    environment = {
        "HYBRID_CONFIG": str(file),
        "AZURE_EU_KEY": "k",
        "HYBRID_BREAKER_CALLS": "4",
        "HYBRID_BREAKER_OPEN": "1",
    }
    with running_stack(
        workers=2, environment=environment, partitions=4, simulator_port=port, host=stack
    ) as running:
        running.set_faults({"openai": {"latency_ms": 5}, "azure": {"latency_ms": 5}})
        yield running


def test_a_local_server_is_a_few_lines_and_a_dead_region_costs_one_call(
    configured: RunningStack,
) -> None:
    case = Case(configured)
    case.publish(case.intent(priority="low"))
    result = case.result()
    assert (result["provider"], result["model"]) == ("vllm", "llama-3-70b")
    assert result["cost_info"]["cost_usd"] is None, "nobody knows its price"
    other = Case(configured)
    other.publish(other.intent({"note": "[[sim:tokens=2000]]"}, type="content_planning"))
    result = other.result()
    assert result["provider"] == "azure-eu"
    assert result["fallback_history"][0]["reason"].startswith("azure-us_")
    assert result["cost_info"]["cost_usd"] == "0.02", "the price of its kind"


def test_a_group_is_served_by_who_has_it_and_ends_where_nobody_of_its_route_does(
    configured: RunningStack,
) -> None:
    case = Case(configured)
    case.publish(case.intent(type="content_planning", model="chat"))
    result = case.result()
    assert (result["provider"], result["model"]) == ("azure-eu", "chat-eu")
    assert result["fallback_history"] == [], "azure-us lacks it, and was not called"
    other = Case(configured)
    other.publish(other.intent(priority="low", model="chat"))
    letter = next(iter(other.wait(1).dead_letters.values()))[0]
    assert (letter["reason"], letter["error_code"]) == ("rejected", "model_not_at_provider")
    assert other.calls() == []


def test_publish_says_beforehand_that_nobody_has_a_group(
    configured: RunningStack, tmp_path: Path
) -> None:
    file = tmp_path / "intents.jsonl"
    chat = {"type": "content_validation", "user_id": "u", "data": {}, "model": "chat"}
    lines = ({**chat, "priority": "low"}, {**chat, "data": {"x": 1}})
    file.write_text("".join(json.dumps(one) + "\n" for one in lines))
    done = hybrid("publish", str(file), environment=configured.stack.environment())
    assert (done.returncode, done.stdout) == (1, "published 1\n")
    assert "line 1: no provider of the intent's route (vllm) has model chat" in done.stderr


def alerts(stack: RunningStack) -> list[dict[str, Any]]:
    async def read() -> list[dict[str, Any]]:
        topic = stack.settings.topics.alerts
        return [json.loads(one.value or b"{}") async for one in read_topic(stack.settings, topic)]

    return asyncio.run(read())


def test_a_tenant_over_its_budget_is_told_and_stopped_and_others_are_not(
    configured: RunningStack,
) -> None:
    case = Case(configured)
    for number in (1, 2):  # 13 of 1,000ths of a dollar each
        case.publish(case.intent({"note": "[[sim:tokens=1300]]"}, tenant="thrifty"))
        case.wait(number)
    found = eventually(
        lambda: (case.publish(case.intent(tenant="thrifty")), case.outcomes())[1],
        lambda outcomes: bool(outcomes.dead_letters),
    )
    letter = next(iter(found.dead_letters.values()))[0]
    assert (letter["reason"], letter["error_code"]) == ("budget", "tenant_budget_spent")
    names = {one["name"] for one in alerts(configured) if one["tenant"] == "thrifty"}
    assert names == {"budget_soft", "budget_hard"}
    other = Case(configured)
    other.publish(other.intent(tenant="other"))
    assert other.result()["provider"] == "azure-eu"


def test_the_same_request_is_paid_for_once_over_all_workers(configured: RunningStack) -> None:
    case = Case(configured)
    text = f"the same question {case.name} [[sim:latency_ms=400]]"
    data = {"messages": [{"role": "user", "content": text + ' "marker":"' + case.name + '"'}]}
    intents = [{**case.intent(), "data": data, "cache": True} for _ in range(30)]
    case.publish(*intents[:20])
    case.wait(20)
    calls = len(case.calls())
    assert calls <= 2, "one at a time in a worker"
    eventually(lambda: _publish_one(case, intents), lambda cached: cached)
    assert len(case.calls()) == calls
    results = [one[0] for one in case.outcomes().results.values()]
    hits = [one for one in results if one["metadata"]["cached"]]
    assert len(hits) >= 18
    assert {one["cost_info"]["cost_usd"] for one in hits} == {"0"}
    assert len({one["content"] for one in results}) == 1
    paid = sum(Decimal(one["cost_info"]["cost_usd"]) for one in results)
    assert paid > 0


def _publish_one(case: Case, intents: list[dict[str, Any]]) -> bool:
    """Publish one more, and see whether it was a hit."""
    intent = intents.pop()
    case.publish(intent)
    outcomes = eventually(case.outcomes, lambda found: intent["intent_id"] in found.results)
    return bool(outcomes.results[intent["intent_id"]][0]["metadata"]["cached"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[providers]]\nname = "a"\nkind = "azure"\n', "needs endpoint, deployment, key_variable"),
        ('[[routes]]\nproviders = ["nobody"]\n', "nobody is not a provider"),
        ('[policy]\nopenai_tiredness = "azure"\n', "openai_tiredness"),
        ('[[budgets]]\ntenant = "a"\nper = "week"\nusd = 1\n', "[[budgets]] number 1, per"),
        ("[alerts]\nerror_rate = 10\n", "[alerts], error_rate: should be less than or equal to 1"),
        ("[alerts]\nspend = 10\n", "[alerts], spend: Extra"),
        (('[[providers]]\nname = "a"\nkind = "openai-compatible"\nbase_url = "http://x/v1"\n'
         'model = "m"\nkey_variable = "NOT_SET_ANYWHERE"\n'), "NOT_SET_ANYWHERE is not set"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_refused_with_one_sentence(
    text: str, said: str, tmp_path: Path
) -> None:
    file = tmp_path / "hybrid.toml"
    file.write_text(text)
    done = hybrid("worker", environment={"HYBRID_CONFIG": str(file)})
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr

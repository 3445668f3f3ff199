"""One intent by chat, Responses, Azure's dated API and Azure v1: the same result, usage, price.

Through the real adapters and the executor, by HTTP to the simulator.
"""

import asyncio
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web

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
from agents.providers.adapters import Common, SdkProvider, Transport
from agents.providers.building import azure_provider, openai_provider
from agents.providers.requests import ChatRequest
from agents.task import Completed
from hybrid.stack import simulator
from hybrid.stack.process import free_port
from schemas.outcome import WorkflowResult
from tests.builders import NOW, a_task, an_intent
from tests.contract.test_policy_lines import Free, Record

SCHEMA = {"type": "object", "required": ["a"]}
TOOLS = [
    {"type": "function", "function": {"name": "look_up", "description": "d", "parameters": {}}},
]
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aaaa", "detail": "low"}}
ASKED = {"role": "user", "content": "[[sim:tool=look_up]] what is new?"}
#: One model and one price for all, so that only the way differs.
MODEL = "gpt-4o"

CASES: dict[str, dict[str, Any]] = {
    "plain": {"temperature": 0.5, "max_output_tokens": 90, "parameters": {"top_p": 0.5}},
    "schema": {
        "data": {"messages": [{"role": "user", "content": '[[sim:text={"a":1}]] give a'}]},
        "response_schema": SCHEMA,
    },
    "tools, there": {"data": {"messages": [ASKED]}, "parameters": {"tools": TOOLS}},
    "tools, back": {
        "data": {
            "messages": [
                {"role": "system", "content": "be brief"},
                ASKED,
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {
                            "id": "call_1",
                            "type": "function",
                            "function": {"name": "look_up", "arguments": "{}"},
                        }
                    ],
                },
                {"role": "tool", "tool_call_id": "call_1", "content": "nothing"},
            ]
        },
        "parameters": {"tools": TOOLS, "tool_choice": "auto"},
    },
    "image": {
        "data": {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "what is this?"}, IMAGE]}
            ]
        }
    },
    "cut": {
        "data": {"messages": [{"role": "user", "content": "[[sim:finish_reason=length]] go on"}]}
    },
}
WAYS: dict[str, Callable[[str, Common], SdkProvider]] = {
    "chat": lambda url, common: openai_provider("it", base_url=f"{url}/v1", model=MODEL, **common),
    "responses": lambda url, common: openai_provider(
        "it", base_url=f"{url}/v1", model=MODEL, **{**common, "api": "responses"}
    ),
    "azure, dated": lambda url, common: azure_provider(
        "it", endpoint=url, api_version="2024-10-21", deployment=MODEL, **common
    ),
    "azure v1": lambda url, common: azure_provider(
        "it", endpoint=url, api_version="", deployment=MODEL, **common
    ),
    "azure v1, responses": lambda url, common: azure_provider(
        "it", endpoint=url, api_version="v1", deployment=MODEL, **{**common, "api": "responses"}
    ),
}


async def ask(way: str, case: dict[str, Any], *, stream: bool) -> tuple[WorkflowResult, int]:
    """Have one intent served in one way; give the result, and the tokens that were billed."""
    served = simulator.Simulator()
    for faults in served.faults.values():
        faults.latency_ms = 0
    port = free_port()
    runner = await simulator.serve(served, port=port)
    clock = ManualClock(NOW)
    common = Common(
        api_key="k", timeout_s=20, concurrency=1, clock=clock,
        transport=Transport(stream=stream, first_token_s=20, idle_s=20),
    )  # fmt: skip
    provider = WAYS[way](f"http://127.0.0.1:{port}", common)
    executor = Executor(
        providers={"it": provider}, router=Router({"it": provider.kind}),
        capacity=Capacity({"it": ProviderLimits()}, BreakerPolicy(), clock=clock),
        rules=Rules(RetryPolicy(), HedgePolicy(), PriceBook(), load_prompts(), 3600),
        spending=Spending(()), cache=AnswerCache(1), journal=Record(),
        ground=Ground(clock, SystemDice(1), "w", silent),
    )  # fmt: skip
    try:
        task = a_task(intent=an_intent(**{"force_provider": "it", **case}))
        outcome = await executor.execute(task, Free())
    finally:
        await provider.close()
        await runner.cleanup()
    assert isinstance(outcome, Completed), outcome
    (call,) = served.calls
    assert call.provider == provider.kind
    return outcome.result, call.tokens


def what_counts(result: WorkflowResult) -> dict[str, Any]:
    """Give a result without the kind of provider and the ids of this run."""
    cost = result.cost_info.model_dump(exclude={"duration_ms"})
    calls = [(one["type"], one["function"]) for one in result.tool_calls or []]
    names = ("content", "structured", "finish_reason", "model", "refusal", "annotations",
             "dropped_parameters", "total_cost_usd")  # fmt: skip
    return {**{name: getattr(result, name) for name in names}, "calls": calls, "cost": cost}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("name", CASES)
def test_one_intent_has_the_same_result_usage_and_price_each_way(
    name: str, *, stream: bool
) -> None:
    seen, billed = {}, set()
    for way in WAYS:
        result, tokens = asyncio.run(ask(way, CASES[name], stream=stream))
        seen[way] = what_counts(result)
        billed.add(tokens)
    first = seen["chat"]
    assert seen == dict.fromkeys(WAYS, first)
    assert billed == {first["cost"]["tokens"]}
    assert first["total_cost_usd"] > Decimal(0)
    if name == "tools, there":
        ((kind, function),) = first["calls"]
        assert (kind, function["name"], first["finish_reason"]) == ("function", "look_up", "tool_calls")  # fmt: skip
        assert json.loads(function["arguments"])
    else:
        assert first["content"]
    assert first["structured"] == ({"a": 1} if name == "schema" else None)


@pytest.mark.parametrize("ending", ["", "/", "/openai", "/openai/", "/openai/v1", "/openai/v1/"])
@pytest.mark.parametrize(
    ("version", "api", "path"),
    [
        ("", "chat", "/openai/v1/chat/completions"),
        ("v1", "responses", "/openai/v1/responses"),
        ("2024-10-21", "chat", "/openai/deployments/d/chat/completions?api-version=2024-10-21"),
        ("2025-04-01-preview", "responses", "/openai/responses?api-version=2025-04-01-preview"),
    ],
)
def test_an_azure_endpoint_may_be_any_of_the_addresses_that_are_shown(
    ending: str, version: str, api: str, path: str
) -> None:
    heard: list[tuple[str, str | None, str | None]] = []

    async def answer(request: web.Request) -> web.Response:
        key, bearer = request.headers.get("api-key"), request.headers.get("Authorization")
        heard.append((request.path_qs, key, bearer))
        return web.json_response({"error": {"code": "model_not_found"}}, status=404)

    async def run() -> None:
        app = web.Application()
        app.router.add_post("/{path:.*}", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/base"
        provider = azure_provider(
            "azure", endpoint=f"{url}{ending}", api_version=version, deployment="d", api=api,
            api_key="k", timeout_s=5, concurrency=1, clock=ManualClock(NOW),
        )  # fmt: skip
        try:
            with pytest.raises(Exception, match="model_not_found"):
                await provider.complete(ChatRequest([], "a"))
        finally:
            await provider.close()
            await runner.cleanup()

    asyncio.run(run())
    assert heard == [(f"/base{path}", "k", None)]

"""Somebody else's server: LiteLLM's proxy with its mock answers, as an `openai-compatible` provider.

Installed from the package index into an environment of its own while it runs: slow, and so not
among the tests that `make test` finds (`make litellm` runs it).
"""

import asyncio
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from agents.capacity.breaker import BreakerPolicy, BreakerState
from agents.capacity.limiter import ProviderLimits
from agents.capacity.turns import Capacity
from agents.clock import ManualClock, SystemClock, SystemDice
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
from agents.task import Completed, Deferred, Failed, Outcome
from hybrid.config import load_settings
from hybrid.providing import build_providers
from hybrid.stack.process import free_port
from schemas.attempt import ProviderAttempt
from schemas.vocabulary import DeadLetterReason
from tests.builders import NOW, a_task, an_intent
from tests.contract.test_policy_lines import Free, Record

pytestmark = pytest.mark.timeout(900)
VERSION = "1.108.7"
KEY = "sk-4f1c9e0b7a2d4e6f8a1b3c5d7e9f0a2b"
START_S = 300
PROXY = """
model_list:
  - model_name: good
    litellm_params: {{model: openai/gpt-4o, api_key: x, mock_response: "Hello from the mock"}}
  - model_name: tools
    litellm_params:
      model: openai/gpt-4o
      api_key: x
      mock_response: ""
      mock_tool_calls:
        - {{id: call_1, type: function, function: {{name: f, arguments: '{{"a": 1}}'}}}}
  - model_name: limited
    litellm_params: {{model: openai/gpt-4o, api_key: x, mock_response: "litellm.RateLimitError"}}
  - model_name: long
    litellm_params: {{model: openai/gpt-4o, api_key: x, mock_response: "litellm.ContextWindowExceededError"}}
  - model_name: broken
    litellm_params: {{model: openai/gpt-4o, api_key: x, mock_response: "litellm.InternalServerError"}}
  - model_name: breaks-off
    litellm_params: {{model: openai/gpt-4o, api_key: x, mock_response: "Exception: mock_streaming_error"}}
general_settings: {{master_key: {key}}}
router_settings: {{num_retries: 0, disable_cooldowns: true}}
"""
TOML = """
[[providers]]
name = "litellm"
kind = "openai-compatible"
base_url = "http://127.0.0.1:{port}/v1"
model = "good"
key_variable = "LITELLM_KEY"
stream = {stream}

[[prices]]
model = "*"
input = 2.5
output = 10
"""


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a running proxy."""
    folder = tmp_path_factory.mktemp("litellm")
    uv, python = Path(sys.executable).parent / "uv", folder / "env" / "bin" / "python"
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, folder / "env"], check=True)
    package = f"litellm[proxy]=={VERSION}"
    subprocess.run([uv, "pip", "install", "-q", "--python", python, package], check=True)
    found = free_port()
    (folder / "proxy.yaml").write_text(PROXY.format(key=KEY))
    with (folder / "log").open("w") as log:
        proxy = subprocess.Popen(
            [python.parent / "litellm", "--config", folder / "proxy.yaml",
             "--host", "127.0.0.1", "--port", str(found)],
            stdout=log, stderr=log, env={"LITELLM_LOCAL_MODEL_COST_MAP": "True", "PATH": "/usr/bin"},
        )  # fmt: skip
        try:
            _await(found, proxy, folder / "log")
            yield found
        finally:
            proxy.terminate()
            proxy.wait(30)


def _await(port: int, proxy: subprocess.Popen[bytes], log: Path) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    until = time.monotonic() + START_S
    while time.monotonic() < until and proxy.poll() is None:
        try:
            opener.open(f"http://127.0.0.1:{port}/health/liveliness", timeout=5).close()
        except OSError:
            time.sleep(0.5)
        else:
            return
    raise AssertionError(log.read_text()[-2_000:])


@dataclass
class Run:
    """What came of one intent."""

    outcome: Outcome
    attempts: list[ProviderAttempt]
    health: BreakerState


@pytest.fixture(params=[False, True], ids=["whole", "streamed"])
def stream(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def run(port: int, folder: Path, *, stream: bool, key: str = KEY, **intent: Any) -> Run:
    """Pursue one intent, with the provider as a hybrid.toml names it."""
    file = folder / "hybrid.toml"
    file.write_text(TOML.format(port=port, stream=str(stream).lower()))
    settings = load_settings(environment={"LITELLM_KEY": key}, file=file)

    async def once() -> Run:
        providers, clock, record = (
            build_providers(settings, SystemClock()),
            ManualClock(NOW),
            Record(),
        )
        capacity = Capacity({"litellm": ProviderLimits()}, BreakerPolicy(), clock=clock)
        executor = Executor(
            providers=providers, router=Router({"litellm": "openai"}), capacity=capacity,
            rules=Rules(RetryPolicy(), HedgePolicy(), PriceBook(settings.prices), load_prompts(), 3600),
            spending=Spending(()), cache=AnswerCache(1_000), journal=record,
            ground=Ground(clock, SystemDice(1), "w", silent),
        )  # fmt: skip
        try:
            outcome = await executor.execute(a_task(intent=an_intent(**intent)), Free())
        finally:
            for provider in providers.values():
                await provider.close()
        last = [outcome.last_attempt] if outcome.last_attempt else []
        attempts = {one.attempt_id: one for one in (*record.written, *last)}
        return Run(outcome, list(attempts.values()), capacity.state("litellm"))

    return asyncio.run(once())


def test_a_result_has_its_content_tokens_and_cost(
    port: int, tmp_path: Path, *, stream: bool
) -> None:
    came = run(port, tmp_path, stream=stream)
    assert isinstance(came.outcome, Completed)
    result = came.outcome.result
    assert (result.content, result.finish_reason) == ("Hello from the mock", "stop")
    cost = result.cost_info
    assert not cost.estimated
    assert cost.input_tokens > 0
    assert cost.output_tokens > 0
    # 2.50 and 10 USD a million, as its own table of prices has it for this model.
    wanted = (Decimal("2.5") * cost.input_tokens + 10 * cost.output_tokens) / 1_000_000
    assert (cost.cost_usd, result.total_cost_usd) == (wanted, wanted)


def test_what_the_model_wants_done_comes_through(port: int, tmp_path: Path) -> None:
    came = run(port, tmp_path, stream=False, model="tools")  # its mock streams words only
    assert isinstance(came.outcome, Completed)
    (call,) = came.outcome.result.tool_calls or []
    assert call["function"] == {"name": "f", "arguments": '{"a": 1}'}


@pytest.mark.parametrize(
    ("model", "recorded", "calls"),
    [
        ("limited", "rate_limit", 4),
        ("broken", "server_error", 4),
        ("long", "validation", 1),
        ("nobody", "validation", 1),
    ],
)
def test_an_error_is_what_it_is(
    port: int, tmp_path: Path, model: str, recorded: str, calls: int, *, stream: bool
) -> None:
    came = run(port, tmp_path, stream=stream, model=model)
    assert [one.outcome.value for one in came.attempts] == [recorded] * calls
    assert came.health is BreakerState.CLOSED
    if calls > 1:
        assert isinstance(came.outcome, Deferred)
    else:
        assert isinstance(came.outcome, Failed)
        assert came.outcome.reason is DeadLetterReason.REJECTED


def test_a_wrong_key_takes_the_provider_down(port: int, tmp_path: Path, *, stream: bool) -> None:
    came = run(port, tmp_path, stream=stream, key="sk-wrong")
    assert isinstance(came.outcome, Deferred)
    assert came.health is BreakerState.DOWN
    assert [one.outcome.value for one in came.attempts] == ["auth"]


def test_a_stream_that_breaks_off_is_asked_for_again(port: int, tmp_path: Path) -> None:
    came = run(port, tmp_path, stream=True, model="breaks-off")
    assert isinstance(came.outcome, Deferred)
    assert {one.outcome.value for one in came.attempts} <= {"server_error", "connection"}
    for one in came.attempts:  # what began may be billed, what was refused is not
        assert bool(one.cost_upper_usd) == (one.http_status in {200, None})

"""One contract over both adapters, by real HTTP to the simulator."""

import asyncio
from decimal import Decimal

import pytest

from agents.clock import SystemClock
from agents.pricing.prices import PriceBook
from agents.providers.adapters import ChatRequest, SdkProvider, Transport
from agents.providers.building import azure_provider, openai_provider
from agents.providers.errors import (
    AzureExecutionError,
    AzureExecutionTimeoutError,
    ExecutionError,
    OpenAIExecutionError,
    OpenAIExecutionTimeoutError,
)
from agents.providers.replies import ChatReply
from hybrid.stack import simulator
from hybrid.stack.process import free_port
from schemas.intent import TraceContext
from schemas.pricing import PriceSpec
from schemas.vocabulary import FailureKind
from tests.builders import NOW

TRACE = TraceContext(trace_id="0af7651916cd43dd8448eb211c80319c")
ERRORS = {
    "openai": (OpenAIExecutionError, OpenAIExecutionTimeoutError),
    "azure": (AzureExecutionError, AzureExecutionTimeoutError),
}


class Bench:
    """One adapter before one simulator."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.simulator = simulator.Simulator()
        self.simulator.faults[name].latency_ms = 0
        self.port = free_port()
        self.transport = Transport()
        self.low_priority = False

    def _provider(self) -> SdkProvider:
        url, clock = f"http://127.0.0.1:{self.port}", SystemClock()
        if self.name == "openai":
            return openai_provider(
                "openai",
                api_key="k",
                base_url=f"{url}/v1",
                model="gpt-3.5-turbo",
                timeout_s=0.5,
                concurrency=4,
                clock=clock,
                transport=self.transport,
            )
        return azure_provider(
            "azure",
            api_key="k",
            endpoint=url,
            api_version="2024-10-21",
            deployment="gpt-4-turbo",
            timeout_s=0.5,
            concurrency=4,
            clock=clock,
            transport=self.transport,
        )

    def complete(self, act: str, text: str = "hello", *, served: bool = True) -> ChatReply:
        async def once() -> ChatReply:
            runner = await simulator.serve(self.simulator, port=self.port) if served else None
            provider = self._provider()
            self.simulator.faults[self.name].plan = [act]
            try:
                messages = [{"role": "user", "content": text}]
                return await provider.complete(
                    ChatRequest(
                        messages,
                        "attempt-1",
                        attempt=2,
                        trace=TRACE,
                        low_priority=self.low_priority,
                    )
                )
            finally:
                await provider.close()
                if runner is not None:
                    await runner.cleanup()

        return asyncio.run(once())

    def error(self, act: str, *, served: bool = True) -> ExecutionError:
        with pytest.raises(ExecutionError) as caught:
            self.complete(act, served=served)
        return caught.value


@pytest.fixture(params=["openai", "azure"])
def bench(request: pytest.FixtureRequest) -> Bench:
    return Bench(request.param)


def test_a_reply_has_content_usage_and_ids(bench: Bench) -> None:
    reply = bench.complete("ok")
    assert reply.content
    assert reply.usage is not None
    assert reply.usage.total > 0
    assert reply.request_id.startswith("req-")
    assert bench.simulator.calls[0].attempt_id == "attempt-1"
    assert bench.simulator.calls[0].provider == bench.name


@pytest.mark.parametrize(
    ("act", "kind"),
    [
        ("400", FailureKind.BAD_REQUEST),
        ("401", FailureKind.AUTH),
        ("403", FailureKind.REFUSED),
        ("404", FailureKind.DEPLOYMENT_NOT_FOUND),
        ("408", FailureKind.SERVER_ERROR),
        ("409", FailureKind.SERVER_ERROR),
        ("422", FailureKind.BAD_REQUEST),
        ("429", FailureKind.RATE_LIMIT),
        ("500", FailureKind.SERVER_ERROR),
        ("503", FailureKind.SERVER_ERROR),
        ("529", FailureKind.SERVER_ERROR),
        ("reset", FailureKind.CONNECTION),
    ],
)
def test_a_failure_is_classified_and_typed_and_made_by_one_call(
    bench: Bench, act: str, kind: FailureKind
) -> None:
    error = bench.error(act)
    assert error.failure.kind is kind
    assert type(error) is ERRORS[bench.name][0]
    assert (error.attempt, error.trace_context) == (2, TRACE)
    assert len(bench.simulator.calls) == 1


def test_a_rate_limit_says_when_to_come_back(bench: Bench) -> None:
    assert bench.error("429").failure.retry_after_ms == 1000


def test_a_hang_is_cancelled_at_the_limit_and_is_a_timeout_error(bench: Bench) -> None:
    error = bench.error("hang")
    assert isinstance(error, TimeoutError)
    assert type(error) is ERRORS[bench.name][1]
    assert error.failure.kind is FailureKind.TIMEOUT


def test_nobody_listening_is_a_connection_failure(bench: Bench) -> None:
    assert bench.error("ok", served=False).failure.kind is FailureKind.CONNECTION


# ── streamed answers, and the cheap tier ────────────────────────────────────────────────────


def test_a_streamed_answer_is_the_same_with_its_usage(bench: Bench) -> None:
    whole = bench.complete("ok")
    bench.transport = Transport(stream=True)
    streamed = bench.complete("ok")
    assert (streamed.content, streamed.usage) == (whole.content, whole.usage)
    assert (streamed.served_model, streamed.finish_reason) == (whole.served_model, "stop")
    assert streamed.request_id.startswith("req-")


@pytest.mark.parametrize(
    ("act", "text", "code", "said"),
    [
        ("hang", "hello", "first_token_timeout", "no answer began within 0.2 s"),
        ("ok", "[[sim:stall]]", "idle_timeout", "the answer paused for 0.1 s"),
    ],
)
def test_a_stuck_stream_is_seen_long_before_the_calls_time_limit(
    bench: Bench, act: str, text: str, code: str, said: str
) -> None:
    bench.transport = Transport(stream=True, first_token_s=0.2, idle_s=0.1)
    with pytest.raises(ExecutionError) as caught:
        bench.complete(act, text)
    failure = caught.value.failure
    assert (failure.kind, failure.code, failure.message) == (FailureKind.TIMEOUT, code, said)


def test_refusals_of_a_streamed_call_are_classified_too(bench: Bench) -> None:
    bench.transport = Transport(stream=True)
    assert bench.error("429").failure.kind is FailureKind.RATE_LIMIT


@pytest.mark.parametrize("low", [True, False])
def test_only_low_priority_asks_for_the_cheap_tier_and_pays_its_price(
    bench: Bench, *, low: bool
) -> None:
    bench.transport, bench.low_priority = Transport(low_tier="flex"), low
    reply = bench.complete("ok")
    assert reply.usage is not None
    names = (bench.name, bench.name)
    price = PriceBook().price(
        names, (reply.served_model,), reply.usage, at=NOW, charge=reply.charge
    )
    assert price.usd == Decimal(bench.simulator.calls[0].billed_usd)
    assert price.price_id.endswith("*0.5:flex") is low


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_is_charged_by_the_tier_that_served_it(bench: Bench, *, stream: bool) -> None:
    """Flex was asked for and not given: the standard price. Priority nobody asked for: unknown."""
    bench.transport, bench.low_priority = Transport(low_tier="flex", stream=stream), True
    reply = bench.complete("ok", "[[sim:tier=default]]")
    assert reply.usage is not None
    names, models = (bench.name, bench.name), (reply.served_model,)
    price = PriceBook().price(names, models, reply.usage, at=NOW, charge=reply.charge)
    assert price.usd == Decimal(bench.simulator.calls[-1].billed_usd)
    bench.low_priority = False
    reply = bench.complete("ok", "[[sim:tier=priority]]")
    assert reply.usage is not None
    price = PriceBook().price(names, models, reply.usage, at=NOW, charge=reply.charge)
    assert (price.usd, price.price_id) == (None, "unpriced:priority")
    own = PriceSpec(model="*", tier="priority", input=Decimal(2), output=Decimal(2))
    known = PriceBook((own,)).price(names, models, reply.usage, at=NOW, charge=reply.charge)
    assert known.usd == Decimal(reply.usage.total) * 2 / 1_000_000

"""The adapter of batches before the simulator: lines up, answers down, each read as a call's is."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest

from agents.clock import SystemClock
from agents.pricing.prices import Charge
from agents.providers.adapters import ChatRequest, Transport
from agents.providers.batches import BatchProvider
from agents.providers.batching import SeenBatch
from agents.providers.building import openai_provider
from agents.providers.errors import ExecutionError
from agents.providers.wire import UnwritableRequestError
from hybrid.config import load_settings
from hybrid.errors import UsageError
from hybrid.stack import simulator
from hybrid.stack.process import free_port
from schemas.vocabulary import FailureKind
from streams.batching.answers import Told, answers_of
from tests.integration.driving import soon

Steps = Callable[[BatchProvider, simulator.Simulator], Awaitable[None]]


def with_provider(steps: Steps, **common: Any) -> None:
    async def all_of_it() -> None:
        port, simulated = free_port(), simulator.Simulator()
        simulated.faults["openai"].batching.turnaround_s = 0.1
        runner = await simulator.serve(simulated, port=port)
        provider = openai_provider(
            "cheap", api_key="k", base_url=f"http://127.0.0.1:{port}/v1", model="gpt-3.5-turbo",
            timeout_s=5, concurrency=4, clock=SystemClock(), batch_price=Decimal("0.4"), **common,
        )  # fmt: skip
        assert isinstance(provider, BatchProvider)
        try:
            await steps(provider, simulated)
        finally:
            await provider.close()
            await runner.cleanup()

    asyncio.run(all_of_it())


def asked(text: str = "hello", name: str = "a-1", **changes: Any) -> ChatRequest:
    return ChatRequest([{"role": "user", "content": text}], name, **changes)


async def ended(provider: BatchProvider, seen: SeenBatch) -> SeenBatch:
    found: SeenBatch = await soon(
        lambda: provider.look(seen.batch_id, key=""),
        lambda one: one.status in {"completed", "failed", "expired"},
        within_s=10,
    )
    return found


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_a_lines_answer_is_read_as_a_calls_is_and_charged_as_a_batch(api: str) -> None:
    async def steps(provider: BatchProvider, simulated: simulator.Simulator) -> None:
        requests = [asked(name="a-1"), asked("[[sim:status=400]]", "a-2")]
        content = b"\n".join(provider.line(one) for one in requests)
        made = await provider.submit(content, batch_id="own", key="")
        assert [one.batch_id for one in await provider.found("own", key="")] == [made.batch_id]
        assert await provider.found("other", key="") == []
        done = await ended(provider, made)
        told: dict[str, Told] = {}
        for file in (done.output_file_id, done.error_file_id):
            told |= answers_of(await provider.read(file, key=""))
        good = told["a-1"]
        reply = provider.reply(requests[0], good.status or 0, good.body, "batch-1")
        direct = await provider.complete(asked())
        assert (reply.content, reply.usage) == (direct.content, direct.usage)
        assert (reply.charge, reply.request_id) == (Charge("batch", Decimal("0.4")), "batch-1")
        with pytest.raises(ExecutionError) as refused:
            provider.reply(requests[1], told["a-2"].status or 0, told["a-2"].body, "batch-1")
        assert refused.value.failure.kind is FailureKind.BAD_REQUEST
        assert refused.value.failure.request_id == "batch-1"
        for file in (made.input_file_id, done.output_file_id, done.error_file_id):
            await provider.delete(file, key="")
        assert not simulated.batches.files.of("openai")

    with_provider(steps, api=api)


def test_a_line_is_neither_streamed_nor_of_another_tier() -> None:
    async def steps(provider: BatchProvider, _simulated: simulator.Simulator) -> None:
        line = json.loads(provider.line(asked(max_output_tokens=7, low_priority=True)))
        assert (line["custom_id"], line["method"]) == ("a-1", "POST")
        assert line["url"] == "/v1/chat/completions"
        assert line["body"] == {
            "model": "gpt-3.5-turbo",
            "messages": [{"role": "user", "content": "hello"}],
            "max_completion_tokens": 7,
        }
        with pytest.raises(UnwritableRequestError):
            provider.line(asked("\ud800"))

    with_provider(steps, transport=Transport(stream=True, low_tier="flex"))


def test_what_is_wrong_with_a_batch_is_told() -> None:
    async def steps(provider: BatchProvider, _simulated: simulator.Simulator) -> None:
        line = provider.line(asked())
        made = await provider.submit(line + b"\n" + line, batch_id="own", key="")
        done = await ended(provider, made)
        assert (done.status, done.said) == ("failed", "duplicate_custom_id")
        assert done.code == "duplicate_custom_id"
        assert (done.output_file_id, done.error_file_id) == ("", "")

    with_provider(steps)


def test_what_is_no_answer_of_a_model_is_a_failure_of_the_line() -> None:
    async def steps(provider: BatchProvider, _simulated: simulator.Simulator) -> None:
        with pytest.raises(ExecutionError) as odd:
            provider.reply(asked(), 200, {"odd": 1}, "b")
        assert odd.value.error_code == "unreadable_reply"

    with_provider(steps)


@pytest.mark.parametrize(
    "lines", ['api = "responses"\nbackground = true', 'kind = "azure"\nendpoint = "http://x"']
)
def test_batches_go_neither_with_background_nor_at_azure(
    lines: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "hybrid.toml"
    kind = "" if "kind" in lines else 'kind = "openai-compatible"\nbase_url = "http://x"\n'
    rest = 'model = "m"\ndeployment = "d"\nkey_variable = "K"\nbatch = true\n'
    file.write_text(f'[[providers]]\nname = "x"\n{kind}{rest}{lines}\n')
    monkeypatch.setenv("HYBRID_CONFIG", str(file))
    with pytest.raises(UsageError, match="batch goes neither with background nor at Azure"):
        load_settings()


def test_a_pool_is_of_a_provider_that_answers_batches(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "hybrid.toml"
    file.write_text(
        '[[providers]]\nname = "x"\nkind = "openai"\nmodel = "m"\nkey_variable = "K"\n'
        "batch_tokens = 9\n"
    )
    monkeypatch.setenv("HYBRID_CONFIG", str(file))
    with pytest.raises(UsageError, match="batch_tokens goes with batch = true"):
        load_settings()

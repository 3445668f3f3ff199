"""Embeddings through adapter and executor, by HTTP to the simulator or to an odd vendor."""

import asyncio
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from agents.clock import SystemClock
from agents.pricing.prices import Charge
from agents.providers.adapters import ChatRequest, SdkProvider, Transport
from agents.providers.arguments import Dialect
from agents.providers.batches import BatchProvider
from agents.providers.building import azure_provider, openai_provider
from agents.providers.errors import ExecutionError
from agents.providers.replies import ChatReply
from agents.task import Completed
from hybrid.stack import simulator
from hybrid.stack.process import free_port
from hybrid.stack.simulated_embeddings import vector_of
from schemas.embeddings import packed
from schemas.outcome import WorkflowResult
from schemas.vocabulary import DeadLetterReason, FailureKind, UsageSource
from streams.batching.answers import answers_of
from tests.contract.test_answers import Run, said
from tests.contract.test_batches import ended
from tests.contract.test_policy_lines import World

MODEL = "text-embedding-3-small"
TEXTS = ["one", "two", "three"]
Build = Callable[..., SdkProvider]


def openai(url: str, **common: Any) -> SdkProvider:
    return openai_provider("it", base_url=f"{url}/v1", model="m", **common)


def dated(url: str, **common: Any) -> SdkProvider:
    return azure_provider("it", endpoint=url, api_version="2024-10-21", deployment="m", **common)


def undated(url: str, **common: Any) -> SdkProvider:
    return azure_provider("it", endpoint=url, api_version="", deployment="m", **common)


def at_simulator(build: Build, steps: Any, **common: Any) -> None:
    async def all_of_it() -> None:
        port, simulated = free_port(), simulator.Simulator()
        simulated.faults["openai"].batching.turnaround_s = 0.1
        runner = await simulator.serve(simulated, port=port)
        provider = build(
            f"http://127.0.0.1:{port}", api_key="k", timeout_s=20, concurrency=4,
            clock=SystemClock(), embedding_model=MODEL, **common,
        )  # fmt: skip
        try:
            await steps(provider, simulated)
        finally:
            await provider.close()
            await runner.cleanup()

    asyncio.run(all_of_it())


def asked(*texts: str, **changes: Any) -> ChatRequest:
    inputs = [{"content": text} for text in texts]
    return ChatRequest(inputs, changes.pop("name", "a-1"), **changes)


def vectors(reply: ChatReply) -> list[str]:
    return list(reply.beside.embeddings)


def expected(*texts: str, dimensions: int = 1_536) -> list[str]:
    return [packed(vector_of(text, dimensions)) for text in texts]


@pytest.mark.parametrize("build", [openai, dated, undated])
@pytest.mark.parametrize("background", [False, True])
def test_vectors_come_in_the_order_of_the_inputs(build: Build, background: bool) -> None:
    async def steps(provider: SdkProvider, simulated: simulator.Simulator) -> None:
        request = asked(*TEXTS, low_priority=True, parameters={"encoding_format": "float"})
        reply = await provider.complete(request)
        assert vectors(reply) == expected(*TEXTS)
        assert (reply.content, reply.served_model, reply.dropped) == ("", MODEL, ())
        assert reply.usage is not None
        assert (reply.usage.uncached_input, reply.usage.output) == (3, 0)
        assert reply.request_id == "req-1"
        short = await provider.complete(asked("x", parameters={"dimensions": 8}))
        assert vectors(short) == expected("x", dimensions=8)
        assert [call.attempt_id for call in simulated.calls] == ["a-1", "a-1"]

    common: dict[str, Any] = {"transport": Transport(stream=True, low_tier="flex")}
    if background:
        common = {"api": "responses", "background": True}
    at_simulator(build, steps, **common)


def test_a_batch_of_embeddings_is_one_at_their_path_and_half_the_price() -> None:
    async def steps(provider: BatchProvider, simulated: simulator.Simulator) -> None:
        requests = [asked("one", "two", name="a-1"), asked("[[sim:status=400]]", name="a-2")]
        lines = [provider.line(one) for one in requests]
        assert json.loads(lines[0])["url"] == "/v1/embeddings"
        made = await provider.submit(b"\n".join(lines), batch_id="own", key="", embeds=True)
        done = await ended(provider, made)
        told = answers_of(await provider.read(done.output_file_id, key=""))["a-1"]
        reply = provider.reply(requests[0], told.status or 0, told.body, "batch-1")
        assert vectors(reply) == expected("one", "two")
        assert reply.charge == Charge("batch", Decimal("0.5"))
        told = answers_of(await provider.read(done.error_file_id, key=""))["a-2"]
        with pytest.raises(ExecutionError) as refused:
            provider.reply(requests[1], told.status or 0, told.body, "batch-1")
        assert refused.value.failure.kind is FailureKind.BAD_REQUEST
        assert {call.billed_usd for call in simulated.calls} == {"0.000000020", "0"}

    at_simulator(openai, steps, batch_price=Decimal("0.5"))


# ── an intent ───────────────────────────────────────────────────────────────────────────────────


def result_of(run: Any) -> WorkflowResult:
    assert isinstance(run.outcome, Completed), run.outcome
    return run.outcome.result


@pytest.mark.parametrize("first", ["openai", "azure"])
def test_an_intent_has_a_vector_for_each_input_and_its_prompt_s_price(first: str) -> None:
    texts = ["a" * 400, "b" * 4_000]
    run = World(first).run(
        task="embedding", model=MODEL, data={"input": texts}, max_cost_usd="0.01"
    )
    result = result_of(run)
    assert result.embeddings == expected(*texts)
    assert (result.content, result.provider, result.model) == ("", first, MODEL)
    assert (result.cost_info.input_tokens, result.cost_info.output_tokens) == (1_100, 0)
    (call,) = run.calls
    assert result.total_cost_usd == Decimal(call.billed_usd) == Decimal("0.000022")


def test_numbers_come_as_numbers_where_they_are_wanted() -> None:
    run = World("openai").run(
        task="embedding", model=MODEL, data={"input": "x"},
        parameters={"encoding_format": "float", "dimensions": 4},
    )  # fmt: skip
    (listed,) = result_of(run).vectors
    assert result_of(run).embeddings == [listed]
    assert packed(listed) == expected("x", dimensions=4)[0]


@pytest.mark.parametrize("act", ["429", "503", "reset"])
def test_what_fails_is_tried_again_then_elsewhere(act: str) -> None:
    world = World("openai")
    world.always(act, "openai")
    run = world.run(task="embedding", model=MODEL, data={"input": "x"})
    assert run.providers == ["openai"] * 4 + ["azure"]
    assert result_of(run).metadata.fallback
    assert result_of(run).embeddings == expected("x")


def test_money_that_does_not_pay_for_the_inputs_is_not_spent() -> None:
    run = World("openai").run(
        task="embedding", model=MODEL, data={"input": "x" * 4_000}, max_cost_usd="0.00002"
    )
    assert getattr(run.outcome, "reason", None) is DeadLetterReason.BUDGET
    assert run.calls == []


# ── odd vendors ─────────────────────────────────────────────────────────────────────────────────


def listed(*embeddings: Any, usage: Any = None, **more: Any) -> bytes:
    data = [
        one if isinstance(one, dict) else {"index": place, "embedding": one}
        for place, one in enumerate(embeddings)
    ]
    usage = {"prompt_tokens": 100, "total_tokens": 100} if usage is None else usage
    return said({"object": "list", "data": data, "model": MODEL, "usage": usage, **more})


def run_of(*answers: bytes, given: Any = ("a", "b"), model: str = MODEL, **changes: Any) -> Run:
    given = given if isinstance(given, str) else list(given)
    return Run(*answers, task="embedding", data={"input": given}, model=model, **changes)


def test_a_server_may_answer_with_numbers_and_in_any_order() -> None:
    run = run_of(listed({"index": 1, "embedding": [0.5, 2]}, {"index": 0, "embedding": [1, 0.25]}))
    assert run.completed.result.vectors == [[1, 0.25], [0.5, 2]]
    assert run.sent == [{"model": MODEL, "input": ["a", "b"], "encoding_format": "base64"}]
    assert run.completed.result.total_cost_usd == Decimal("0.000002")


def test_what_no_usage_is_said_of_is_counted_text_by_text() -> None:
    run = run_of(listed([1.0], [2.0], usage={}), given=["hello world", "hello"])
    (attempt,) = run.attempts
    assert (attempt.uncached_input_tokens, attempt.usage_source) == (3, UsageSource.ESTIMATED)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (listed([1.0]), "vectors_missing"),
        (listed(), "vectors_missing"),
        (listed([1.0], [1.0, 2.0]), "unreadable_vector"),
        (listed("AAAA", "AAAA"), "unreadable_vector"),
        (listed(None, None), "unreadable_vector"),
        (listed(["x"], ["y"]), "unreadable_vector"),
        (listed([10**400], [1]), "unreadable_vector"),
        (listed({"index": 0, "embedding": [1]}, {"index": 0, "embedding": [1]}), "unreadable_vector"),
        (listed({"index": "0", "embedding": [1]}), "unreadable_vector"),
        (said({"object": "list", "usage": {"prompt_tokens": 1}}), "unreadable_reply"),
    ],
)  # fmt: skip
def test_an_answer_without_the_vectors_is_paid_for_and_asked_for_once_more(
    answer: bytes, code: str
) -> None:
    run = run_of(answer)
    assert (run.failed.code, run.calls) == (code, 2)
    assert run.failed.spent_usd == 2 * Decimal("0.000002") or code == "unreadable_reply"


def test_a_server_that_ignores_dimensions_is_no_answer() -> None:
    run = run_of(listed([1.0, 2.0]), given="a", parameters={"dimensions": 1})
    assert run.failed.code == "dimensions_differ"


def test_what_a_server_does_not_take_is_left_out_and_named_but_never_the_dimensions() -> None:
    def refusal(parameter: str) -> bytes:
        error = {
            "message": f"Unknown parameter: '{parameter}'.", "type": "invalid_request_error",
            "param": parameter, "code": "unknown_parameter",
        }  # fmt: skip
        return said({"error": error}, 400)

    parameters = {"input_type": "query", "dimensions": 2}
    run = run_of(refusal("input_type"), listed([1, 2]), given="a", parameters=parameters)
    assert run.completed.result.dropped_parameters == ["input_type"]
    assert "input_type" not in run.sent[1]
    run = run_of(refusal("dimensions"), given="a", parameters=parameters)
    assert (run.calls, run.failed.reason) == (1, DeadLetterReason.REJECTED)


def test_the_configuration_adds_and_drops_what_is_sent() -> None:
    dialect = Dialect(drop=frozenset({"encoding_format"}), extra_body={"truncate": "END"})
    run = run_of(listed([1.0]), given="a", dialect=dialect)
    assert run.sent == [{"model": MODEL, "input": ["a"], "truncate": "END"}]


@pytest.mark.parametrize("form", ["base64", "float"])
def test_vectors_that_were_paid_for_are_given_again(form: str) -> None:
    run = run_of(
        listed([1.0, 2.0]), given="a", times=2, cache=True, parameters={"encoding_format": form}
    )
    assert run.calls == 1
    result = run.completed.result
    assert (result.metadata.cached, result.total_cost_usd) == (True, 0)
    assert result.vectors == [[1.0, 2.0]]
    assert result.embeddings == ([[1.0, 2.0]] if form == "float" else [packed([1, 2])])


@pytest.mark.parametrize(
    ("code", "told", "intent"),
    [
        ("invalid_embedding", "data.input is missing", {"given": []}),
        ("invalid_embedding", "at most 1536 dimensions", {"parameters": {"dimensions": 2_000}}),
        ("result_too_large", "at most 197 inputs do", {"given": ["a"] * 200}),
        ("result_too_large", "assumed to have 3072", {"given": ["a"] * 200, "model": "mine"}),
        (
            "input_too_long",
            "data.input.1 has 8200 tokens",
            {"given": ["a", "hello" + " hello" * 8_199]},
        ),
    ],
)
def test_what_cannot_be_served_costs_no_call(code: str, told: str, intent: Any) -> None:
    run = run_of(listed([1.0]), **intent)
    assert (run.failed.reason, run.failed.code) == (DeadLetterReason.INVALID_INTENT, code)
    assert told in run.failed.message
    assert run.calls == 0


def test_how_long_a_models_vectors_are_is_learnt_from_its_answers() -> None:
    many = {"data": {"input": ["a"] * 200}}
    answers = [listed(*([[1.0]] * count)) for count in (90, 200)]
    run = run_of(*answers, given=["a"] * 90, model="mine", then=many)
    assert run.calls == 2
    assert len(run.completed.result.vectors) == 200

"""Whatever a provider answers, by HTTP through adapter and executor: a result or a classified failure."""

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest

from agents.capacity.breaker import BreakerPolicy, BreakerState
from agents.capacity.limiter import ProviderLimits
from agents.capacity.turns import Capacity
from agents.clock import ManualClock, SystemDice
from agents.deciding.budgets import Spending
from agents.deciding.cache import AnswerCache
from agents.deciding.hedging import HedgePolicy
from agents.deciding.policy import RetryPolicy
from agents.deciding.protecting import OFF, Protection
from agents.deciding.routes import Router
from agents.executing.executor import Executor, Rules
from agents.executing.ground import Ground
from agents.executing.prompts import load_prompts
from agents.log import silent
from agents.pricing.prices import PriceBook
from agents.providers.adapters import ChatRequest, SdkProvider, Transport
from agents.providers.arguments import Dialect
from agents.providers.assembly import ChatAssembly
from agents.providers.building import openai_provider
from agents.providers.errors import ExecutionError
from agents.providers.replies import read_stream
from agents.task import Completed, Deferred, Failed, Outcome
from schemas.attempt import ProviderAttempt
from schemas.providers import TimeLimitSpec
from schemas.rows import attempt_row
from schemas.vocabulary import AttemptStatus, DeadLetterReason, FailureKind, UsageSource
from tests.builders import NOW, a_task, an_intent
from tests.contract.test_policy_lines import Free, Record

USAGE = {"prompt_tokens": 100, "completion_tokens": 50}
STREAM = Transport(stream=True, first_token_s=5, idle_s=0.3)


def raw(body: bytes, status: int = 200, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def said(document: Any, status: int = 200, *headers: str) -> bytes:
    return raw(json.dumps(document).encode(), status, "Content-Type: application/json", *headers)


def chat(content: Any = "ok", *, finish: Any = "stop", usage: Any = USAGE, **more: Any) -> bytes:
    message = {"role": "assistant", "content": content, **more.pop("message", {})}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    document = {"model": "gpt-3.5-turbo", "choices": [choice], "usage": usage}
    return said({**document, **more})


def events(*chunks: Any) -> bytes:
    lines = [one if isinstance(one, str) else json.dumps(one) for one in chunks]
    body = "".join(f"data: {line}\n\n" for line in lines)
    return raw(body.encode(errors="surrogatepass"), 200, "Content-Type: text/event-stream")


def delta(content: Any = None, finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"delta": {"content": content}, "finish_reason": finish}]}


class Vendor:
    """Answers in the order given; the last one again and again."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.bodies: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.split("content-length: ")[1].split("\r\n")[0])
        self.bodies.append((await reader.readexactly(length)).decode())
        writer.write(self.answers[min(len(self.bodies), len(self.answers)) - 1])
        await writer.drain()
        writer.close()


class Run:
    """One intent before one vendor, and what is on record of it."""

    def __init__(
        self,
        *answers: bytes,
        transport: Transport | None = None,
        dialect: Dialect | None = None,
        breaker_calls: int = 1000,
        types: frozenset[str] | None = None,
        times: int = 1,
        then: dict[str, Any] | None = None,
        api: str = "chat",
        protection: Protection = OFF,
        **intent: Any,
    ) -> None:
        self.api, self.protection = api, protection
        self.types = types
        #: What differs in another intent that follows.
        self.then = then
        self.times, self.dialect = times, dialect or Dialect()
        self.vendor, self.record = Vendor(*answers), Record()
        self.clock, self.breaker = ManualClock(NOW), BreakerPolicy(calls=breaker_calls)
        self.health = BreakerState.CLOSED
        self.outcome: Outcome = asyncio.run(self._run(transport or Transport(), intent))

    async def _run(self, transport: Transport, intent: dict[str, Any]) -> Outcome:
        server = await asyncio.start_server(self.vendor.serve, "127.0.0.1", 0)
        provider = _provider(server, transport, self.dialect, self.api)
        clock = self.clock
        capacity = Capacity({"openai": ProviderLimits()}, self.breaker, clock=clock)
        executor = Executor(
            providers={"openai": provider}, router=Router({"openai": "openai"}), capacity=capacity,
            rules=Rules(
                RetryPolicy(), HedgePolicy(), PriceBook(), load_prompts(), 3600, self.types,
                protection=self.protection,
            ),
            spending=Spending(()), cache=AnswerCache(1_000_000), journal=self.record,
            ground=Ground(clock, SystemDice(1), "w", silent),
        )  # fmt: skip
        try:
            for _ in range(self.times):
                outcome = await executor.execute(a_task(intent=an_intent(**intent)), Free())
            if self.then is not None:
                task = a_task(intent=an_intent(**{**intent, **self.then}))
                outcome = await executor.execute(task, Free())
            return outcome
        finally:
            self.health = capacity.state("openai")
            await provider.close()
            server.close()

    @property
    def calls(self) -> int:
        return len(self.vendor.bodies)

    @property
    def sent(self) -> list[dict[str, Any]]:
        """The bodies of the requests, as the vendor saw them."""
        return [json.loads(body) for body in self.vendor.bodies]

    @property
    def slept(self) -> list[float]:
        return self.clock.slept

    @property
    def completed(self) -> Completed:
        assert isinstance(self.outcome, Completed), self.outcome
        return self.outcome

    @property
    def failed(self) -> Failed:
        assert isinstance(self.outcome, Failed), self.outcome
        return self.outcome

    @property
    def attempts(self) -> list[ProviderAttempt]:
        last = getattr(self.outcome, "last_attempt", None)
        finished = {one.attempt_id: one for one in self.record.written}
        if last is not None:
            finished[last.attempt_id] = last
        assert all(one.status is AttemptStatus.FINISHED for one in finished.values())
        return list(finished.values())


def _provider(
    server: asyncio.Server,
    transport: Transport,
    dialect: Dialect | None = None,
    api: str = "chat",
) -> SdkProvider:
    port = server.sockets[0].getsockname()[1]
    return openai_provider(
        "openai", api_key="k", base_url=f"http://127.0.0.1:{port}/v1", model="gpt-3.5-turbo",
        timeout_s=20, concurrency=4, clock=ManualClock(NOW), transport=transport,
        dialect=dialect or Dialect(), api=api,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "content"),
    [
        (chat("caf\ud83d end"), "caf\ufffd end"),
        (chat(model="m\udc00"), "ok"),
        (chat(finish="\ud800"), "ok"),
        (chat("a\0b"), "a\0b"),
    ],
)
def test_half_characters_are_replaced_as_they_come(answer: bytes, content: str) -> None:
    run = Run(answer)
    assert run.completed.result.content == content
    assert run.calls == 1
    (attempt,) = run.attempts
    assert attempt.cost_usd == Decimal("0.0003")
    assert json.dumps(attempt_row(attempt)[1], ensure_ascii=False).encode()
    assert run.completed.result.to_json()


@pytest.mark.parametrize("half", [None, float("nan"), True, -1, 2**32 + 100, 2**63 - 1, 10**25, []])
def test_a_count_that_cannot_be_one_is_counted_here_and_marked(half: Any) -> None:
    run = Run(chat(usage={"prompt_tokens": half, "completion_tokens": 50}))
    (attempt,) = run.attempts
    assert attempt.usage_source is UsageSource.ESTIMATED
    assert attempt.cost_usd is not None
    assert 0 < attempt.cost_usd < 1


@pytest.mark.parametrize("usage", [{}, [], "n/a", {"prompt_tokens": "7", "completion_tokens": 1.5}])
def test_usage_of_any_shape_is_estimated(usage: Any) -> None:
    (attempt,) = Run(chat(usage=usage)).attempts
    assert attempt.usage_source is UsageSource.ESTIMATED


@pytest.mark.parametrize(
    "details",
    [
        {"prompt_tokens_details": {"cached_tokens": 500}},
        {"prompt_tokens_details": {"cached_tokens": -7}},
        {"prompt_tokens_details": {"cached_tokens": float("inf")}},
        {"prompt_tokens_details": [1]},
        {"completion_tokens_details": {"reasoning_tokens": 900}},
        {"completion_tokens_details": "x"},
        {"total_tokens": -5},
    ],
)
def test_details_beyond_their_whole_change_no_cost(details: dict[str, Any]) -> None:
    (attempt,) = Run(chat(usage={**USAGE, **details})).attempts
    assert attempt.cost_usd == Decimal("0.0003")
    assert attempt.usage_source is UsageSource.PROVIDER
    assert attempt.uncached_input_tokens + attempt.cached_input_tokens == 100
    assert attempt.visible_output_tokens + attempt.reasoning_tokens == 50
    assert min(attempt.uncached_input_tokens, attempt.cached_input_tokens) >= 0


def test_an_answer_without_choices_is_paid_for_and_asked_again() -> None:
    empty = said({"choices": [], "usage": {"prompt_tokens": 1000, "completion_tokens": 0}})
    run = Run(empty, chat())
    assert run.completed.result.total_cost_usd == Decimal("0.0023")
    assert run.attempts[0].cost_usd == Decimal("0.002")
    assert run.attempts[0].usage_source is UsageSource.PROVIDER


ODD_ERRORS = [
    *({"error": {"code": code}} for code in (7, {"a": 1}, [1], float("nan"))),
    *({"error": {"type": {"a": 1}}}, {"error": "bad"}, {"error": None}, {"detail": [{"loc": []}]}),
    *([], None, [None], {"error": {"innererror": []}}),
]


@pytest.mark.parametrize(
    "body", [*map(said, ODD_ERRORS), raw(b""), raw(b"<html>"), raw("ä".encode("utf-16"))]
)
def test_an_error_of_any_shape_goes_by_its_status(body: bytes) -> None:
    run = Run(body.replace(b" 200 X", b" 400 X"))
    assert run.failed.reason is DeadLetterReason.REJECTED
    assert run.calls == 1
    retried = Run(body.replace(b" 200 X", b" 500 X"), chat())
    assert retried.completed.result.content == "ok"


def test_content_in_parts_is_joined_without_the_thinking() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    parts = [thinking, {"type": "text", "text": "Hello "}, {"type": "text", "text": "world"}]
    assert Run(chat(parts)).completed.result.content == "Hello world"


@pytest.mark.parametrize(
    "content", [[{"type": "text", "text": '{"a":1}'}], '```json\n{"a": 1}\n```']
)
def test_json_in_parts_or_in_a_fence_is_read_in_one_call(content: Any) -> None:
    run = Run(chat(content), response_schema={"type": "object", "required": ["a"]})
    assert (run.completed.result.structured, run.calls) == ({"a": 1}, 1)


@pytest.mark.parametrize(
    "broken",
    [
        b"hello\r\n\r\n",
        b"",
        raw(b"{}").replace(b"Length: 2", b"Length: 90"),
        raw(b""),
        raw(b"[" * 9999),
    ],
)
def test_a_broken_answer_is_asked_for_once_more(broken: bytes) -> None:
    run = Run(broken, chat())
    assert run.completed.result.content == "ok"
    assert run.calls == 2
    assert run.attempts


WHOLE = chat().partition(b"\r\n\r\n")[2]
JSON = "Content-Type: application/json"
CHUNKED = b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "calls"),
    [
        (raw(gzip.compress(WHOLE), 200, JSON, "Content-Encoding: gzip"), 1),
        (raw(zlib.compress(WHOLE), 200, JSON, "Content-Encoding: deflate"), 1),
        (raw(b"\xef\xbb\xbf" + WHOLE, 200, JSON), 1),
        (raw(b"\n\n\r\n" + WHOLE, 200, JSON), 1),
        (raw(WHOLE, 200, "Content-Type: text/plain"), 1),
        (raw(WHOLE), 1),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + raw(WHOLE), 1),
        (raw(gzip.compress(WHOLE)[:-20], 200, JSON, "Content-Encoding: gzip"), 2),
        (raw(WHOLE, 200, JSON, "Content-Encoding: gzip"), 2),
        (CHUNKED + b"9\r\n" + WHOLE[:9] + b"\r\n", 2),
        (CHUNKED + b"zz\r\n" + WHOLE, 2),
        (raw(WHOLE.replace(b'"ok"', b'"caf\xe9"'), 200, JSON), 2),
        (raw(WHOLE + b" more", 200, JSON), 2),
        (raw(WHOLE, 200, JSON, "X: " + "a" * 200_000), 2),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 2),
    ],
)
def test_a_body_is_read_however_it_is_sent_and_asked_for_again_if_it_is_broken(
    answer: bytes, calls: int
) -> None:
    run = Run(answer, chat())
    assert (run.completed.result.content, run.calls) == ("ok", calls)
    assert run.attempts


@pytest.mark.parametrize("schema", [None, {"type": "object"}])
def test_an_answer_that_its_limit_cut_off_is_asked_for_once(schema: Any) -> None:
    run = Run(chat("" if schema is None else '{"a', finish="length"), response_schema=schema)
    assert (run.failed.code, run.calls) == ("truncated", 1)
    assert run.attempts[0].cost_usd == Decimal("0.0003")


def test_a_refusal_is_the_models_word_and_no_result() -> None:
    run = Run(chat(None, message={"refusal": "I cannot"}))
    assert (run.failed.code, run.failed.refusal) == ("refusal", "I cannot")
    assert "I cannot" not in run.failed.message  # an error message holds no content


def test_words_and_citations_beside_an_answer_are_in_the_result() -> None:
    cited = [{"type": "url_citation", "url_citation": {"url": "https://x", "title": "caf\ud83d"}}]
    run = Run(chat("ok", message={"refusal": "not all of it", "annotations": cited}), cache=True)
    result = run.completed.result
    assert (result.content, result.refusal) == ("ok", "not all of it")
    assert result.annotations == [
        {"type": "url_citation", "url_citation": {"url": "https://x", "title": "caf\ufffd"}}
    ]
    assert run.completed.cached is not None
    assert run.completed.cached[1].annotations == result.annotations


CALLED = [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}]
#: The same call, as vendors write it: whole, in pieces, with arguments as an object, the old way.
TOOL_ANSWERS = [
    (chat(None, finish="tool_calls", message={"tool_calls": CALLED}), False),
    (chat("", finish="stop", message={"tool_calls": CALLED}), False),
    (
        events(
            {"choices": [{"delta": {"role": "assistant", "content": None, "tool_calls": [
                {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}}]}}]},
            {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]}}]},
            {"choices": [{"delta": {"tool_calls": [{"index": 0, "id": None, "function": {"arguments": ": 1}"}}]}}]},
            delta(None, "tool_calls"), {"choices": [], "usage": USAGE}, "[DONE]",
        ),
        True,
    ),
    (events({"choices": [{"delta": {"tool_calls": CALLED}}]}, delta("", "stop"), {"usage": USAGE}), True),
    (chat(None, message={"tool_calls": [{**CALLED[0], "function": {"name": "f", "arguments": {"a": 1}}}]}), False),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "stream"), TOOL_ANSWERS)
def test_what_the_model_wants_done_is_in_the_result(answer: bytes, *, stream: bool) -> None:
    schema = {"type": "object", "required": ["b"]}
    run = Run(answer, transport=STREAM if stream else None, cache=True, response_schema=schema)
    assert (run.completed.result.tool_calls, run.calls) == (CALLED, 1)
    assert run.completed.cached is None  # work to do is nobody else's answer
    assert run.completed.result.to_json()


def test_several_calls_keep_their_order_and_the_old_form_is_read() -> None:
    second = {"id": "call_2", "function": {"name": "g", "arguments": "{}"}}
    pieces = [
        {
            "choices": [
                {"delta": {"tool_calls": [{"index": 1, **second}, {"index": 0, **CALLED[0]}]}}
            ]
        }
    ]
    run = Run(events(*pieces, delta(None, "tool_calls"), {"usage": USAGE}), transport=STREAM)
    assert [one["id"] for one in run.completed.result.tool_calls or []] == ["call_1", "call_2"]
    old = {"function_call": {"name": "f", "arguments": "{}"}}
    (call,) = Run(chat(None, finish="function_call", message=old)).completed.result.tool_calls or []
    assert call["function"] == {"name": "f", "arguments": "{}"}


def test_a_tool_call_of_any_shape_is_read_or_passed_over() -> None:
    deep: Any = "x"
    for _ in range(200):
        deep = {"a": deep}
    odd = [None, 5, [], {}, {"function": None}, {"function": 5}, {"index": "x", "id": 7},
           {"index": 2**70, "function": {"arguments": float("nan")}}, {"deep": deep}]  # fmt: skip
    run = Run(chat("ok", message={"tool_calls": odd, "annotations": odd, "function_call": odd}))
    assert run.completed.result.to_json()


def test_an_answer_that_ends_in_an_error_is_asked_for_again() -> None:
    assert Run(chat("", finish="error"), chat()).completed.result.content == "ok"


@pytest.mark.parametrize(("finish", "kept"), [("stop", True), ("length", False)])
def test_only_a_whole_answer_is_kept_for_others(finish: str, *, kept: bool) -> None:
    run = Run(chat("ok", finish=finish), cache=True)
    assert (run.completed.cached is not None) is kept


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"error": {"code": 502, "message": "x"}}, FailureKind.SERVER_ERROR),
        ({"error": {"code": 429}}, FailureKind.RATE_LIMIT),
        ({"error": {"code": "insufficient_quota"}}, FailureKind.QUOTA),
        ({"error": {"code": "rate_limit_exceeded"}}, FailureKind.RATE_LIMIT),
        ({"error": "x"}, FailureKind.SERVER_ERROR),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_an_error_inside_a_200_has_the_class_of_its_code(
    error: Any, kind: FailureKind, *, stream: bool
) -> None:
    (failure,) = _failures([events(error) if stream else said(error)], stream=stream)
    assert failure is kind


SIGN_IN = b"<!DOCTYPE html><html><body>Sign in to continue</body></html>"
#: What is no chat completion: a sign-in page, a page in a stream, JSON of something else.
NO_ANSWERS = [
    raw(SIGN_IN, 200, "Content-Type: text/html"),
    raw(b"data: <html>\n\ndata: [DONE]\n\n", 200, "Content-Type: text/event-stream"),
    raw(b"upstream connect error", 200),
    raw(b"", 200, "Content-Type: text/event-stream"),
    *map(said, ({}, {"status": "ok"}, {"choices": []}, {"choices": [{}]}, [], "ok", 5)),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("answer", NO_ANSWERS)
def test_a_200_that_is_no_answer_is_the_servers_error_and_the_breaker_sees_it(
    answer: bytes, *, stream: bool
) -> None:
    transport = STREAM if stream else None
    run = Run(answer, chat() if not stream else answer, transport=transport, breaker_calls=2)
    assert run.attempts[0].outcome.value == "server_error"
    if stream:
        assert isinstance(run.outcome, Deferred)
        assert run.health is BreakerState.OPEN
    else:
        assert run.completed.result.content == "ok"
        assert run.slept[0] >= 1.0  # retried as an outage is: after a wait, not at once


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"object": "error", "message": "x", "code": 400}, FailureKind.BAD_REQUEST),
        ({"object": "error", "message": "x", "code": 40001}, FailureKind.SERVER_ERROR),
        ({"code": "InvalidApiKey", "message": "Invalid API-key provided."}, FailureKind.AUTH),
        ({"type": "error", "error": {"type": "overloaded_error"}}, FailureKind.SERVER_ERROR),
        ({"type": "error", "error": {"type": "invalid_request_error"}}, FailureKind.BAD_REQUEST),
        ({"type": "error", "error": {"type": "authentication_error"}}, FailureKind.AUTH),
        ({"detail": "This model's maximum context length is 8"}, FailureKind.CONTEXT_LENGTH),
        ({"error": {"code": 503, "metadata": {"provider_name": "x"}}}, FailureKind.SERVER_ERROR),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_an_error_without_its_wrapping_is_read_inside_a_200_too(
    body: Any, kind: FailureKind, *, stream: bool
) -> None:
    begun = [delta("he")] if stream else []
    answer = events(*begun, body) if stream else said(body)
    assert _failures([answer], stream=stream) == [kind]


def test_a_stream_is_read_as_plain_data() -> None:
    run = Run(
        events(
            {"choices": [], "prompt_filter_results": []}, {"choices": [{"content_filter": 1}]},
            '{"choices": [{"del', delta("Hel"), delta([{"type": "text", "text": "lo\u2028"}]), {"choices": None},
            delta(None, "stop"), {"usage": USAGE}, "[DONE]",
        ),
        transport=STREAM,
    )  # fmt: skip
    assert run.completed.result.content == "Hello\u2028"
    assert run.completed.result.total_cost_usd == Decimal("0.0003")


def test_a_bill_seen_in_a_broken_stream_is_priced() -> None:
    whole = events(delta("ok"), delta(None, "stop"), {"usage": USAGE}, "[DONE]")
    run = Run(events(delta("ok"), {"usage": USAGE}), whole, transport=STREAM)
    assert run.completed.result.total_cost_usd == Decimal("0.0006")


def test_a_model_that_the_intent_named_takes_no_provider_down() -> None:
    gated = said({"error": {"code": "model_not_found", "message": "no access"}}, 403)
    run = Run(gated, model="gpt-gated")
    assert run.failed.reason is DeadLetterReason.REJECTED
    assert run.health is BreakerState.CLOSED


#: What vendors say with 402 and 403 for a single request: its content, its model, its size.
ONE_INTENTS = [
    (403, {}),
    (403, {"error": {"message": "Forbidden"}}),
    (403, {"error": {"type": "permission_error", "message": "no access to the resource"}}),
    (402, {"error": {"code": 402, "message": "requires more credits, or fewer max_tokens"}}),
    (402, {"error": {"code": 402, "metadata": {"reason": "weight_exceeds_budget"}}}),
]


@pytest.mark.parametrize(("status", "body"), ONE_INTENTS)
def test_a_refusal_without_a_reason_takes_no_provider_down_and_ends(status: int, body: Any) -> None:
    run = Run(said(body, status))
    assert isinstance(run.outcome, Deferred)
    assert (run.outcome.state.reason, run.outcome.state.count) == ("refused", 1)
    assert run.health is BreakerState.CLOSED


def _failures(answers: list[bytes], *, stream: bool = False) -> list[FailureKind | None]:
    async def ask() -> list[FailureKind | None]:
        vendor = Vendor(*answers)
        server = await asyncio.start_server(vendor.serve, "127.0.0.1", 0)
        provider = _provider(server, STREAM if stream else Transport())
        kinds: list[FailureKind | None] = []
        for _ in answers:
            try:
                reply = await provider.complete(
                    ChatRequest([{"role": "user", "content": "x"}], "a")
                )
                kinds.append(reply.failure.kind if reply.failure else None)
            except ExecutionError as error:
                kinds.append(error.failure.kind)
        await provider.close()
        server.close()
        return kinds

    return asyncio.run(ask())


def _err(code: Any = None, message: str = "", **more: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, **more}}


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (402, {}, FailureKind.QUOTA),
        (429, _err("billing_hard_limit_reached"), FailureKind.QUOTA),
        (429, _err("billing_not_active"), FailureKind.QUOTA),
        (400, _err(message="Your credit balance is too low"), FailureKind.QUOTA),
        (429, _err("rate_limit_exceeded", "Request too large for gpt-4o", type="tokens"), FailureKind.CONTEXT_LENGTH),
        (413, _err("rate_limit_exceeded"), FailureKind.CONTEXT_LENGTH),
        (400, {"message": "This model's maximum context length is 8"}, FailureKind.CONTEXT_LENGTH),
        (400, _err(message="prompt is too long: 9 tokens"), FailureKind.CONTEXT_LENGTH),
        (403, _err(message="must be less than the context length of the model"), FailureKind.CONTEXT_LENGTH),
        (498, {}, FailureKind.RATE_LIMIT),
        *((status, {}, FailureKind.SERVER_ERROR) for status in (424, 425, 499)),
        (429, [_err(429, status="RESOURCE_EXHAUSTED")], FailureKind.RATE_LIMIT),
        (400, [_err(400, details=[{"reason": "API_KEY_INVALID"}])], FailureKind.AUTH),
        (400, _err("invalid_prompt"), FailureKind.CONTENT_FILTER),
        (400, _err("moderation_blocked"), FailureKind.CONTENT_FILTER),
        (400, _err(None, inner_error={"code": "ResponsibleAIPolicyViolation"}), FailureKind.CONTENT_FILTER),
        (403, _err(403, metadata={"reasons": ["x"]}), FailureKind.CONTENT_FILTER),
        (410, {}, FailureKind.DEPLOYMENT_NOT_FOUND),
        (400, _err("ServiceModelDeprecated"), FailureKind.DEPLOYMENT_NOT_FOUND),
        (400, _err("model_not_found"), FailureKind.DEPLOYMENT_NOT_FOUND),
    ],
)  # fmt: skip
def test_each_vendors_words_have_their_kind(status: int, body: Any, kind: FailureKind) -> None:
    assert _failures([said(body, status)]) == [kind]


@pytest.mark.parametrize(
    ("answer", "wait_ms"),
    [
        (said([_err(429, details=[{"@type": "x/RetryInfo", "retryDelay": "3.5s"}])], 429), 3_500),
        (
            said(
                {},
                429,
                "x-ratelimit-limit-requests: 10",
                "x-ratelimit-remaining-requests: 0",
                "x-ratelimit-reset-requests: 2s",
            ),
            2_000,
        ),
    ],
)
def test_a_wait_is_read_where_there_is_no_retry_after(answer: bytes, wait_ms: int) -> None:
    run = Run(answer, chat())
    assert run.attempts[0].retry_after_ms == wait_ms
    assert run.calls == 2


def test_a_request_with_half_a_character_ends_as_its_own_failure_or_is_sent() -> None:
    run = Run(chat(), data={"note": "caf\ud83d"})
    assert isinstance(run.outcome, Completed) or run.failed.reason is DeadLetterReason.REJECTED
    assert run.attempts


class Slow:
    """A body whose answer begins late: longer than its later pauses may be."""

    async def aiter_bytes(self) -> AsyncIterator[bytes]:
        yield b'data: {"choices": [], "prompt_filter_results": [{}]}\n\n'
        await asyncio.sleep(0.2)  # the silence of a model that thinks
        chunks = (delta("late"), delta(None, "stop"))
        yield "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks).encode()

    async def aclose(self) -> None:
        pass


def test_what_comes_before_the_answer_does_not_begin_it() -> None:
    async def opening() -> Slow:
        return Slow()

    reply = asyncio.run(read_stream(opening(), ChatAssembly(NOW), first_s=20, idle_s=0.1))
    assert reply.content == "late"


class Thinking(Slow):
    """A body that reasons for longer than the first word may take, with pauses, then answers."""

    async def aiter_bytes(self) -> AsyncIterator[bytes]:
        for _ in range(4):
            yield b'data: {"choices": [{"delta": {"reasoning_content": "hm"}}]}\n\n'
            await asyncio.sleep(0.3)
        chunks = (delta("late"), delta(None, "stop"))
        yield "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks).encode()


def test_a_model_that_thinks_aloud_is_alive_and_may_pause_longer_than_an_answer() -> None:
    async def opening() -> Thinking:
        return Thinking()

    reply = asyncio.run(read_stream(opening(), ChatAssembly(NOW), first_s=1.0, idle_s=0.1))
    assert reply.content == "late"


def test_silence_that_kills_others_does_not_kill_a_model_that_reasons() -> None:
    """The same silence, the same provider's limits: by the model's name, or by the user's line."""

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 X\r\nConnection: close\r\n\r\n")
        await writer.drain()
        async for piece in Slow().aiter_bytes():
            writer.write(piece)
            await writer.drain()
        writer.close()

    async def ask(model: str) -> str:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        line = TimeLimitSpec(model="slow-*", first_token_timeout=20)
        transport = Transport(stream=True, first_token_s=0.05, idle_s=0.05, time_lines=(line,))
        provider = _provider(server, transport)
        try:
            return (await provider.complete(ChatRequest([], "a", model=model))).content
        except ExecutionError as error:
            return error.failure.code
        finally:
            await provider.close()
            server.close()

    said = {model: asyncio.run(ask(model)) for model in ("gpt-4o", "o3-mini", "slow-1")}
    assert said == {"gpt-4o": "first_token_timeout", "o3-mini": "late", "slow-1": "late"}

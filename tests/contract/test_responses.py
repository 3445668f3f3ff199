"""The Responses API: what is sent of an intent, and what comes of each way an answer ends."""

import json
from decimal import Decimal
from typing import Any

import pytest

from agents.providers.adapters import Transport
from agents.providers.arguments import Dialect
from agents.task import Completed
from schemas.vocabulary import AttemptOutcome, DeadLetterReason, UsageSource
from tests.contract.test_answers import Run, raw, said

SCHEMA = {"type": "object", "required": ["a"]}
USAGE = {
    "input_tokens": 100, "input_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 10},
    "output_tokens": 50, "output_tokens_details": {"reasoning_tokens": 30}, "total_tokens": 150,
}  # fmt: skip
FLAT = Decimal("0.0003")  # 150 tokens at the contract's flat price
TEXT = {"type": "output_text", "text": "ok", "annotations": []}


def message(*parts: Any) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": list(parts or (TEXT,))}


def response(*output: Any, status: str = "completed", **more: Any) -> dict[str, Any]:
    return {
        "id": "r", "object": "response", "status": status, "model": "gpt-3.5-turbo", "error": None,
        "output": list(output or (message(),)), "usage": USAGE, **more,
    }  # fmt: skip


def stream(*events: Any) -> bytes:
    body = "".join(f"event: {one.get('type')}\ndata: {json.dumps(one)}\n\n" for one in events)
    return raw(body.encode(), 200, "Content-Type: text/event-stream")


def ask(
    *answers: Any, streamed: bool = False, dialect: Dialect | None = None, **intent: Any
) -> Run:
    transport = Transport(stream=streamed, first_token_s=5, idle_s=0.3)
    wire = [one if isinstance(one, bytes) else said(one) for one in answers]
    return Run(*wire, transport=transport, dialect=dialect, api="responses", **intent)


def chat(*messages: dict[str, Any]) -> dict[str, Any]:
    return {"messages": list(messages)}


# ── what is sent ────────────────────────────────────────────────────────────────────────────────


def test_an_intent_is_said_in_the_words_of_that_api() -> None:
    run = ask(
        response(message({**TEXT, "text": '{"a": 1}'})),
        temperature=0.5,
        max_output_tokens=90,
        response_schema=SCHEMA,
        parameters={
            "reasoning_effort": "low", "reasoning": {"summary": "auto"}, "verbosity": "high",
            "logprobs": True, "top_logprobs": 2, "metadata": {"team": "a"},
            "parallel_tool_calls": False, "truncation": "auto",
            "web_search_options": {"search_context_size": "low", "user_location":
                {"type": "approximate", "approximate": {"country": "DE"}}},
        },
    )  # fmt: skip
    (body,) = run.sent
    assert isinstance(body.pop("input"), list)
    assert body == {
        "model": "gpt-3.5-turbo", "store": False, "temperature": 0.5, "max_output_tokens": 90,
        "reasoning": {"summary": "auto", "effort": "low"},
        "text": {"verbosity": "high", "format": {
            "type": "json_schema", "name": "answer", "schema": SCHEMA, "strict": False}},
        "include": ["message.output_text.logprobs"], "top_logprobs": 2, "metadata": {"team": "a"},
        "parallel_tool_calls": False, "truncation": "auto",
        "tools": [{"type": "web_search", "search_context_size": "low",
                   "user_location": {"type": "approximate", "country": "DE"}}],
    }  # fmt: skip


def test_a_chat_becomes_items() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    own = {"id": "c2", "type": "custom", "custom": {"name": "g", "input": "x"}}
    run = ask(
        response(),
        data=chat(
            {"role": "developer", "content": "be brief"},
            {"role": "user", "content": [
                {"type": "text", "text": "see"},
                {"type": "image_url", "image_url": {"url": "https://x/a.png"}},
                {"type": "image_url", "image_url": {"url": "data:b", "detail": "low"}},
                {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:c"}},
                {"type": "file", "file": {"file_id": "f-1"}},
                {"type": "input_audio", "input_audio": {"data": "d", "format": "wav"}},
                {"type": "input_text", "text": "as it is"},
            ]},
            {"role": "assistant", "content": "well", "tool_calls": [call, own]},
            {"role": "tool", "tool_call_id": "c1", "content": "one"},
            {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "two"}]},
            {"role": "assistant", "content": None, "refusal": "no"},
            {"role": "user", "name": "ann", "content": "go on"},
        ),
    )  # fmt: skip
    assert run.sent[0]["input"] == [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": [
            {"type": "input_text", "text": "see"},
            {"type": "input_image", "image_url": "https://x/a.png", "detail": "auto"},
            {"type": "input_image", "image_url": "data:b", "detail": "low"},
            {"type": "input_file", "filename": "a.pdf", "file_data": "data:c"},
            {"type": "input_file", "file_id": "f-1"},
            {"type": "input_audio", "input_audio": {"data": "d", "format": "wav"}},
            {"type": "input_text", "text": "as it is"},
        ]},
        {"role": "assistant", "content": "well"},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "custom_tool_call", "call_id": "c2", "name": "g", "input": "x"},
        {"type": "function_call_output", "call_id": "c1", "output": "one"},
        {"type": "custom_tool_call_output", "call_id": "c2",
         "output": [{"type": "input_text", "text": "two"}]},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
        {"role": "user", "content": "go on"},
    ]  # fmt: skip
    assert run.completed.result.dropped_parameters == ["messages.name"]


def test_tools_and_their_choice_are_flat_there() -> None:
    function = {"name": "f", "description": "d", "parameters": {"type": "object"}}
    grammar = {"type": "grammar", "grammar": {"syntax": "regex", "definition": "a+"}}
    tools = [
        {"type": "function", "function": function},
        {"type": "function", "function": {"name": "g", "strict": True}},
        {"type": "custom", "custom": {"name": "h", "format": grammar}},
        {"type": "web_search"},
    ]
    allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "f"}}]}
    choices: list[tuple[Any, Any]] = [
        ("required", "required"),
        ({"type": "function", "function": {"name": "f"}}, {"type": "function", "name": "f"}),
        ({"type": "allowed_tools", "allowed_tools": allowed},
         {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]}),
    ]  # fmt: skip
    for choice, flat in choices:
        (body,) = ask(response(), parameters={"tools": tools, "tool_choice": choice}).sent
        assert body["tool_choice"] == flat
    assert body["tools"] == [
        {"type": "function", **function, "strict": False},
        {"type": "function", "name": "g", "strict": True, "parameters": None},
        {"type": "custom", "name": "h",
         "format": {"type": "grammar", "syntax": "regex", "definition": "a+"}},
        {"type": "web_search"},
    ]  # fmt: skip


def test_what_that_api_lacks_is_left_out_and_named() -> None:
    run = ask(response(), parameters={"stop": "x", "seed": 1, "logit_bias": {}, "top_p": 0.5})
    assert not run.sent[0].keys() & {"stop", "seed", "logit_bias"}
    assert run.sent[0]["top_p"] == 0.5
    assert run.completed.result.dropped_parameters == ["logit_bias", "seed", "stop"]


def test_what_is_stored_is_the_intents_word_and_what_is_over_all_the_configurations() -> None:
    assert ask(response(), parameters={"store": True}).sent[0]["store"] is True
    dialect = Dialect(extra_body={"truncation": "auto"}, drop=frozenset({"store", "verbosity"}))
    run = ask(response(), dialect=dialect, parameters={"verbosity": "low"})
    assert run.sent[0].keys() == {"model", "input", "truncation"}
    assert run.completed.result.dropped_parameters == ["verbosity"]


@pytest.mark.parametrize(
    ("structured", "form"),
    [("strict", {"strict": True}), ("schema", {"strict": False}), ("object", None), ("none", None)],
)
def test_a_schema_goes_out_as_the_vendor_takes_it(structured: Any, form: Any) -> None:
    answer = response(message({**TEXT, "text": '{"a": 1}'}))
    run = ask(answer, dialect=Dialect(structured=structured), response_schema=SCHEMA)
    assert run.completed.result.structured == {"a": 1}
    sent = run.sent[0].get("text", {}).get("format")
    if form:
        assert sent == {"type": "json_schema", "name": "answer", "schema": SCHEMA, **form}
        return
    assert sent == ({"type": "json_object"} if structured == "object" else None)
    assert '"required":["a"]' in run.sent[0]["input"][0]["content"]


def refused(parameter: str, code: str = "unsupported_parameter", words: str = "m") -> bytes:
    error = {"message": words, "type": "invalid_request_error", "param": parameter, "code": code}
    return said({"error": error}, 400)


@pytest.mark.parametrize(
    ("parameter", "name"),
    [
        ("reasoning.effort", "reasoning_effort"),
        ("reasoning", "reasoning_effort"),
        ("text.verbosity", "verbosity"),
        ("temperature", "temperature"),
        ("top_p", "top_p"),
        ("include", "logprobs"),
    ],
)
def test_a_parameter_that_a_model_refuses_is_left_out_once_and_named(
    parameter: str, name: str
) -> None:
    wishes = {"reasoning_effort": "low", "verbosity": "low", "top_p": 0.5, "logprobs": True}
    run = ask(refused(parameter), response(), temperature=0.5, parameters=wishes, times=2)
    assert run.calls == 3
    assert run.completed.result.dropped_parameters == [name]
    outer, _, inner = parameter.partition(".")
    for body in run.sent[1:]:
        assert inner not in body.get(outer, {}) if inner else outer not in body
    assert outer in run.sent[0]


def test_a_refusal_in_words_names_what_lies_inside_too() -> None:
    words = "Unsupported parameter: 'reasoning.effort' is not supported with this model."
    answer = said({"error": {"message": words, "type": "invalid_request_error"}}, 400)
    run = ask(answer, response(), parameters={"reasoning_effort": "low"})
    assert run.completed.result.dropped_parameters == ["reasoning_effort"]
    assert "reasoning" not in run.sent[1]


def test_a_schema_that_no_parameter_carries_is_told_in_the_instructions() -> None:
    answer = response(message({**TEXT, "text": '{"a": 1}'}))
    run = ask(refused("text.format"), answer, response_schema=SCHEMA)
    assert run.completed.result.structured == {"a": 1}
    assert "text" not in run.sent[1]
    assert '"required":["a"]' in run.sent[1]["input"][0]["content"]


@pytest.mark.parametrize("parameter", ["input", "max_output_tokens", "store", "tools", "model"])
def test_what_cannot_be_left_out_is_the_intents_mistake(parameter: str) -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    run = ask(refused(parameter), max_output_tokens=9, parameters={"tools": tools})
    assert (run.failed.reason, run.calls) == (DeadLetterReason.REJECTED, 1)


# ── what comes back ─────────────────────────────────────────────────────────────────────────────

CITED = {"type": "url_citation", "url": "https://x", "title": "t", "start_index": 0, "end_index": 1}
FULL = response(
    {"type": "reasoning", "id": "rs", "summary": [
        {"type": "summary_text", "text": "first"}, {"type": "summary_text", "text": "then"}]},
    {"type": "web_search_call", "id": "ws", "status": "completed"},
    message({**TEXT, "annotations": [CITED], "logprobs": [{"token": "ok", "logprob": -0.1}]}),
    service_tier="default",
)  # fmt: skip


def ended(whole: dict[str, Any]) -> list[dict[str, Any]]:
    """Give the same as events; what a server sends between is as it comes."""
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    return [
        {"type": "response.created", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": {"type": "reasoning"}},
        {"type": "response.reasoning_summary_text.delta", "output_index": 0, "delta": "first"},
        *(
            [{"type": "response.output_text.delta", "output_index": 2, "delta": "ok"}]
            if whole["output"]
            else []
        ),
        {"type": f"response.{whole['status']}", "response": whole},
    ]


@pytest.mark.parametrize("streamed", [False, True])
def test_a_result_holds_all_that_the_answer_says(*, streamed: bool) -> None:
    run = ask(stream(*ended(FULL)) if streamed else FULL, streamed=streamed)
    result = run.completed.result
    assert (result.content, result.finish_reason) == ("ok", "stop")
    assert result.reasoning_summary == "first\n\nthen"
    cited = {name: value for name, value in CITED.items() if name != "type"}
    assert result.annotations == [{"type": "url_citation", "url_citation": cited}]
    assert result.logprobs == [{"token": "ok", "logprob": -0.1}]
    cost = result.cost_info
    assert (cost.input_tokens, cost.cached_input_tokens) == (100, 40)
    assert (cost.output_tokens, cost.reasoning_tokens, cost.cost_usd) == (50, 30, FLAT)
    finished = run.completed.last_attempt
    assert finished
    assert (finished.cache_write_tokens, finished.usage_source) == (10, UsageSource.PROVIDER)


CALL = {"type": "function_call", "id": "fc", "call_id": "c1", "name": "f", "arguments": '{"x": 1}'}
OWN = {"type": "custom_tool_call", "id": "ct", "call_id": "c2", "name": "g", "input": "go"}


@pytest.mark.parametrize("streamed", [False, True])
def test_calls_of_tools_are_given_as_a_chat_gives_them(*, streamed: bool) -> None:
    whole = response(CALL, OWN)
    run = ask(stream(*ended(whole)) if streamed else whole, streamed=streamed)
    result = run.completed.result
    assert result.finish_reason == "tool_calls"
    assert result.tool_calls == [
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}},
        {"id": "c2", "type": "custom", "custom": {"name": "g", "input": "go"}},
    ]


ENDS: list[tuple[dict[str, Any], str, str]] = [
    (response(status="incomplete", incomplete_details={"reason": "content_filter"}), "content_filter", "content_filter"),
    (response(status="incomplete", incomplete_details={"reason": "max_output_tokens"}, output=[]), "bad_output", "truncated"),
    (response(message({"type": "refusal", "refusal": "I will not"})), "content_filter", "refusal"),
    (response(status="failed", error={"code": "server_error", "message": "m"}), "server_error", "server_error"),
    (response(status="failed", error={"code": "rate_limit_exceeded", "message": "m"}), "rate_limit", "rate_limit_exceeded"),
    (response(status="failed", error={"code": "invalid_prompt", "message": "m"}), "content_filter", "invalid_prompt"),
    (response(status="failed", error={"code": "invalid_image_url", "message": "m"}), "validation", "invalid_image_url"),
    (response(status="failed", error={"code": "bio_policy", "message": "m"}), "content_filter", "bio_policy"),
    (response(status="failed"), "server_error", "finish_error"),
    (response(status="cancelled"), "server_error", "finish_error"),
]  # fmt: skip


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("whole", "outcome", "code"), ENDS)
def test_an_answer_that_is_none_has_its_class_and_its_bill(
    whole: dict[str, Any], outcome: str, code: str, *, streamed: bool
) -> None:
    kind = whole["status"] if whole["status"] != "cancelled" else "failed"
    events = ended({**whole, "status": kind}) if streamed else []
    if streamed:
        events[-1]["response"] = whole
    first = stream(*events) if streamed else whole
    run = ask(first, said(response()), streamed=streamed)
    written = [one for one in run.record.written if one.error_code] or [run.outcome.last_attempt]
    assert written[0]
    assert (written[0].outcome.value, written[0].error_code) == (outcome, code)
    assert written[0].cost_usd == FLAT


def test_an_answer_cut_by_its_length_is_kept_and_says_so() -> None:
    run = ask(response(status="incomplete", incomplete_details={"reason": "max_output_tokens"}))
    assert (run.completed.result.content, run.completed.result.finish_reason) == ("ok", "length")


def test_an_error_amid_a_stream_is_classified_and_what_was_billed_is_kept() -> None:
    error = {"type": "error", "code": "rate_limit_exceeded", "message": "m", "param": None}
    run = ask(stream(*ended(FULL)[:-1], error), stream(*ended(FULL)), streamed=True)
    assert isinstance(run.outcome, Completed)
    first = next(one for one in run.record.written if one.error_code)
    assert (first.outcome, first.cost_usd) == (AttemptOutcome.RATE_LIMIT, 0)
    late = ask(stream(*ended(FULL), error), streamed=True)
    assert late.completed.result.total_cost_usd == FLAT


def test_a_stream_that_breaks_off_before_its_end_is_no_answer() -> None:
    run = ask(stream(*ended(FULL)[:-1]), stream(*ended(FULL)), streamed=True)
    assert run.completed.result.content == "ok"
    assert run.calls == 2


def test_pieces_make_up_for_an_end_that_brings_nothing() -> None:
    """Some servers leave the output out of the last event."""
    bare = {**response(), "output": []}
    added = {"type": "response.output_item.added", "output_index": 1,
             "item": {**CALL, "arguments": ""}}  # fmt: skip
    args = {"type": "response.function_call_arguments.delta", "output_index": 1}
    run = ask(
        stream(
            {"type": "response.output_text.delta", "output_index": 0, "delta": "o"},
            {"type": "response.output_text.delta", "output_index": 0, "delta": "k"},
            added, {**args, "delta": '{"x":'}, {**args, "delta": " 1}"},
            {"type": "response.completed", "response": bare},
        ),
        streamed=True,
    )  # fmt: skip
    result = run.completed.result
    assert (result.content, result.finish_reason) == ("ok", "tool_calls")
    assert result.tool_calls == [
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
    ]


@pytest.mark.parametrize("other", [b"<html>sign in</html>", b"[]", b"{}"])
def test_what_is_no_response_is_the_servers_fault(other: bytes) -> None:
    run = ask(raw(other), said(response()))
    assert run.completed.result.content == "ok"
    assert run.calls == 2

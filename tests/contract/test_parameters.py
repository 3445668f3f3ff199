"""Parameters that a model does not take: left out once it has said so, and remembered."""

from typing import Any

import pytest

from agents.deciding.cache import request_key
from agents.deciding.kinds import HttpAnswer, kind_of
from agents.providers.adapters import Transport
from agents.providers.arguments import Dialect, Lessons
from agents.providers.bodies import answer_of
from schemas.vocabulary import DeadLetterReason, FailureKind
from tests.builders import an_intent
from tests.contract.test_answers import STREAM, Run, chat, delta, events, said

SCHEMA = {"type": "object", "required": ["a"]}


def refused(parameter: str, code: str = "unsupported_parameter") -> bytes:
    error = {"message": f"Unsupported parameter: '{parameter}'", "type": "invalid_request_error"}
    return said({"error": {**error, "param": parameter, "code": code}}, 400)


@pytest.mark.parametrize("code", ["unsupported_parameter", "unsupported_value"])
def test_a_refused_parameter_is_left_out_once_and_remembered_for_that_model(code: str) -> None:
    run = Run(refused("temperature", code), chat(), temperature=0.5, times=2)
    assert ["temperature" in body for body in run.sent] == [True, False, False]
    assert run.slept == [0.0]
    result = run.completed.result
    assert result.dropped_parameters == ["temperature"]
    refusal = next(one for one in run.record.written if one.error_code)
    assert (refusal.error_code, refusal.cost_usd, result.metadata.attempt) == (code, 0, 1)


def test_two_parameters_are_left_out_one_after_the_other() -> None:
    run = Run(refused("temperature"), refused("response_format"), chat('{"a": 1}'),
              temperature=0.5, response_schema=SCHEMA)  # fmt: skip
    assert run.completed.result.structured == {"a": 1}
    assert [sorted(set(body) - {"model", "messages"}) for body in run.sent] == [
        ["response_format", "temperature"], ["response_format"], [],
    ]  # fmt: skip
    # What no parameter carries any more is told in the instructions.
    assert '"required":["a"]' in run.sent[2]["messages"][0]["content"]
    assert '"required":["a"]' not in run.sent[1]["messages"][0]["content"]


def test_the_limit_of_the_answer_is_sent_by_its_other_name_and_never_left_out() -> None:
    run = Run(refused("max_completion_tokens"), chat(), max_output_tokens=9, times=2)
    assert [body.get("max_completion_tokens") for body in run.sent] == [9, None, None]
    assert [body.get("max_tokens") for body in run.sent] == [None, 9, 9]
    both = Run(refused("max_completion_tokens"), refused("max_tokens"), max_output_tokens=9)
    assert (both.failed.reason, both.calls) == (DeadLetterReason.REJECTED, 2)


@pytest.mark.parametrize("parameter", ["model", "messages", "messages[0].role", "top_k", "tools"])
def test_what_cannot_be_left_out_is_the_intents_mistake(parameter: str) -> None:
    run = Run(refused(parameter), temperature=0.5)
    assert (run.failed.reason, run.calls) == (DeadLetterReason.REJECTED, 1)


def test_a_model_that_does_not_stream_is_asked_for_the_whole_answer() -> None:
    run = Run(refused("stream", "unsupported_value"), chat(), transport=STREAM, times=2)
    assert [body.get("stream") for body in run.sent] == [True, None, None]
    assert run.completed.result.dropped_parameters is None
    options = Run(refused("stream_options"), events(delta("ok", "stop")), transport=STREAM)
    assert "stream_options" not in options.sent[1]
    assert options.completed.result.content == "ok"


def test_a_vendor_that_refuses_one_after_the_other_without_end_ends_the_intent() -> None:
    body = {"a1": 1, "b1": 2, "c1": 3, "d1": 4, "e1": 5}
    run = Run(*map(refused, body), dialect=Dialect(extra_body=body))
    assert run.failed.reason is DeadLetterReason.REJECTED
    assert run.calls == 4
    assert run.failed.retriable  # what was learnt is left out when it is replayed


#: (status, body, the parameter), as vendors write it.
WORDS: list[tuple[int, Any, str]] = [
    (400, {"message": "Unrecognized request argument supplied: max_completion_tokens", "param": None, "code": None}, "max_completion_tokens"),
    (400, {"message": "Unrecognized request argument supplied: stream_options. Please contact us"}, "stream_options"),
    (400, {"message": "Unsupported parameter: 'max_tokens' is not supported with this model.", "code": "invalid_request_body"}, "max_tokens"),
    (400, {"message": "'temperature' is not supported with this model.", "code": "x"}, "temperature"),
    (400, {"message": "Unknown parameter: 'verbosity'.", "param": "verbosity", "code": "unknown_parameter"}, "verbosity"),
    (400, {"code": "Client specified an invalid argument", "error": "Argument not supported on this model: presencePenalty"}, "presence_penalty"),
    (400, {"code": "400", "error": "Model grok-4.6 does not support parameter reasoningEffort."}, "reasoning_effort"),
    (422, {"object": "error", "message": {"detail": [{"type": "extra_forbidden", "loc": ["body", "max_completion_tokens"], "msg": "Extra inputs are not permitted"}]}, "type": "invalid_request_error"}, "max_completion_tokens"),
    (422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"], "msg": "x"}]}, "stream_options"),
    (422, {"object": "error", "message": '{"detail":[{"type":"extra_forbidden","loc":["body","frequency_penalty"]}]}', "code": "1000"}, "frequency_penalty"),
    (400, {"object": "error", "message": "[{'type': 'extra_forbidden', 'loc': ('body', 'max_completion_tokens'), 'msg': 'x'}]", "type": "BadRequestError", "code": 400}, "max_completion_tokens"),
    (400, [{"error": {"code": 400, "message": 'Invalid JSON payload received. Unknown name "seed": Cannot find field.', "status": "INVALID_ARGUMENT"}}], "seed"),
    (400, {"message": "property 'service_tier' is unsupported", "type": "invalid_request_error"}, "service_tier"),
    (400, {"message": "This response_format type is unavailable now", "code": "invalid_request_error"}, "response_format"),
    (422, {"message": "Failed to deserialize the JSON body into the target type: response_format: response_format.type `json_schema` is unavailable now at line 1"}, "response_format"),
    (422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "messages", 3, "reasoning_content"]}]}, ""),
    (400, {"message": "Invalid value: 'x'", "param": "temperature", "code": "invalid_value"}, ""),
    (500, {"message": "Unknown parameter: 'verbosity'."}, ""),
    (400, {"message": "bad \udc00", "param": 5, "code": "unsupported_parameter"}, ""),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body", "parameter"), WORDS)
def test_each_vendor_names_the_parameter_in_its_own_way(
    status: int, body: Any, parameter: str
) -> None:
    answer = answer_of(status, {}, body)
    assert answer.parameter == parameter
    assert (kind_of(answer) is FailureKind.UNSUPPORTED_PARAMETER) == bool(parameter)


def test_a_code_that_says_more_comes_before_a_parameter() -> None:
    long = HttpAnswer(400, {}, "context_length_exceeded", parameter="messages")
    assert kind_of(long) is FailureKind.CONTEXT_LENGTH


def test_the_memory_of_refusals_is_bounded_and_keeps_the_models_asked_last() -> None:
    lessons = Lessons(most=2)
    for model in ("a", "b"):
        assert lessons.learn(model, "stop", sent=["stop"])
    assert lessons.of("a") == {"stop"}
    assert lessons.learn("c", "stop", sent=["stop"])
    assert [bool(lessons.of(model)) for model in ("a", "b", "c")] == [True, False, True]


def test_who_asks_for_a_whole_answer_sends_no_stream_options() -> None:
    (body,) = Run(chat(), transport=Transport()).sent
    assert set(body) == {"model", "messages"}


ASKED: dict[str, Any] = {
    "reasoning_effort": "high", "top_p": 0.5, "stop": ["END"], "seed": 7, "top_k": 40,
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
    "tool_choice": "required", "metadata": {"team": "a"},
}  # fmt: skip


@pytest.mark.parametrize("stream", [False, True])
def test_an_intents_parameters_are_sent_as_they_are(*, stream: bool) -> None:
    answer = events(delta("ok", "stop")) if stream else chat()
    run = Run(answer, parameters=ASKED, transport=STREAM if stream else None)
    assert {name: run.sent[0].get(name) for name in ASKED} == ASKED


def test_a_parameter_of_the_intent_that_a_model_refuses_is_left_out_and_named() -> None:
    run = Run(refused("top_p"), chat(), parameters={"top_p": 0.5, "seed": 7})
    assert [sorted(set(body) - {"model", "messages"}) for body in run.sent] == [
        ["seed", "top_p"],
        ["seed"],
    ]
    assert run.completed.result.dropped_parameters == ["top_p"]
    tools = Run(refused("tools"), chat(), parameters={"tools": ASKED["tools"]})
    assert (tools.failed.reason, tools.calls) == (DeadLetterReason.REJECTED, 1)


def test_tools_are_a_part_of_what_the_money_limit_pays_for() -> None:
    tools = [{"type": "function", "function": {"name": "f", "description": "x" * 20_000}}]
    bare, dear = Run(chat()), Run(chat(), parameters={"tools": tools})
    (bound,) = {one.cost_upper_usd for one in bare.record.written}
    assert all((one.cost_upper_usd or 0) > (bound or 0) for one in dear.record.written)
    short = Run(chat(), parameters={"tools": tools}, max_cost_usd="0.01")
    assert (short.failed.reason, short.calls) == (DeadLetterReason.BUDGET, 0)


def test_other_parameters_are_another_request_for_the_cache() -> None:
    same = request_key(an_intent(parameters={"seed": 1}), "m", [])
    assert same == request_key(an_intent(parameters={"seed": 1}), "m", [])
    assert len({same, request_key(an_intent(parameters={"seed": 2}), "m", []), request_key(an_intent(), "m", [])}) == 3  # fmt: skip


@pytest.mark.parametrize("stream", [False, True])
def test_log_probabilities_that_were_asked_for_are_in_the_result(*, stream: bool) -> None:
    token = {"token": "ok", "logprob": -0.1, "bytes": None, "top_logprobs": []}
    said_so = {"logprobs": {"content": [token]}}
    piece = {"choices": [{"delta": {"content": "ok"}, "finish_reason": "stop", **said_so}]}
    whole = {"choices": [{"message": {"content": "ok"}, "finish_reason": "stop", **said_so}]}
    run = Run(events(piece) if stream else said(whole), parameters={"logprobs": True},
              transport=STREAM if stream else None)  # fmt: skip
    assert run.completed.result.logprobs == [token]


def test_a_chat_with_an_unknown_role_ends_without_a_call() -> None:
    run = Run(chat(), data={"messages": [{"role": "boss", "content": "do it"}]})
    assert (run.failed.reason, run.failed.code) == (
        DeadLetterReason.INVALID_INTENT,
        "invalid_messages",
    )
    assert run.calls == 0


def test_a_type_that_nobody_configured_costs_no_call() -> None:
    taken = frozenset({"message_generation"})
    assert Run(chat(), types=taken).completed
    run = Run(chat(), types=taken, type="content_planing")
    assert (run.failed.reason, run.failed.code) == (DeadLetterReason.INVALID_INTENT, "unknown_type")
    assert run.calls == 0


def test_images_go_out_as_they_came() -> None:
    parts = [
        {"type": "text", "text": "what?"},
        {"type": "image_url", "image_url": {"url": "data:x"}},
    ]
    run = Run(chat(), data={"messages": [{"role": "user", "content": parts}]})
    assert run.sent[0]["messages"] == [{"role": "user", "content": parts}]
    assert run.completed.result.content == "ok"

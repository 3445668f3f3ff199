"""A provider gets placeholders, whoever asked gets values: by HTTP through adapter and executor."""

import json
from typing import Any

import pytest

from agents.deciding.protecting import Protection
from schemas.protection import KINDS
from tests.contract.test_answers import Run, chat

ALL = Protection(KINDS)
MAIL, CARD = "anna@example.org", "4111 1111 1111 1111"
TEXT = f"write to {MAIL}, card {CARD}, and once more {MAIL}"
TOOL = {"type": "function", "function": {"name": "send", "description": f"as {MAIL}"}}


def answered(*contents: Any, times: int = 1, **intent: Any) -> Run:
    return Run(*(chat(one) for one in contents), protection=ALL, times=times, **intent)


def unseen(run: Run) -> None:
    for body in run.vendor.bodies:
        assert MAIL not in body
        assert CARD not in body


@pytest.mark.parametrize(
    "data", [{"text": TEXT}, {"messages": [{"role": "user", "content": TEXT}]}]
)
def test_what_is_sent_has_placeholders_and_the_result_has_what_they_stand_for(
    data: dict[str, Any],
) -> None:
    run = answered("Dear [EMAIL_1], about [CARD_1]: [PHONE_1]", data=data)
    unseen(run)
    sent = run.sent[0]["messages"][-1]["content"]
    assert "write to [EMAIL_1], card [CARD_1], and once more [EMAIL_1]" in sent
    assert run.completed.result.content == f"Dear {MAIL}, about {CARD}: [PHONE_1]"


def test_an_answer_by_a_schema_is_held_to_it_as_it_is_with_the_values() -> None:
    schema = {
        "type": "object",
        "properties": {"to": {"enum": [MAIL]}},
        "additionalProperties": False,
    }
    good = '{"to": "[EMAIL_1]"}'
    run = answered('{"to": "nobody"}', good, data={"text": TEXT}, response_schema=schema)
    unseen(run)
    assert run.sent[0]["response_format"]["json_schema"]["schema"]["properties"]["to"] == {
        "enum": ["[EMAIL_1]"]
    }
    assert run.completed.result.structured == {"to": MAIL}
    assert json.loads(run.completed.result.content) == {"to": MAIL}


def test_a_complaint_about_an_answer_says_no_value_either() -> None:
    schema = {"type": "object", "additionalProperties": {"type": "integer"}}
    run = answered(
        '{"[EMAIL_1]": "x"}', '{"[EMAIL_1]": 1}', data={"t": TEXT}, response_schema=schema
    )
    unseen(run)
    assert run.calls == 2
    assert "[EMAIL_1]" in run.sent[1]["messages"][-1]["content"]
    assert run.completed.result.structured == {MAIL: 1}


def test_tools_and_what_they_are_called_with_are_covered_too() -> None:
    call = {
        "id": "c", "type": "function", "function": {"name": "send", "arguments": '{"to":"[EMAIL_1]"}'},
    }  # fmt: skip
    run = Run(
        chat(None, finish="tool_calls", message={"tool_calls": [call]}),
        protection=ALL, data={"text": "hello"}, parameters={"tools": [TOOL]},
    )  # fmt: skip
    unseen(run)
    (made,) = run.completed.result.tool_calls or []
    assert json.loads(made["function"]["arguments"]) == {"to": MAIL}


def test_an_answer_that_is_kept_for_others_holds_placeholders_and_each_use_has_the_values() -> None:
    run = answered(
        "to [EMAIL_1]", "not this one", times=2, data={"text": TEXT}, cache=True,
        response_schema=None,
    )  # fmt: skip
    assert run.calls == 1
    assert run.completed.result.content == f"to {MAIL}"
    assert run.completed.result.metadata.cached
    first = answered("to [EMAIL_1]", data={"text": TEXT}, cache=True)
    assert first.completed.cached is not None
    assert first.completed.cached[1].content == "to [EMAIL_1]"


def test_a_kept_answer_by_a_schema_is_given_with_the_values() -> None:
    schema = {"type": "object", "properties": {"to": {"const": MAIL}}}
    run = answered(
        '{"to": "[EMAIL_1]"}', times=2, data={"text": TEXT}, cache=True, response_schema=schema
    )
    assert run.calls == 1
    assert run.completed.result.structured == {"to": MAIL}


def test_without_protection_all_goes_out_as_it_is() -> None:
    run = Run(chat("to [EMAIL_1]"), data={"text": TEXT})
    assert MAIL in run.vendor.bodies[0]
    assert run.completed.result.content == "to [EMAIL_1]"

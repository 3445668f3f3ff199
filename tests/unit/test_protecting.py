"""What providers do not get to see: found, replaced, and put back; in each intent for itself."""

import json
import re
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.deciding.cache import request_key
from agents.deciding.patterns import FINDERS
from agents.deciding.protecting import OFF, Mask, Protection
from agents.executing.prompts import load_prompts, render
from schemas.protection import KINDS, ProtectSpec
from schemas.settings import Settings
from tests.builders import a_result, a_task, an_intent

ALL = Protection(KINDS)
CARD, IBAN = "4111 1111 1111 1111", "DE89 3704 0044 0532 0130 00"
TOKEN = "ghp_" + "a1B2" * 9
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.c2lnbmF0dXJl"


def masked(text: str, protection: Protection = ALL) -> str:
    out = protection.mask(an_intent(data={"text": text})).intent.data["text"]
    assert isinstance(out, str)
    return out


FOUND = {
    "email": [
        "anna@example.org", "anna.b+c@mail.example.co.uk", "o'brien@example.org",
        "jörg@müller.example",
    ],
    "phone": [
        "+49 170 1234567", "+491701234567", "0049 170 1234567", "0170 1234567", "(030) 123 456",
        "030/1234567", "(555) 123-4567", "555-123-4567", "01 23 45 67 89", "+1 (555) 123-4567",
    ],
    "card": ["4111111111111111", CARD, "5500-0000-0000-0004", "378282246310005"],
    "iban": [IBAN, "DE89370400440532013000", "gb82 west 1234 5698 7654 32", "NO9386011117947"],
    "key": [
        "sk-proj-abcdefghijklmnop1234", "AKIAIOSFODNN7EXAMPLE", TOKEN, JWT,
        "-----BEGIN RSA PRIVATE KEY-----\nMIIabc=\n-----END RSA PRIVATE KEY-----",
        "github_pat_" + "a" * 30, "xoxb-123456789012-abcdef", "AIza" + "b" * 35,
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "value"), [(kind, value) for kind, values in FOUND.items() for value in values]
)
def test_each_is_found_alone_and_in_a_sentence_with_any_of_the_others(
    kind: str, value: str
) -> None:
    place = f"[{kind.upper()}_1]"
    assert masked(value, Protection([kind])) == place
    for text in ("reach me: {}, please", "({})", '"{}"', "a {}. b", "{}\nx"):
        assert masked(text.format(value)) == text.format(place)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Authorization: Bearer abcdefghij0123456789", "Authorization: Bearer [KEY_1]"),
        ("aws_secret_access_key = " + "a" * 40, "aws_secret_access_key = [KEY_1]"),
        (f"card {CARD} 12/27", "card [CARD_1] 12/27"),
        (f"2026 {CARD}", "2026 [CARD_1]"),
        (f"{CARD} {CARD}", "[CARD_1] [CARD_1]"),
        (f"to {IBAN} IS MINE", "to [IBAN_1] IS MINE"),
        (f"AB12 {IBAN}", "AB12 [IBAN_1]"),
    ],
)
def test_what_stands_beside_it_stays(text: str, expected: str) -> None:
    assert masked(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "on 2026-01-31 at 09:30:00", "31.01.2026", "01-02-2026 10:30", "01/02/26", "05 06 2026",
        "version 1.10.3", "order 12345", "192.168.100.100", "4111 1111 1111 1112", "0000000000000",
        "AB12 CDEF GHIJ KLMN OPQR", "a@b", "@handle", "3.14159265358979", "12 to 14 of 2026",
        "5,000.00", "sk-short", "[EMAIL_1]", "data:image/png;base64,QUtJQUlPU0ZPRE5ON0VYQU1QTEU=",
    ],
)  # fmt: skip
def test_what_only_looks_like_it_stays(text: str) -> None:
    assert masked(text) == text


def test_what_calls_itself_a_file_and_is_none_is_looked_at() -> None:
    assert masked("data:;base64,x write to anna@example.org").endswith("[EMAIL_1]")


@pytest.mark.parametrize(
    "text",
    [
        piece * (20_000 // len(piece))
        for piece in (
            "1 ", "a", "+1", "DE12", "a.b@", "@a-", "(0", "0 1/2-", "eyJaaaaaaaaa.", "sk-", "eyJ-",
            "-----BEGIN PRIVATE KEY-----", "bearer ",
        )
    ],
)  # fmt: skip
def test_no_text_takes_long(text: str) -> None:
    began = time.process_time()
    for find in FINDERS.values():
        list(find(text))
    assert time.process_time() - began < 2  # 20,000 signs: what is quadratic takes minutes


def test_the_same_value_has_the_same_placeholder_wherever_it_stands_in_an_intent() -> None:
    mask = ALL.mask(
        an_intent(
            data={"to": "a@x.org", "cc": ["b@x.org", "a@x.org"], "a@x.org": {"n": 1, "ok": True}},
            platforms=["c@x.org"],
            content_type="for b@x.org",
            response_schema={"enum": ["a@x.org"]},
            parameters={"user": "c@x.org", "seed": 4111111111111111, "top_p": 0.5},
        )
    )
    one, two, three = "[EMAIL_1]", "[EMAIL_2]", "[EMAIL_3]"
    assert mask.intent.data == {"to": one, "cc": [two, one], one: {"n": 1, "ok": True}}
    assert mask.intent.platforms == [three]
    assert mask.intent.content_type == f"for {two}"
    assert mask.intent.response_schema == {"enum": [one]}
    # A number among parameters is the provider's own.
    assert mask.intent.parameters == {"user": three, "seed": 4111111111111111, "top_p": 0.5}
    assert mask.own.data["to"] == "a@x.org"


def test_a_number_in_the_data_is_found_too() -> None:
    mask = ALL.mask(an_intent(data={"card": 4111111111111111, "count": 12, "none": None}))
    assert mask.intent.data == {"card": "[CARD_1]", "count": 12, "none": None}


def test_inputs_of_embeddings_are_covered_as_they_are_sent() -> None:
    intent = an_intent(task="embedding", data={"input": ["to a@x.org", "to b@x.org", "none"]})
    sent = render(ALL.mask(intent).intent, load_prompts())
    assert [one["content"] for one in sent] == ["to [EMAIL_1]", "to [EMAIL_2]", "none"]


def test_what_an_intent_writes_itself_stands_for_nothing() -> None:
    mask = ALL.mask(an_intent(data={"text": "[EMAIL_1] is no one, a@x.org is"}))
    assert mask.intent.data["text"] == "[EMAIL_1] is no one, [EMAIL_2] is"
    assert mask.reveal("[EMAIL_1] [EMAIL_2] [EMAIL_3]") == "[EMAIL_1] a@x.org [EMAIL_3]"


def test_nothing_found_is_the_intent_itself_and_so_is_nothing_looked_for() -> None:
    intent = an_intent(data={"text": "autumn"})
    assert ALL.mask(intent).intent is intent
    whole = an_intent(data={"text": "a@x.org"})
    assert OFF.mask(whole).intent is whole
    assert OFF.mask(whole).name == ""


def test_ones_own_patterns_come_first_and_what_they_found_is_found_by_no_other() -> None:
    order = ProtectSpec(name="order", pattern=r"ORD-\d+")
    word = ProtectSpec(name="word", pattern=r"[A-Z]{3,}|(?<=d)\b")
    protection = Protection(["phone"], [order, word])
    assert masked("ORD-4111 and ABC", protection) == "[ORDER_1] and [WORD_1]"


def test_a_value_goes_back_into_json_as_json_writes_it() -> None:
    said = ProtectSpec(name="said", pattern=r"<<[^>]*>>")
    mask = Protection([], [said]).mask(an_intent(data={"text": 'x <<a "b"\n>>'}))
    assert mask.reveal("[SAID_1]!") == '<<a "b"\n>>!'
    for text in ('{"x": "[SAID_1]"}', '```json\n{"x": "[SAID_1]"}\n```', '["[SAID_1]"]'):
        revealed = mask.reveal(text).removeprefix("```json\n").removesuffix("\n```")
        assert '<<a "b"\n>>' in str(json.loads(revealed)).replace("\\n", "\n")
    assert mask.reveal('{"x": "[SAID_1]"') == '{"x": "<<a "b"\n>>"'  # it is no JSON
    assert mask.hidden('it was <<a "b"\n>>') == "it was [SAID_1]"


def test_all_that_a_model_said_is_revealed() -> None:
    mask = ALL.mask(an_intent(data={"to": "a@x.org"}))
    call = {"function": {"name": "send", "arguments": '{"to": "[EMAIL_1]"}'}}
    result = a_result(a_task()).model_copy(
        update={
            "content": "to [EMAIL_1]",
            "refusal": "not to [EMAIL_1]",
            "reasoning_summary": "[EMAIL_1]?",
            "tool_calls": [call],
            "annotations": [{"url": "mailto:[EMAIL_1]", "end": 3}],
        }
    )
    revealed = mask.revealed(result)
    assert revealed.content == "to a@x.org"
    assert revealed.refusal == "not to a@x.org"
    assert revealed.reasoning_summary == "a@x.org?"
    assert revealed.tool_calls == [{"function": {"name": "send", "arguments": '{"to": "a@x.org"}'}}]
    assert revealed.annotations == [{"url": "mailto:a@x.org", "end": 3}]
    assert OFF.mask(an_intent()).revealed(result) is result
    assert mask.revealed(a_result(a_task())).refusal is None


def test_two_persons_requests_that_a_provider_sees_as_one_have_two_names() -> None:
    def key(mask: Mask) -> str:
        return request_key(mask.intent, "m", [mask.intent.data], stands_for=mask.name)

    anna, bert = (ALL.mask(an_intent(data={"to": one})) for one in ("anna@x.org", "bert@x.org"))
    again = ALL.mask(an_intent(data={"to": "anna@x.org"}))
    assert anna.intent.data == bert.intent.data
    assert key(anna) != key(bert)
    assert key(anna) == key(again)


VALUES = [value for values in FOUND.values() for value in values]


@given(st.lists(st.sampled_from([*VALUES, "and", "[KEY_7]", "x", "2026", '"', "\\"]), max_size=12))
def test_whatever_is_replaced_comes_back_to_the_letter(words: list[str]) -> None:
    text = "; ".join(words)
    mask = ALL.mask(an_intent(data={"text": text}))
    covered = mask.intent.data["text"]
    assert mask.reveal(covered) == text
    assert not [one for one in VALUES if one in covered]
    assert ALL.mask(mask.own) == mask  # it is made anew by whoever reads the answer
    assert all(re.fullmatch(r"\[[A-Z]+_\d+\]", one) for one in mask.values)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"hybrid_protect": "mail"}, "must be any of email, phone, card, iban, key"),
        ({"protect": [{"name": "email", "pattern": "x"}]}, "HYBRID_PROTECT=email"),
        ({"protect": [{"name": "o", "pattern": "("}]}, "must be a regular expression of Python"),
        ({"protect": [{"name": "o", "pattern": "x*"}]}, "must find something"),
        ({"protect": [{"name": "o", "pattern": "x" * 501}]}, "500"),
        ({"protect": [{"name": "o", "pattern": p} for p in "xy"]}, "name o is there twice"),
    ],
)
def test_what_cannot_be_looked_for_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        Settings.model_validate(values)


@pytest.mark.parametrize(
    ("words", "kinds"),
    [("all", KINDS), ("card, email,card", ("card", "email")), ("", ()), (("key",), ("key",))],
)
def test_what_is_looked_for_is_said_in_words(words: Any, kinds: tuple[str, ...]) -> None:
    assert Settings.model_validate({"hybrid_protect": words}).hybrid_protect == kinds

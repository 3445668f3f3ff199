"""Intents changed before their replay: what is set, what is refused, and that it stays theirs."""

import json
from base64 import b64encode
from typing import Any

import pytest

from schemas.operations import Change
from schemas.outcome import DeadLetter
from streams.publishing.originals import original_value
from streams.triage.changing import ChangeError, changed, described, differences, read_change
from streams.triage.letter_lines import BadLineError, read_line, with_intent
from streams.triage.pricing import Refusal
from tests.builders import a_letter

INTENT: dict[str, Any] = {
    "type": "message_generation", "userId": "u", "intent_id": "i-1", "maxOutputTokens": 5,
    "data": {"tone": "stern", "messages": [{"role": "user", "content": "x"}], "at": {"a": 1}},
}  # fmt: skip


def letter_of(value: object, **changes: Any) -> DeadLetter:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return a_letter(original={"value": b64encode(raw).decode()}, **changes)


def after(letter: DeadLetter, *texts: str) -> dict[str, Any]:
    found = changed(letter, [read_change(text) for text in texts])
    assert isinstance(found, DeadLetter), found
    document: dict[str, Any] = json.loads(original_value(found) or b"")
    return document


def refusal(letter: DeadLetter, *changes: Change) -> str:
    found = changed(letter, list(changes))
    assert isinstance(found, Refusal)
    return found.message


def test_a_path_leads_to_what_is_set_as_json_or_as_text() -> None:
    letter = letter_of(INTENT)
    found = after(
        letter, "data.tone=friendly", "data.at.b.c=[1, null]", "data.messages.0.content=7 days",
        "max_output_tokens=9", 'metadata.x="5"', "model=null",
    )  # fmt: skip
    assert found["data"] == {
        "tone": "friendly", "messages": [{"role": "user", "content": "7 days"}],
        "at": {"a": 1, "b": {"c": [1, None]}},
    }  # fmt: skip
    # Written in camelCase it is set there, and not beside it.
    assert (found["maxOutputTokens"], "max_output_tokens" in found) == (9, False)
    assert (found["metadata"], found["model"]) == ({"x": "5"}, None)


def test_what_changes_nothing_leaves_the_bytes() -> None:
    letter = letter_of(b'{ "type": "t", "user_id": "u", "data": {"tone": "friendly"} }')
    assert changed(letter, []) is letter
    assert changed(letter, [read_change("data.tone=friendly")]) is letter


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("data.tone", "write a path and a value"), ("=5", "write a path and a value"),
        ("data..x=5", "write a path and a value"), ("tone=x", "an intent has no field tone"),
        ("tenant=x", "whose outcome"), ("intentId=x", "whose outcome"),
        ("priority.x=1", "priority has no fields of its own"),
    ],
)  # fmt: skip
def test_a_path_that_leads_nowhere_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ChangeError, match=problem):
        read_change(text)


def test_what_an_intent_does_not_have_room_for_is_refused() -> None:
    letter = letter_of(INTENT)
    assert "what holds it is no object" in refusal(letter, read_change("data.tone.x=1"))
    assert "the list has 1 items" in refusal(letter, read_change("data.messages.1=1"))
    taken = Change(path=["data", "messages", "0"], removed=True)
    assert "set the list" in refusal(letter, taken)
    assert "no JSON object" in refusal(letter_of(b"["), read_change("data.x=1"))
    assert "half of a surrogate" in refusal(letter, Change(path=["data", "x"], value="\ud800"))


def test_another_intent_is_not_a_replay_of_this_one() -> None:
    letter = letter_of({**INTENT, "deduplicationId": "d", "tenant": "acme"}, tenant="acme")
    for field in ("deduplication_id", "tenant"):
        assert f"{field} says whose" in refusal(letter, Change(path=[field], value="other"))
    assert "must be i-1" in refusal(letter, Change(path=["intent_id"], value="other"))
    whole = {key: value for key, value in INTENT.items() if key != "intent_id"}
    assert "tenant says" in refusal(letter, Change(path=[], value=whole))
    # What nobody could read may become whose it is.
    poison = letter_of(b"{", type=None)
    found = changed(poison, [Change(path=[], value={**whole, "tenant": "acme"})])
    assert isinstance(found, DeadLetter)


def test_an_edit_is_its_differences() -> None:
    edited = json.loads(json.dumps(INTENT))
    edited["data"]["tone"] = "friendly"
    del edited["data"]["at"]["a"]
    edited["model"] = "m"
    edited["maxOutputTokens"] = 5.0  # equal, and yet another number
    found = differences(INTENT, edited)
    assert [described(one) for one in found] == [
        "maxOutputTokens = 5.0", 'data.tone = "friendly"', "data.at.a is taken out", 'model = "m"',
    ]  # fmt: skip
    letter = changed(letter_of(INTENT), found)
    assert isinstance(letter, DeadLetter)
    assert json.loads(original_value(letter) or b"") == edited
    assert described(differences(None, edited)[0]) == "the intent is another"
    assert described(Change(path=["data"], value="x" * 99)).endswith("xx…")


def line(**changes: Any) -> bytes:
    return json.dumps({**letter_of(INTENT).to_dict(), **changes}).encode()


def test_a_line_is_a_letter_with_where_it_stands() -> None:
    where = {"cluster": "c", "place": "workflow.dead-letters:3:7"}
    here = {"cluster": "c", "topic": "workflow.dead-letters"}
    assert read_line(line(**where), **here).place == (3, 7)
    for change in ({"cluster": "d"}, {"place": "x:3:7"}, {"place": "workflow.dead-letters:a:7"}):
        assert read_line(line(**{**where, **change}), **here).place is None
    untouched = read_line(line(intent=INTENT), **here)
    assert with_intent(untouched) is untouched.letter
    edited = read_line(line(intent={**INTENT, "data": {}}), **here)
    assert json.loads(original_value(with_intent(edited)) or b"")["data"] == {}
    with pytest.raises(BadLineError, match="whose outcome"):
        with_intent(read_line(line(intent={**INTENT, "tenant": "x"}), **here))


def test_an_intent_beside_what_is_sealed_or_elsewhere_stands_for_it() -> None:
    document = {"original": {"value": None}, "by_reference": True, "intent": INTENT}
    found = with_intent(read_line(line(**document), cluster="", topic=""))
    assert not found.is_without_content
    document["intent"] = {**INTENT, "tenant": "x"}
    with pytest.raises(BadLineError, match="whose outcome"):
        with_intent(read_line(line(**document), cluster="", topic=""))


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b"\xff", "not UTF-8"), (b"{", "no JSON"), (b"[]", "no object"),
        (b"{}", "no dead letter: .*dead_letter_id"),
        (line(dead_letter_id="x"), "no id of a dead letter"),
        (line(intent_id=""), "1 to 512 signs"), (line(intent=[]), "intent is no object"),
        (line(original={"value": "%"}), "no base64"),
    ],
)  # fmt: skip
def test_a_line_that_is_no_letter_says_why(raw: bytes, problem: str) -> None:
    with pytest.raises(BadLineError, match=problem):
        read_line(raw, cluster="c", topic="t")


def test_what_python_takes_for_the_same_is_another_intent_all_the_same() -> None:
    """An edit from 1 to true was thrown away."""
    letter = letter_of({"type": "t", "user_id": "u", "data": {"flag": 1, "list": [0]}})
    for text in ("data.flag=true", "data.flag=1.0", "data.list=[false]"):
        found = changed(letter, [read_change(text)])
        assert isinstance(found, DeadLetter)
        assert found.original.value != letter.original.value

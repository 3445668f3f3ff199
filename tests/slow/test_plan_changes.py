"""Plans that change intents before their replay, on a broker without workers."""

import json
from base64 import b64decode
from pathlib import Path

import pytest

from tests.integration.test_runs import Place, letters, place
from tests.slow.test_letter_files import published

__all__ = ["place"]

pytestmark = pytest.mark.integration


def test_what_was_planned_with_changes_is_what_is_sent(place: Place) -> None:
    made = letters(3)
    place.write(made)
    arguments = ("--set", "data.tone=friendly", "--set", "data.n=2", "--to-provider", "azure")
    said = place.hybrid("plan", *arguments, "--rate", "0.01")
    assert '  before that: data.tone = "friendly"\n' in said
    assert '  before that: force_provider = "azure"\n  in 3 of them\n' in said
    assert "azure has no limit a minute that is configured" in said
    assert "at least 5 min at --rate 0.01" in said
    assert "no run has ended yet" in said
    plan = place.plan(*arguments)
    assert plan["summary"]["first_provider"] == {"azure": 3}
    assert "done" in place.hybrid("replay", plan["plan_id"], "--yes")
    by_id = {one.dead_letter_id: one for one in made}
    for _, headers, value in published(place, 3):
        letter = by_id[headers["replayed-dead-letter-id"].decode()]
        was = json.loads(b64decode(letter.original.value or ""))
        assert headers["replay-plan"].decode() == plan["plan_id"]
        assert headers["intent-id"].decode() == letter.intent_id
        assert json.loads(value or b"") == {
            **was, "data": {"n": 2, "tone": "friendly"}, "force_provider": "azure",
        }  # fmt: skip
    # It is a replay of the same letter: each once.
    assert place.plan(*arguments)["summary"]["left_out"] == {"replayed": 3}


def test_a_change_that_an_intent_cannot_have_is_said_in_the_plan(place: Place) -> None:
    place.write(letters(2))
    plan = place.plan("--set", "data.n.x=1")
    assert plan["count"] == 0
    assert plan["summary"]["refused_again"] == {
        "not_changeable: data.n.x: what holds it is no object": 2
    }
    refused = place.plan("--set", "priority=soon")["summary"]["refused_again"]
    assert next(iter(refused)).startswith("invalid_fields: priority: ")
    for arguments, sentence in (
        (("--set", "tone=x"), "an intent has no field tone"),
        (("--set", "tenant=x"), "whose outcome it is"),
        (("--to-provider", "nobody"), "no such provider; there are openai, azure"),
        (("--edit",), "--edit is for one dead letter, and 2 match"),
    ):
        assert sentence in place.hybrid("plan", *arguments, status=2)
    frozen = place.hybrid("replay", "p-1", "--set", "data.x=1", "--yes", status=2)
    assert "a plan's list is frozen" in frozen


def editor(place: Place, text: str) -> Path:
    """What stands for an editor: it replaces the word stern."""
    script = place.folder / "editor.sh"
    script.write_text(f'#!/bin/sh\nsed -i "s/{text}/" "$1"\n')
    script.chmod(0o700)
    place.variables["EDITOR"] = str(script)
    return script


def test_one_intent_is_edited_and_the_difference_is_shown(place: Place) -> None:
    (letter,) = letters(1)
    place.write([letter])
    editor(place, '\\"n\\": 0/\\"n\\": 7')
    run = place.start("replay", "--id", letter.dead_letter_id, "--edit", "--yes")
    assert run.wait() == 0, run.said()
    assert '-    "n": 0' in run.stderr
    assert '+    "n": 7' in run.stderr
    assert "  before that: data.n = 7\n" in run.stdout
    ((_, _, value),) = published(place, 1)
    assert json.loads(value or b"")["data"] == {"n": 7}


def test_an_edit_that_makes_it_no_intent_is_refused_and_kept(place: Place) -> None:
    (letter,) = letters(1)
    place.write([letter])
    editor(place, '\\"user_id\\"/\\"user\\"')
    run = place.start("plan", "--edit")
    assert run.wait() == 1, run.said()
    assert "it is no intent for this dead letter: user_id: " in run.stderr
    path = Path(run.stderr.strip().rpartition(" ")[2])
    assert '"user": "u"' in path.read_text()
    path.unlink()

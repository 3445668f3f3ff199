"""Dead letters grouped by what they have in common: pure, and bounded."""

from datetime import timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.outcome import DeadLetter
from streams.publishing.dead_letters import Selection
from streams.publishing.kinds import normalised
from streams.triage.causes import OTHERS, Causes
from tests.builders import NOW, a_letter


def causes(letters: list[DeadLetter], **options: Any) -> Causes:
    found = Causes(**options)
    for letter in letters:
        found.add(letter, "m")
    return found


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("no answer within 30 s", "no answer within 45.5 s"),
        ("the model 'gpt-4o' is not there", "the model 'gpt-3' is not there"),
        ("request req-8f2a9c1b failed", "request req-77aa0012 failed"),
        ("id 0190a1b2-0000-7000-8000-000000000000", "id 0190a1b2-0000-7000-8000-00000000000f"),
        ("see https://a.example/1", "see https://b.example/2?x=y"),
        ("line\n  1", "line 2"),
    ],
)
def test_messages_of_one_cause_are_the_same(one: str, other: str) -> None:
    assert normalised(one) == normalised(other)


def test_messages_of_two_causes_differ() -> None:
    assert normalised("the provider refused the content") != normalised("no answer within 30 s")


@given(st.text(max_size=3_000))
def test_any_message_is_normalised_once(message: str) -> None:
    once = normalised(message)
    assert len(once) <= 200
    assert not any(sign in once for sign in "0123456789")


def test_a_cause_sums_up_its_letters() -> None:
    letters = [
        a_letter(tenant="acme", spent_usd="0.25", failed_at=NOW - timedelta(hours=30)),
        a_letter(tenant="acme", spent_usd=None, failed_at=NOW, suggested_action="do so"),
        a_letter(tenant="b", spent_usd="0.5", failed_at=NOW - timedelta(hours=5)),
        a_letter(reason="rejected", error_code="bad", retriable=False, failed_at=NOW),
    ]
    first, second = causes(letters).sorted()
    document = first.document(NOW)
    assert (first.count, second.count) == (3, 1)
    assert (document["spent_usd"], document["unpriced"], document["tenants"]) == ("0.75", 1, 2)
    assert document["advice"] == "do so"
    assert (document["can_succeed"], second.document(NOW)["can_succeed"]) == (True, False)
    assert document["first_at"] == "2026-01-30T03:30:00.000Z"
    assert document["last_at"] == "2026-01-31T09:30:00.000Z"
    assert sum(document["by_hour"]) == 2
    assert document["by_hour"][-1] == 1


@pytest.mark.parametrize(
    ("hours_ago", "trend"),
    [
        ([0, 1], "new"),
        ([0, 0, 1, 10], "rising"),
        (list(range(24)), "steady"),
        ([0, *range(2, 24), *range(2, 24), *range(2, 24)], "falling"),
        ([30, 40], "over"),
    ],
)
def test_a_cause_says_where_it_goes(hours_ago: list[int], trend: str) -> None:
    letters = [a_letter(failed_at=NOW - timedelta(hours=ago)) for ago in hours_ago]
    assert causes(letters).sorted()[0].trend(NOW) == trend


def test_what_is_told_apart_is_bounded() -> None:
    words = [f"{chr(97 + n % 26)}{chr(97 + n // 26)} failed" for n in range(60)]
    letters = [a_letter(error_message=word, failed_at=NOW) for word in words]
    found = causes(letters, most=10)
    assert len(found) == 11
    rest = [one for one in found.sorted() if one.kind.message == OTHERS]
    assert [one.count for one in rest] == [50]


@given(st.lists(st.sampled_from(["timeout 1", "timeout 2", "refused", "'x' is wrong"])))
def test_no_letter_is_lost_and_none_counts_twice(messages: list[str]) -> None:
    letters = [a_letter(error_message=text, failed_at=NOW, spent_usd="0.1") for text in messages]
    found = causes(letters, most=2).sorted()
    assert sum(one.count for one in found) == len(letters)
    assert sum((one.spent_usd for one in found), Decimal(0)) == Decimal("0.1") * len(letters)


@pytest.mark.parametrize(
    ("words", "lets_by"),
    [
        ({}, True),
        ({"reason": "exhausted", "tenant": "acme", "type": "t", "provider": "openai"}, True),
        ({"reason": "rejected"}, False),
        ({"tenant": "other"}, False),
        ({"type": "other"}, False),
        ({"error_class": "auth"}, False),
        ({"intent_id": "i-2"}, False),
        ({"provider": "azure"}, False),
        ({"id": "i-1"}, True),
        ({"id": "i-2"}, False),
        ({"id": 'what "json" escapes'}, True),  # it cannot be said before the letter is read
    ],
)
def test_a_record_that_is_not_meant_is_known_before_its_letter_is_read(
    words: dict[str, str], lets_by: bool
) -> None:
    letter = a_letter(tenant="acme", type="t")
    own = [("tenant", b"acme"), ("intent-type", b"t"), ("intent-id", b"i-1")]
    family = [("__dlq.errors.reason", b"exhausted"), ("__dlq.errors.class", b"timeout")]
    for headers in ([*own, *family], []):
        record = SimpleNamespace(value=letter.to_json(), headers=headers)
        selection = Selection(**words)  # type: ignore[arg-type] # words of the table
        known = bool(headers) or not {"provider", "id"}.isdisjoint(words)
        assert selection.sieve().lets_by(record) is (lets_by or not known)
        if selection.takes(letter):
            assert selection.sieve().lets_by(record)

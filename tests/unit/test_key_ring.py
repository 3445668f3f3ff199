"""Which of several keys is used, and what a refusal says of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.credentials.ring import KeyRing, Verdict
from schemas.vocabulary import FailureKind

AUTH, QUOTA, LIMIT, REFUSED = (
    FailureKind.AUTH, FailureKind.QUOTA, FailureKind.RATE_LIMIT, FailureKind.REFUSED,
)  # fmt: skip


def refuse(
    ring: KeyRing, now: float, kind: FailureKind = AUTH, wait: float | None = None
) -> tuple[int, Verdict]:
    number, generation = ring.choose(now)
    return number, ring.refused(number, generation, now, kind=kind, retry_after_s=wait)


def answer(ring: KeyRing, now: float, rest_s: float = 0.0) -> tuple[int, float]:
    number, generation = ring.choose(now)
    return number, ring.answered(number, generation, now, rest_s=rest_s)


def test_keys_take_turns() -> None:
    ring = KeyRing(3)
    assert [answer(ring, 0)[0] for _ in range(6)] == [0, 1, 2, 0, 1, 2]
    assert ring.usable(0) == 3


@pytest.mark.parametrize("kind", [AUTH, QUOTA])
def test_a_refused_key_rests_twice_as_long_each_time_and_the_others_are_used(
    kind: FailureKind,
) -> None:
    ring, now = KeyRing(2), 0.0
    assert refuse(ring, now, kind) == (0, Verdict(0.0, suspended=True))
    for wait in (30, 60, 120, 240, 480, 600, 600):
        assert {answer(ring, now)[0] for _ in range(4)} == {1}
        assert {answer(ring, now + wait - 0.1)[0] for _ in range(4)} == {1}
        now += wait
        assert refuse(ring, now, kind)[0] == 0
    assert ring.usable(now) == 1


def test_a_suspended_key_is_tried_by_one_call_at_a_time_and_an_answer_frees_it() -> None:
    ring = KeyRing(2)
    refuse(ring, 0)
    answer(ring, 0)
    probe = ring.choose(30)
    assert probe[0] == 0
    assert {answer(ring, 30)[0] for _ in range(3)} == {1}
    ring.cancelled(*probe)
    probe = ring.choose(30)
    assert probe[0] == 0
    ring.answered(*probe, 31)
    assert ring.usable(31) == 2
    assert {answer(ring, 31)[0] for _ in range(2)} == {0, 1}


def test_the_last_key_that_is_refused_is_the_providers_refusal() -> None:
    ring = KeyRing(2)
    assert refuse(ring, 0)[1].another_s == 0
    assert refuse(ring, 0)[1] == Verdict(None, suspended=True)
    assert ring.choose(0)[0] == 0, "the breaker lets a probe through: the one whose rest ends first"
    assert ring.choose(0)[0] == 1


def test_a_throttled_key_rests_as_long_as_it_was_told_or_a_little_longer_each_time() -> None:
    ring = KeyRing(2)
    assert refuse(ring, 0, LIMIT, 7) == (0, Verdict(0.0))
    assert {answer(ring, 6.9)[0] for _ in range(3)} == {1}
    assert answer(ring, 7)[0] == 0
    ring = KeyRing(2)
    now = 0.0
    for wait in (1, 2, 4, 8, 16, 32, 60, 60):
        assert refuse(ring, now, LIMIT)[0] == 0
        assert {answer(ring, now + wait - 0.1)[0] for _ in range(2)} == {1}
        now += wait


def test_when_all_keys_are_throttled_the_first_rest_to_end_is_the_providers() -> None:
    ring = KeyRing(2)
    refuse(ring, 0, LIMIT, 9)
    assert refuse(ring, 1, LIMIT, 20) == (1, Verdict(None))
    assert ring.soonest_s(1) == 8


def test_a_bad_key_beside_a_throttled_one_waits_for_that() -> None:
    ring = KeyRing(2)
    refuse(ring, 0, LIMIT, 2)
    assert refuse(ring, 1, AUTH)[1] == Verdict(1.0, suspended=True)


def test_calls_that_began_before_a_verdict_have_no_say_in_it() -> None:
    ring = KeyRing(2)
    early = [ring.choose(0) for _ in range(20)][::2]
    verdicts = [ring.refused(*one, 0, kind=AUTH, retry_after_s=None) for one in early]
    assert [one.suspended for one in verdicts] == [True, *[False] * 9]
    assert {one.another_s for one in verdicts} == {0.0}
    ring.answered(*early[0], 1)
    ring.cancelled(*early[0])
    assert ring.usable(1) == 1
    assert ring.choose(30)[0] == 0, "suspended once, not ten times"


def test_a_refusal_without_a_reason_is_the_keys_only_if_others_are_answered() -> None:
    ring = KeyRing(2)
    for _ in range(6):
        assert refuse(ring, 0, REFUSED)[1] == Verdict(None), "nobody is answered"
    ring = KeyRing(2)
    for number in range(3):
        found, verdict = refuse(ring, 0, REFUSED)
        assert (found, verdict) == (
            0,
            Verdict(0.0, suspended=True) if number == 2 else Verdict(None),
        )
        answer(ring, 0)
    assert ring.usable(0) == 1


def test_what_says_nothing_of_a_key_changes_nothing() -> None:
    ring = KeyRing(2)
    assert refuse(ring, 0, FailureKind.SERVER_ERROR) == (0, Verdict(None))
    assert ring.usable(0) == 2


def test_a_renewed_key_is_asked_at_once_and_one_that_is_refused_too_is_not() -> None:
    ring = KeyRing(1)
    refuse(ring, 0)
    ring.renewed(0)
    assert ring.another_s(0, final=True) == 0
    assert refuse(ring, 0)[1] == Verdict(None, suspended=True)
    ring.renewed(0)
    assert (ring.another_s(0, final=True), ring.usable(0)) == (None, 0)
    ring.replaced(0)
    assert ring.usable(0) == 1, "nobody has refused this one"


def test_what_a_provider_asks_of_one_key_is_no_rest_of_the_others() -> None:
    ring = KeyRing(2)
    assert answer(ring, 0, rest_s=9) == (0, 0.0)
    assert answer(ring, 1, rest_s=5) == (1, 5.0)
    assert ring.usable(1) == 0
    assert KeyRing(1).answered(0, 0, 0, rest_s=3) == 3


@given(
    st.integers(1, 4),
    st.lists(
        st.tuples(st.floats(0, 50), st.sampled_from([None, AUTH, LIMIT, REFUSED]), st.booleans())
    ),
)
def test_there_is_always_a_key_and_it_is_a_usable_one_where_there_is_one(
    count: int, steps: list[tuple[float, FailureKind | None, bool]]
) -> None:
    ring, now = KeyRing(count), 0.0
    for seconds, kind, given_back in steps:
        now += seconds
        usable = ring.usable(now)
        number, generation = ring.choose(now)
        assert 0 <= number < count
        if not given_back:
            continue
        if kind is None:
            ring.answered(number, generation, now)
            assert ring.usable(now) >= min(usable, 1)
            continue
        verdict = ring.refused(number, generation, now, kind=kind, retry_after_s=None)
        if verdict.another_s == 0 and kind in {AUTH, LIMIT}:
            assert ring.usable(now) >= 1

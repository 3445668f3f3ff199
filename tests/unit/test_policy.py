"""What follows a failed call."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.deciding.failures import Failure, KeyNote
from agents.deciding.policy import (
    Defer,
    Fallback,
    GiveUp,
    Go,
    Limits,
    Override,
    Past,
    Retry,
    RetryPolicy,
    Situation,
    Wait,
    choose,
    decide,
    rung,
)
from agents.deciding.situation import REMEMBERED_MS
from schemas.vocabulary import DeadLetterReason, FailureKind
from tests.builders import NOW_MS

POLICY = RetryPolicy()
PAST = ("deferrals", "outage_ms", "answered_ms")
PASSING = (FailureKind.TIMEOUT, FailureKind.CONNECTION, FailureKind.SERVER_ERROR)
NEEDS_AN_OPERATOR = (FailureKind.QUOTA, FailureKind.AUTH, FailureKind.DEPLOYMENT_NOT_FOUND)
THE_INTENTS_OWN = (
    FailureKind.BAD_REQUEST,
    FailureKind.CONTEXT_LENGTH,
    FailureKind.CONTENT_FILTER,
)


def a_failure(kind: FailureKind, retry_after_ms: int | None = None) -> Failure:
    return Failure(kind, "code", "message", retry_after_ms=retry_after_ms)


def a_situation(**changes: Any) -> Situation:
    values: dict[str, Any] = {
        "providers": ("openai", "azure"),
        "position": 0,
        "calls_here": 1,
        "now_ms": NOW_MS,
        "limits": Limits(),
        "spent_usd": Decimal(0),
    }
    past = {name: changes.pop(name) for name in PAST if name in changes}
    return Situation(**{**values, **changes}, past=Past(**past))


@pytest.mark.parametrize("kind", PASSING)
@pytest.mark.parametrize(("calls", "wait"), [(1, 1.0), (2, 2.0), (3, 5.0)])
def test_what_passes_by_itself_is_retried_after_1_2_5_seconds(
    kind: FailureKind, calls: int, wait: float
) -> None:
    assert decide(POLICY, a_situation(calls_here=calls), a_failure(kind), dice=0) == Retry(wait)


@pytest.mark.parametrize("kind", [FailureKind.AUTH, FailureKind.QUOTA, FailureKind.RATE_LIMIT])
def test_with_another_key_the_same_provider_is_asked_at_once_whatever_a_users_line_says(
    kind: FailureKind,
) -> None:
    policy = RetryPolicy(overrides={("openai", kind): Override(defer_s=600)})
    failure = replace(a_failure(kind, 60_000), key=KeyNote("A", 2, another_ms=0))
    assert decide(policy, a_situation(calls_here=0), failure, dice=0) == Retry(0.0)
    assert isinstance(
        decide(policy, a_situation(), replace(failure, key=KeyNote("A", 2)), dice=0), Defer
    )


def test_another_key_is_waited_for_a_little_and_never_past_the_deadline() -> None:
    failure = replace(a_failure(FailureKind.AUTH), key=KeyNote("A", 2, another_ms=4_000))
    assert decide(POLICY, a_situation(), failure, dice=0) == Retry(4.0)
    late = a_situation(limits=Limits(deadline_at_ms=NOW_MS + 3_000))
    assert decide(POLICY, late, failure, dice=0) == Fallback(1, "auth")
    far = replace(failure, key=KeyNote("A", 2, another_ms=6_000))
    assert decide(POLICY, a_situation(), far, dice=0) == Fallback(1, "auth")


def test_jitter_adds_at_most_ten_percent() -> None:
    decision = decide(POLICY, a_situation(), a_failure(FailureKind.TIMEOUT), dice=0.999)
    assert isinstance(decision, Retry)
    assert 1.0 < decision.delay_s < 1.1


@pytest.mark.parametrize("kind", PASSING)
def test_after_four_calls_the_next_provider_is_tried(kind: FailureKind) -> None:
    decision = decide(POLICY, a_situation(calls_here=4), a_failure(kind), dice=0)
    assert decision == Fallback(1, kind.value)


@pytest.mark.parametrize("kind", PASSING)
def test_an_outage_of_all_providers_defers_and_only_then_gives_up(kind: FailureKind) -> None:
    last = a_situation(position=1, calls_here=4)
    for deferrals, delay in enumerate(POLICY.defer_delays):
        decision = decide(
            POLICY,
            a_situation(position=1, calls_here=4, deferrals=deferrals),
            a_failure(kind),
            dice=0,
        )
        assert decision == Defer(deferrals, delay, NOW_MS + int(delay * 1000), kind.value)
    spent = a_situation(position=1, calls_here=4, deferrals=3)
    assert decide(POLICY, spent, a_failure(kind), dice=0) == GiveUp(DeadLetterReason.EXHAUSTED)
    assert last.position == 1


@pytest.mark.parametrize("kind", THE_INTENTS_OWN)
def test_a_wrong_request_is_refused_after_one_call(kind: FailureKind) -> None:
    assert decide(POLICY, a_situation(), a_failure(kind), dice=0) == GiveUp(
        DeadLetterReason.REJECTED
    )


@pytest.mark.parametrize("kind", NEEDS_AN_OPERATOR)
def test_a_provider_that_needs_an_operator_is_left_at_once(kind: FailureKind) -> None:
    assert decide(POLICY, a_situation(), a_failure(kind), dice=0) == Fallback(1, kind.value)


@pytest.mark.parametrize("kind", [*NEEDS_AN_OPERATOR, FailureKind.RATE_LIMIT])
def test_an_intent_never_dies_of_a_key_a_quota_or_a_rate_limit(kind: FailureKind) -> None:
    situation = a_situation(position=1, calls_here=4, deferrals=1000)
    assert isinstance(decide(POLICY, situation, a_failure(kind), dice=0), Defer)


LACKS = FailureKind.MODEL_NOT_FOUND


@pytest.mark.parametrize(
    ("situation", "wanted"),
    [
        ({}, Fallback(1, "model_not_found")),
        ({"providers": ("azure",)}, GiveUp(DeadLetterReason.REJECTED)),
        ({"position": 1, "earlier": (LACKS,)}, GiveUp(DeadLetterReason.REJECTED)),
        ({"position": 1, "earlier": (FailureKind.BAD_OUTPUT,)}, GiveUp(DeadLetterReason.EXHAUSTED)),
        # Who was out, or did not answer, may have it.
        ({"waits_s": (0.0, 60.0)}, "defer"),
        ({"position": 1, "waits_s": (60.0, 0.0)}, "defer"),
        ({"position": 1, "earlier": (FailureKind.TIMEOUT,)}, "defer"),
    ],
)
def test_a_model_that_the_intent_named_is_looked_for_at_every_provider(
    situation: dict[str, Any], wanted: object
) -> None:
    decision = decide(POLICY, a_situation(**situation), a_failure(LACKS), dice=0)
    assert ("defer" if isinstance(decision, Defer) else decision) == wanted


def test_a_short_retry_after_is_waited_for_and_a_long_one_is_not() -> None:
    short = decide(POLICY, a_situation(), a_failure(FailureKind.RATE_LIMIT, 3_000), dice=0)
    long = decide(POLICY, a_situation(), a_failure(FailureKind.RATE_LIMIT, 30_000), dice=0)
    assert short == Retry(3.0)
    assert long == Fallback(1, "rate_limit")


def test_a_deferral_waits_at_least_as_long_as_the_provider_asked() -> None:
    situation = a_situation(position=1)
    decision = decide(POLICY, situation, a_failure(FailureKind.RATE_LIMIT, 30_000), dice=0)
    assert decision == Defer(1, 60.0, NOW_MS + 30_000, "rate_limit")


def test_an_answer_that_is_not_what_was_asked_for_gets_one_repair() -> None:
    failure = a_failure(FailureKind.BAD_OUTPUT)
    assert decide(POLICY, a_situation(), failure, dice=0) == Retry(0.0, repair=True)
    assert decide(POLICY, a_situation(repairs_here=1), failure, dice=0) == Fallback(1, "bad_output")
    last = a_situation(position=1, repairs_here=1, earlier=(FailureKind.BAD_OUTPUT,))
    assert decide(POLICY, last, failure, dice=0) == GiveUp(DeadLetterReason.EXHAUSTED)


def test_no_wait_goes_past_the_deadline() -> None:
    soon = Limits(deadline_at_ms=NOW_MS + 500)
    failure = a_failure(FailureKind.TIMEOUT)
    assert decide(POLICY, a_situation(limits=soon), failure, dice=0) == Fallback(1, "timeout")
    alone = a_situation(limits=soon, position=1, calls_here=4)
    assert decide(POLICY, alone, failure, dice=0) == GiveUp(DeadLetterReason.DEADLINE)


def test_the_money_limit_ends_the_intent() -> None:
    situation = a_situation(limits=Limits(max_cost_usd=Decimal(1)), spent_usd=Decimal(1))
    decision = decide(POLICY, situation, a_failure(FailureKind.TIMEOUT), dice=0)
    assert decision == GiveUp(DeadLetterReason.BUDGET)


@given(
    kinds=st.lists(st.sampled_from(list(FailureKind)), min_size=60, max_size=60),
    waits=st.lists(st.one_of(st.none(), st.integers(0, 100_000_000)), min_size=60, max_size=60),
    dice=st.floats(0, 0.999),
    deadline=st.one_of(st.none(), st.integers(1, 100_000)),
)
def test_every_sequence_of_failures_ends(
    kinds: list[FailureKind], waits: list[int | None], dice: float, deadline: int | None
) -> None:
    """At most 4 calls and a repair on a provider, each provider once, never too early or too late."""
    now, position, calls_here, repairs = NOW_MS, 0, 1, 0
    limits = Limits(deadline_at_ms=None if deadline is None else NOW_MS + deadline)
    for kind, wait in zip(kinds, waits, strict=True):
        situation = a_situation(
            now_ms=now,
            position=position,
            calls_here=calls_here,
            repairs_here=repairs,
            limits=limits,
        )
        failure = a_failure(kind, wait)
        decision = decide(POLICY, situation, failure, dice=dice)
        match decision:
            case Retry():
                calls_here += 1
                repairs += int(decision.repair)
                now += int(decision.delay_s * 1000)
                assert calls_here <= 5
                changed = decision.repair or kind is FailureKind.UNSUPPORTED_PARAMETER
                if not changed and wait is not None:  # another request need not wait
                    assert decision.delay_s * 1000 >= wait
                if not decision.repair and limits.deadline_at_ms is not None:
                    assert now < limits.deadline_at_ms
            case Fallback():
                assert decision.position == position + 1
                position, calls_here, repairs = decision.position, 1, 0
            case Defer():
                assert decision.not_before_ms >= now + (wait or 0) or wait is None
                return
            case GiveUp():
                return
    pytest.fail("the sequence did not end")


# ── before a call ───────────────────────────────────────────────────────────────────────────


def test_a_provider_that_is_free_is_called() -> None:
    assert choose(POLICY, a_situation(waits_s=(0.0, 0.0))) == Go()


def test_a_short_wait_waits_even_when_another_provider_is_free() -> None:
    assert choose(POLICY, a_situation(waits_s=(3.0, 0.0))) == Wait(3.0)


def test_nobody_waits_for_a_probe_of_a_provider_that_is_out_while_another_is_free() -> None:
    situation = a_situation(waits_s=(0.5, 0.0), out=(True, False))
    assert choose(POLICY, situation) == Fallback(1, "unavailable")


def test_a_long_wait_or_one_too_many_turns_to_the_next_provider() -> None:
    assert choose(POLICY, a_situation(waits_s=(30.0, 0.0))) == Fallback(1, "unavailable")
    waited = a_situation(waits_s=(1.0, 0.0), waited_s=4.5)
    assert choose(POLICY, waited) == Fallback(1, "unavailable")


def test_nobody_to_call_defers_without_using_the_intent_up() -> None:
    step = choose(POLICY, a_situation(waits_s=(30.0, 600.0)))
    assert step == Defer(0, 10.0, NOW_MS + 10_000, "unavailable", counted=False)


def test_what_cannot_wait_that_long_ends_by_its_deadline() -> None:
    limits = Limits(deadline_at_ms=NOW_MS + 5_000)
    step = choose(POLICY, a_situation(waits_s=(30.0, 600.0), limits=limits))
    assert step == GiveUp(DeadLetterReason.DEADLINE)


def test_a_retry_is_not_waited_for_when_the_breaker_has_opened_meanwhile() -> None:
    situation = a_situation(waits_s=(30.0, 0.0), out=(True, False))
    decision = decide(POLICY, situation, a_failure(FailureKind.SERVER_ERROR), dice=0)
    assert decision == Fallback(1, "server_error")


def test_an_outage_never_uses_an_intent_up() -> None:
    situation = a_situation(
        position=1, calls_here=4, deferrals=99, waits_s=(30.0, 30.0), out=(True, True)
    )
    decision = decide(POLICY, situation, a_failure(FailureKind.TIMEOUT), dice=0)
    # Not counted either: what fails once after the outage has all its deferrals before it.
    assert decision == Defer(0, 10.0, NOW_MS + 10_000, "timeout", counted=False, outage_ms=NOW_MS)


BEFORE_MS = NOW_MS - 30_000


@pytest.mark.parametrize(
    ("kind", "answered_ms", "goes_on"),
    [
        *((kind, None, True) for kind in PASSING),
        (FailureKind.TIMEOUT, BEFORE_MS - 1, True),
        (FailureKind.TIMEOUT, BEFORE_MS, False),
        (FailureKind.REFUSED, None, False),  # that is an answer
    ],
)
def test_an_outage_that_the_intent_remembers_goes_on_until_anybody_is_answered(
    kind: FailureKind, answered_ms: int | None, *, goes_on: bool
) -> None:
    situation = a_situation(
        position=1, calls_here=4, deferrals=3, outage_ms=BEFORE_MS, answered_ms=answered_ms
    )
    decision = decide(POLICY, situation, a_failure(kind), dice=0)
    waits = Defer(1, 60.0, NOW_MS + 30_000, kind.value, counted=False, outage_ms=BEFORE_MS)
    assert decision == (waits if goes_on else GiveUp(DeadLetterReason.EXHAUSTED))


@pytest.mark.parametrize(("ago_ms", "goes_on"), [(0, True), (1, False)])
def test_what_fails_three_days_after_an_outage_was_seen_fails_by_itself(
    ago_ms: int, *, goes_on: bool
) -> None:
    seen_ms = NOW_MS - REMEMBERED_MS - ago_ms
    situation = a_situation(position=1, calls_here=4, deferrals=3, outage_ms=seen_ms)
    decision = decide(POLICY, situation, a_failure(FailureKind.SERVER_ERROR), dice=0)
    assert isinstance(decision, Defer) is goes_on


def test_nobody_to_call_is_an_outage_where_a_breaker_says_so() -> None:
    for out, seen in (((True, False), NOW_MS), ((False, False), BEFORE_MS)):
        situation = a_situation(waits_s=(30.0, 30.0), out=out, outage_ms=BEFORE_MS)
        step = choose(POLICY, situation)
        assert isinstance(step, Defer)
        assert step.outage_ms == seen


@given(
    waits=st.lists(st.floats(0, 100), min_size=1, max_size=4),
    waited=st.floats(0, 10),
    data=st.data(),
)
def test_choosing_never_goes_back_and_never_waits_long(
    waits: list[float], waited: float, data: st.DataObject
) -> None:
    position = data.draw(st.integers(0, len(waits) - 1))
    situation = a_situation(
        providers=tuple(f"p{number}" for number in range(len(waits))),
        position=position,
        waits_s=tuple(waits),
        waited_s=waited,
    )
    match choose(POLICY, situation):
        case Go():
            assert waits[position] == 0
        case Wait(delay_s=delay):
            assert delay == waits[position] <= POLICY.inline_wait_s
        case Fallback(position=later):
            assert later > position
            assert waits[later] <= POLICY.inline_wait_s
        case Defer():
            assert all(wait > POLICY.inline_wait_s for wait in waits[position:])
        case GiveUp():
            pytest.fail("nothing was at its end")


@pytest.mark.parametrize(("wanted_s", "chosen"), [(0, 0), (30, 0), (31, 1), (60, 1), (1e6, 1)])
def test_a_wait_takes_the_shortest_topic_that_is_long_enough_else_the_longest(
    wanted_s: float, chosen: int
) -> None:
    delays = (30.0, 60.0)
    policy = replace(POLICY, defer_delays=delays)
    assert rung(policy, wanted_s) == (chosen, delays[chosen])

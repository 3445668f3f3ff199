"""What is foretold of a new intent is what the policy says, and nothing else."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from agents.deciding.decisions import Defer, Fallback, GiveUp, Go, Retry, Wait
from agents.deciding.failures import Failure
from agents.deciding.foresight import ASKED, foresee
from agents.deciding.policy import choose, decide
from agents.deciding.situation import Limits, Override, RetryPolicy, Situation
from schemas.vocabulary import DeadLetterReason, FailureKind

ROUTE = ("openai", "azure")


def test_a_free_provider_is_called_and_what_follows_is_the_table() -> None:
    found = foresee(RetryPolicy(), ROUTE, waits_s=(0, 0), out=(False, False), now_ms=0)
    assert found.steps == ((0, Go()),)
    assert found.position == 0
    after = dict(found.after)
    assert after[FailureKind.TIMEOUT] == Retry(1.0)
    assert after[FailureKind.AUTH] == Fallback(1, "auth")
    assert after[FailureKind.BAD_REQUEST] == GiveUp(DeadLetterReason.REJECTED)


def test_where_a_breaker_is_open_the_next_one_is_called_and_after_the_last_it_waits() -> None:
    found = foresee(RetryPolicy(), ROUTE, waits_s=(900, 0), out=(True, False), now_ms=0)
    assert found.steps == ((0, Fallback(1, "unavailable")), (1, Go()))
    both = foresee(RetryPolicy(), ROUTE, waits_s=(900, 900), out=(True, True), now_ms=0)
    ((_, step),) = both.steps
    assert isinstance(step, Defer)
    full = foresee(RetryPolicy(), ("openai",), waits_s=(2,), out=(False,), now_ms=0)
    assert full.steps == ((0, Wait(2.0)),)


def test_a_users_own_line_of_the_table_holds_here_too() -> None:
    own = RetryPolicy(overrides={("openai", FailureKind.TIMEOUT): Override(provider="azure")})
    found = foresee(own, ROUTE, waits_s=(0, 0), out=(False, False), now_ms=0)
    assert dict(found.after)[FailureKind.TIMEOUT] == Fallback(1, "timeout")


@given(st.lists(st.tuples(st.floats(0, 1000), st.booleans()), min_size=1, max_size=4))
def test_each_step_and_what_follows_is_the_policys_own_word(
    seen: list[tuple[float, bool]],
) -> None:
    policy, route = RetryPolicy(), tuple(f"p{number}" for number in range(len(seen)))
    waits, out = tuple(one for one, _ in seen), tuple(one for _, one in seen)
    found = foresee(policy, route, waits_s=waits, out=out, now_ms=7)

    def at(position: int, calls: int) -> Situation:
        return Situation(
            providers=route, position=position, calls_here=calls, now_ms=7, limits=Limits(),
            spent_usd=Decimal(0), waits_s=waits, out=out,
        )  # fmt: skip

    assert [step for _, step in found.steps] == [
        choose(policy, at(position, 0)) for position, _ in found.steps
    ]
    assert [kind for kind, _ in found.after] == list(ASKED)
    for kind, decision in found.after:
        failure = Failure(kind, kind.value, "")
        assert decision == decide(policy, at(found.position, 1), failure, dice=0.0)

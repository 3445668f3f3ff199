"""Breakers, limits and turns: what a provider can take, and who is next."""

from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agents.capacity.breaker import BreakerPolicy, BreakerState, CircuitBreaker
from agents.capacity.limiter import Limiter, ProviderLimits
from agents.capacity.turns import BreakerChange, Capacity
from agents.clock import ManualClock
from agents.deciding.failures import Failure, KeyNote
from agents.providers.rate_headers import rest_asked_for
from agents.task import Completed, Failed
from schemas.vocabulary import DeadLetterReason, ErrorClass, FailureKind
from streams.worker.dead_letter_breaker import DeadLetterBreaker
from streams.worker.fair_queue import FairQueue
from tests.builders import NOW, a_result, a_task, an_attempt

POLICY = BreakerPolicy()


def end(
    health: CircuitBreaker, now: float, kind: FailureKind | None, wait_s: float | None = None
) -> None:
    probe = health.begin(now)
    health.end(now, kind, probe=probe, retry_after_s=wait_s)


def opened(kind: FailureKind = FailureKind.SERVER_ERROR) -> CircuitBreaker:
    health = CircuitBreaker(POLICY)
    for _ in range(POLICY.calls):
        end(health, 0.0, kind)
    return health


def test_twenty_calls_can_open_the_breaker_and_nineteen_cannot() -> None:
    health = CircuitBreaker(POLICY)
    for number in range(19):
        end(health, number, FailureKind.SERVER_ERROR)
    assert health.state is BreakerState.CLOSED
    end(health, 19, FailureKind.TIMEOUT)
    assert (health.state, health.wait_s(19)) == (BreakerState.OPEN, 30.0)


def test_an_outage_is_seen_after_ten_failures_however_busy_the_minute_was() -> None:
    health = CircuitBreaker(POLICY)
    for number in range(1_200):
        end(health, number / 20, None)
    for number in range(9):
        end(health, 60 + number / 20, FailureKind.SERVER_ERROR)
    assert health.state is BreakerState.CLOSED
    end(health, 60.5, FailureKind.SERVER_ERROR)
    assert health.state is BreakerState.OPEN


def test_failures_older_than_a_minute_do_not_count() -> None:
    health = CircuitBreaker(POLICY)
    for number in range(100):
        end(health, number * 10.0, FailureKind.SERVER_ERROR)
    assert health.state is BreakerState.CLOSED


def test_fewer_than_half_failing_leave_it_closed() -> None:
    health = CircuitBreaker(POLICY)
    for number in range(200):
        end(health, number / 10, FailureKind.CONNECTION if number % 5 < 2 else None)
    assert health.state is BreakerState.CLOSED


@pytest.mark.parametrize("kind", [FailureKind.BAD_REQUEST, FailureKind.RATE_LIMIT, None])
def test_what_is_not_the_providers_failure_never_opens_it(kind: FailureKind | None) -> None:
    assert opened(kind).state is BreakerState.CLOSED  # type: ignore[arg-type]


def test_after_its_time_one_probe_at_a_time_and_two_good_ones_close_it() -> None:
    health = opened()
    assert health.begin(30.0)
    assert health.wait_s(30.0) > 0, "the second waits for the first"
    health.end(30.1, None, probe=True, retry_after_s=None)
    assert health.state is BreakerState.HALF_OPEN
    assert health.wait_s(30.1) == 0
    end(health, 30.2, None)
    assert health.state is BreakerState.CLOSED


def test_a_failed_probe_opens_it_for_the_whole_time_again() -> None:
    health = opened()
    end(health, 30.0, FailureKind.TIMEOUT)
    assert (health.state, health.wait_s(30.0)) == (BreakerState.OPEN, 30.0)


@pytest.mark.parametrize(
    "kind", [FailureKind.AUTH, FailureKind.QUOTA, FailureKind.DEPLOYMENT_NOT_FOUND]
)
def test_one_refusal_takes_a_provider_down_until_a_probe_is_answered(kind: FailureKind) -> None:
    health = CircuitBreaker(POLICY)
    end(health, 0.0, kind)
    assert (health.state, health.cause, health.wait_s(0.0)) == (BreakerState.DOWN, kind, 30.0)
    end(health, 30.0, kind)
    assert health.wait_s(30.0) == 30.0
    end(health, 60.0, None)
    end(health, 60.0, None)
    assert health.state is BreakerState.CLOSED


def refuse(health: CircuitBreaker, now: float, *whose: str) -> None:
    for one in whose:
        health.end(
            now,
            FailureKind.REFUSED,
            probe=health.begin(now),
            retry_after_s=None,
            evidence=one,
        )


def test_a_refusal_without_a_reason_is_the_providers_only_after_several_intents() -> None:
    health = CircuitBreaker(POLICY)
    refuse(health, 0.0, "a", "a", "a", "b", "b")
    assert health.state is BreakerState.CLOSED
    end(health, 1.0, None)  # somebody else was answered: it is not the key
    refuse(health, 2.0, "c", "d")
    assert health.state is BreakerState.CLOSED
    refuse(health, 3.0, "e")
    assert (health.state, health.cause) == (BreakerState.DOWN, FailureKind.REFUSED)
    late = FailureKind.REFUSED  # it was on its way when the breaker opened
    health.end(4.0, late, probe=False, retry_after_s=None, evidence="g")
    assert (health.state, health.wait_s(4.0)) == (BreakerState.DOWN, 29.0)
    refuse(health, 33.0, "f")
    assert (health.state, health.wait_s(33.0)) == (BreakerState.DOWN, 30.0)


def test_a_refused_probe_says_that_a_provider_which_failed_is_there_again() -> None:
    health = opened()
    refuse(health, 30.0, "a", "b")
    assert health.state is BreakerState.CLOSED


@pytest.mark.parametrize("kind", [FailureKind.AUTH, FailureKind.TIMEOUT, None])
def test_an_answer_that_comes_late_changes_nothing_about_an_open_breaker(
    kind: FailureKind | None,
) -> None:
    """It was on its way when the breaker opened; only a probe says how things are now."""
    health = opened()
    health.end(10.0, kind, probe=False, retry_after_s=None)
    assert (health.state, health.wait_s(10.0)) == (BreakerState.OPEN, 20.0)


def test_a_probe_that_is_told_to_wait_has_found_it_busy() -> None:
    health = opened()
    probe = health.begin(30.0)
    health.end(30.0, FailureKind.RATE_LIMIT, probe=probe, retry_after_s=5.0)
    assert (probe, health.wait_s(30.0)) == (True, 5.0)


def test_a_probe_that_tells_nothing_leaves_its_place_to_another() -> None:
    health = opened()
    for _ in range(20):
        probe = health.begin(30.0)
        assert probe
        health.cancel(probe=probe)
    assert health.wait_s(30.0) == 0.0


def test_a_rate_limit_makes_it_rest_as_long_as_the_newest_answer_says() -> None:
    health = CircuitBreaker(POLICY)
    end(health, 0.0, FailureKind.RATE_LIMIT, 7.0)
    assert health.wait_s(1.0) == 6.0
    end(health, 1.0, FailureKind.RATE_LIMIT, 20.0)
    assert health.wait_s(1.0) == 20.0
    assert health.state is BreakerState.CLOSED


class HealthMachine(RuleBasedStateMachine):
    """Whatever calls end however: an open breaker lets few through, and none before its time."""

    def __init__(self) -> None:
        super().__init__()
        self.health = CircuitBreaker(POLICY)
        self.now = 0.0
        self.out: list[bool] = []
        self.probes: list[float] = []

    @rule(seconds=st.floats(0.1, 40))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    @precondition(lambda self: self.health.wait_s(self.now) == 0)
    def begin(self) -> None:
        probe = self.health.begin(self.now)
        self.out.append(probe)
        if probe:
            self.probes.append(self.now)

    @rule(kind=st.sampled_from([None, None, *FailureKind]), wait_s=st.none() | st.floats(0, 90))
    @precondition(lambda self: self.out)
    def end(self, kind: FailureKind | None, wait_s: float | None) -> None:
        self.health.end(self.now, kind, probe=self.out.pop(0), retry_after_s=wait_s)

    @rule()
    @precondition(lambda self: self.out)
    def cancel(self) -> None:
        self.health.cancel(probe=self.out.pop(0))

    @invariant()
    def at_most_one_probe_is_out(self) -> None:
        assert sum(self.out) <= 1

    @invariant()
    def failing_probes_are_half_a_minute_apart(self) -> None:
        if self.health.state is BreakerState.OPEN and len(self.probes) > 2:
            assert self.probes[-1] - self.probes[-3] >= POLICY.open_s or not any(self.out)

    def teardown(self) -> None:
        """It always comes back when the provider does."""
        while self.out:
            self.health.cancel(probe=self.out.pop())
        for _ in range(4):
            self.now += 100
            end(self.health, self.now, None)
        assert self.health.state is BreakerState.CLOSED
        assert self.health.wait_s(self.now) == 0


TestHealth = HealthMachine.TestCase


# ── limits ──────────────────────────────────────────────────────────────────────────────────


@given(
    per_minute=st.integers(6, 600),
    workers=st.integers(1, 6),
    hurry=st.lists(st.floats(0, 3), min_size=1, max_size=30),
)
def test_no_minute_goes_over_the_limit_of_requests_and_busy_ones_use_it(
    per_minute: int, workers: int, hurry: list[float]
) -> None:
    """All workers together, each with its share and its own burst of one call."""
    began: list[float] = []
    for worker in range(workers):
        limiter = Limiter(ProviderLimits(requests_per_minute=per_minute))
        limiter.set_share(1 / workers)
        now = worker / 7
        while now < 180:
            now += limiter.wait_s(now) + 1e-9
            limiter.reserve(now, 10)
            began.append(now)
            now += hurry[len(began) % len(hurry)] / 1000
    began.sort()
    most = max(sum(start <= at < start + 60 for at in began) for start in (0.0, *began[:50]))
    assert most <= per_minute * 1.0 + workers
    used = sum(60 <= at < 120 for at in began)
    assert used >= per_minute * 0.9 - workers


def test_tokens_are_paced_and_settled_with_what_was_used() -> None:
    limiter = Limiter(ProviderLimits(tokens_per_minute=6_000))
    assert limiter.reserve(0.0, 1_000) == 0.0
    assert limiter.wait_s(0.0) == 10.0
    limiter.settle(1_000, 500)
    assert limiter.wait_s(0.0) == 5.0


def test_a_429_slows_down_at_once_and_answers_speed_up_slowly() -> None:
    limiter = Limiter(ProviderLimits(requests_per_minute=600))
    before = limiter.calls_within(60)
    limiter.throttled(0.0)
    limiter.throttled(0.5)  # the same storm
    assert limiter.calls_within(60) == pytest.approx(before * 0.7)
    for _ in range(30):
        limiter.answered(1.0)
    assert limiter.calls_within(60) == before


def test_429s_without_a_configured_limit_teach_how_many_calls_may_be_in_flight() -> None:
    limiter = Limiter(ProviderLimits())
    for _ in range(20):
        limiter.reserve(0.0, 1)
    assert not limiter.full(urgent=False)
    limiter.throttled(0.0)
    assert limiter.full(urgent=False)
    assert limiter.capacity < 20
    taught = limiter.capacity
    limiter.answered(1.0)
    assert taught < limiter.capacity < 20
    limiter.answered(61.0)
    assert not limiter.full(urgent=False)


def test_an_urgent_call_has_a_place_that_ordinary_ones_do_not_take() -> None:
    configured = Limiter(ProviderLimits(in_flight=3))
    for _ in range(2):
        configured.reserve(0.0, 1)
    assert (configured.full(urgent=False), configured.full(urgent=True)) == (True, False)
    configured.reserve(0.0, 1)
    assert configured.full(urgent=True), "a configured limit holds for all"
    taught = Limiter(ProviderLimits())
    taught.throttled(0.0)
    taught.reserve(0.0, 1)
    assert (taught.full(urgent=False), taught.full(urgent=True)) == (True, False)
    taught.reserve(0.0, 1)
    assert taught.full(urgent=True)
    single = Limiter(ProviderLimits(in_flight=1))
    assert not single.full(urgent=False)


def test_a_full_provider_waits_and_a_change_of_health_is_told_once() -> None:
    changes: list[BreakerChange] = []
    clock = ManualClock(NOW)
    capacity = Capacity(
        {"azure": ProviderLimits(in_flight=1)}, POLICY, clock=clock, on_change=changes.append
    )
    turn = capacity.take("azure", 10)
    assert capacity.wait_s("azure") > 0
    capacity.end(turn, Failure(FailureKind.AUTH, "c", "m"), tokens=0)
    assert [(one.before, one.after) for one in changes] == [
        (BreakerState.CLOSED, BreakerState.DOWN)
    ]
    assert capacity.room("azure") == 1
    clock.advance(31)
    for _ in range(2):
        capacity.end(capacity.take("azure", 10), None, tokens=10)
    assert [one.after for one in changes][1:] == [BreakerState.HALF_OPEN, BreakerState.CLOSED]


@pytest.mark.parametrize(
    ("limit", "left", "reset", "rest"),
    [
        ("3500", "0", "6s", 6.0),
        ("3500", "0", "1m30s", 60.0),
        ("3500", "0", "120ms", 0.12),
        ("3500", "12", "6s", 0.0),
        ("-1", "-1", "0", 0.0),  # Azure
        ("0", "0", "6s", 0.0),  # Azure
        ("3500", "0", "soon", 0.0),
        ("many", "0", "6s", 0.0),
    ],
)
def test_only_ratelimit_headers_that_make_sense_are_believed(
    limit: str, left: str, reset: str, rest: float
) -> None:
    headers = {
        "x-ratelimit-limit-tokens": limit,
        "x-ratelimit-remaining-tokens": left,
        "x-ratelimit-reset-tokens": reset,
    }
    assert rest_asked_for(headers) == rest
    assert rest_asked_for({}) == 0.0


def test_a_provider_that_says_nothing_is_left_is_left_alone_until_then() -> None:
    capacity = Capacity({"openai": ProviderLimits()}, POLICY, clock=ManualClock(NOW))
    capacity.end(capacity.take("openai", 10), None, tokens=10, rest_s=6.0)
    assert capacity.wait_s("openai") == 6.0


# ── turns ───────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Item:
    tenant: str
    line: int
    number: int


def test_ten_of_one_tenant_do_not_wait_behind_a_hundred_thousand_of_another() -> None:
    queue: FairQueue[Item] = FairQueue({})
    for number in range(100_000):
        queue.add(Item("loud", number % 12, number))
    for _ in range(50):
        queue.take(lambda _item: True)
    for number in range(10):
        queue.add(Item("quiet", 0, number))
    taken = [queue.take(lambda _item: True) for _ in range(21)]
    assert Counter(item.tenant for item in taken if item)["quiet"] == 10


def test_weights_share_the_turns() -> None:
    queue: FairQueue[Item] = FairQueue({"big": 3.0})
    for number in range(400):
        queue.add(Item("big", 0, number))
        queue.add(Item("small", 0, number))
    taken = Counter(item.tenant for _ in range(200) if (item := queue.take(lambda _item: True)))
    assert taken["big"] == pytest.approx(150, abs=2)


@given(
    items=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2)), max_size=60),
    blocked=st.sets(st.integers(0, 2), max_size=2),
)
def test_everything_that_may_run_comes_once_and_in_order_of_its_line(
    items: list[tuple[str, int]], blocked: set[int]
) -> None:
    queue: FairQueue[Item] = FairQueue({})
    for number, (tenant, line) in enumerate(items):
        queue.add(Item(tenant, line, number))
    taken = []
    while (item := queue.take(lambda one: one.line not in blocked)) is not None:
        taken.append(item)
    free = [(tenant, line) for tenant, line in items if line not in blocked]
    assert len(taken) == len(free)
    assert len(queue) == len(items) - len(free)
    for key in set(free):
        numbers = [one.number for one in taken if (one.tenant, one.line) == key]
        assert numbers == sorted(numbers)


# ── the dead-letter breaker ─────────────────────────────────────────────────────────────────


def a_failed(reason: DeadLetterReason) -> Failed:
    return Failed(reason, ErrorClass.UNKNOWN, "c", "m", retriable=True, suggested_action="a")


def test_a_worker_that_mostly_writes_dead_letters_stops_but_not_for_the_intents_own_faults() -> (
    None
):
    breaker = DeadLetterBreaker()
    done = Completed(a_result(a_task()), an_attempt(a_task()))
    assert not any(breaker.note(a_failed(DeadLetterReason.INVALID_INTENT)) for _ in range(500))
    assert not any(breaker.note(done) for _ in range(49))
    noted = [breaker.note(a_failed(DeadLetterReason.EXHAUSTED)) for _ in range(51)]
    assert noted == [False] * 50 + [True]


def test_a_refused_key_beside_which_there_is_another_is_no_failure_of_the_provider() -> None:
    capacity = Capacity({"a": ProviderLimits()}, POLICY, clock=ManualClock(NOW))
    refused = Failure(FailureKind.AUTH, "c", "m", key=KeyNote("KEY", 2, another_ms=2_000))
    capacity.end(capacity.take("a", 1), refused, tokens=1)
    assert (capacity.state("a"), capacity.wait_s("a")) == (BreakerState.CLOSED, 2.0)
    assert capacity.in_flight("a") == 0
    capacity.end(capacity.take("a", 1), Failure(FailureKind.AUTH, "c", "m"), tokens=1)
    assert capacity.state("a") is BreakerState.DOWN

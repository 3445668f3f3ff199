"""Deliveries keep their distance."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from streams.deliveries.pacing import Pace, PacedQueue

PACE = Pace(spacing_s=45, per_minute=3, per_hour=20)


def a_queue(pace: Pace = PACE) -> PacedQueue[tuple[str, int]]:
    return PacedQueue(pace, user_of=lambda item: item[0])


@given(
    wanted=st.lists(st.tuples(st.sampled_from("abcd"), st.floats(0, 300)), min_size=1, max_size=40)
)
def test_no_user_and_no_minute_and_no_hour_gets_too_much_and_each_user_in_order(
    wanted: list[tuple[str, float]],
) -> None:
    queue, now, left = a_queue(), 1_000.0, [*enumerate(wanted)]
    sent: list[tuple[float, str, int]] = []
    while left or len(queue):
        while left and (number_user := left[0])[1][1] + 1_000.0 <= now:
            left.pop(0)
            number, (user, _) = number_user
            queue.add((user, number), order=(number,))
        if left:
            left.sort(key=lambda one: one[1][1])
        while (item := queue.take(now)) is not None:
            sent.append((now, *item))
        wait = queue.wait_s(now)
        now += 1.0 if wait is None or left else max(wait, 0.001)
    assert len(sent) == len(wanted)
    for user in "abcd":
        mine = [at for at, who, _ in sent if who == user]
        assert all(b - a >= 45 for a, b in itertools.pairwise(mine))
    times = [at for at, _, _ in sent]
    for start in times:
        assert sum(start <= at < start + 60 for at in times) <= 3
        assert sum(start <= at < start + 3_600 for at in times) <= 20


def test_what_went_out_before_a_restart_counts() -> None:
    queue = a_queue()
    queue.sent("a", 990.0)
    queue.add(("a", 1), order=(1,))
    assert queue.take(1_000.0) is None
    assert queue.wait_s(1_000.0) == 35.0
    assert queue.take(1_035.0) == ("a", 1)


def test_a_users_deliveries_go_out_in_the_order_of_their_results_however_they_are_read() -> None:
    queue = a_queue(Pace(spacing_s=0, per_minute=100, per_hour=1000))
    for number in (3, 1, 2):
        queue.add(("a", number), order=(number,))
    assert [queue.take(0.0) for _ in range(3)] == [("a", 1), ("a", 2), ("a", 3)]


def test_an_hour_later_nothing_of_it_counts() -> None:
    queue = a_queue()
    for number in range(20):
        queue.sent(f"u-{number}", float(number))
    queue.add(("a", 1), order=(1,))
    assert queue.take(3_000.0) is None
    assert queue.take(3_601.0) == ("a", 1)


def test_a_clock_that_was_far_ahead_holds_nobody_up() -> None:
    queue = a_queue()
    queue.sent("a", 1_000_000.0)
    queue.add(("a", 1), order=(1,))
    assert queue.take(1_000.0) == ("a", 1)

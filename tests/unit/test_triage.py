"""The pure parts of putting dead letters right: places, states, money in the air, sentences."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.clock import ManualClock
from hybrid.plan_text import lines_of
from schemas.base import Message
from schemas.events import ReplayRecord
from schemas.operations import (
    ControlRecord,
    DismissalRecord,
    PlanPart,
    PlanRecord,
    ProgressRecord,
    RunRecord,
)
from schemas.settings import Settings
from schemas.vocabulary import LetterState, RunState, WorkflowStatus
from streams.messages.records import VERSION
from streams.triage.beginning import Options, PlanError, run_record, usable
from streams.triage.book import Book, hash_of
from streams.triage.journal import operation_record
from streams.triage.places import Places, packed, unpacked
from streams.triage.tally import Tally
from tests.builders import NOW, NOW_MS, a_letter

PLACES = st.tuples(st.integers(0, 3), st.integers(0, 200_000))


@given(st.lists(PLACES), st.lists(PLACES))
def test_places_are_a_set_in_order(
    added: list[tuple[int, int]], taken: list[tuple[int, int]]
) -> None:
    places = Places(added)
    for place in taken:
        places.discard(place)
    wanted = set(added) - set(taken)
    assert list(places) == sorted(wanted)
    assert len(places) == len(wanted)
    assert all((place in places) == (place in wanted) for place in [*added, *taken])
    for partition in range(4):
        offsets = list(places.offsets(partition))
        assert list(unpacked(packed(offsets))) == offsets


def a_book(*messages: Message) -> Book:
    book = Book()
    for message in messages:
        book.add(message.to_json())
    return book


def a_plan(places: list[tuple[int, int]], **changes: Any) -> list[Message]:
    parts = [
        PlanPart(plan_id="p", number=n, partition=one[0], offsets=[one[1]])
        for n, one in enumerate(places)
    ]
    values: dict[str, Any] = {
        "plan_id": "p", "made_at": NOW, "expires_at": NOW + timedelta(minutes=30),
        "sha256": hash_of(sorted(places)), "count": len(places), "parts": len(parts),
    }  # fmt: skip
    return [*parts, PlanRecord(**{**values, **changes})]


def dismissal(*offsets: int, dismissed: bool = True) -> DismissalRecord:
    return DismissalRecord(dismissed=dismissed, at=NOW, partition=1, offsets=packed(offsets))


RUN = RunRecord(plan_id="p", started_at=NOW)


def progress(state: RunState = RunState.RUNNING, **positions: int) -> ProgressRecord:
    return ProgressRecord(
        plan_id="p", state=state, updated_at=NOW,
        positions={int(name[1:]): offset for name, offset in positions.items()},
    )  # fmt: skip


def control(wanted: RunState) -> ControlRecord:
    return ControlRecord(plan_id="p", wanted=wanted, at=NOW)


def test_a_letter_stands_where_what_was_done_has_put_it() -> None:
    plan = a_plan([(1, 5), (1, 9)])

    def state(offset: int, *done: Message) -> LetterState:
        return a_book(*done).state((1, offset), a_letter())

    assert state(5, *plan) is LetterState.OPEN  # a plan alone promises nothing
    assert state(5, *plan, RUN) is LetterState.WAITING
    assert state(7, *plan, RUN) is LetterState.OPEN
    assert state(5, *plan, RUN, progress(_1=5)) is LetterState.REPLAYED
    assert state(9, *plan, RUN, progress(_1=5)) is LetterState.WAITING
    assert state(9, *plan, RUN, progress(RunState.STOPPED, _1=5)) is LetterState.OPEN
    assert state(9, *plan, RUN, control(RunState.STOPPED)) is LetterState.OPEN
    assert state(9, *plan, RUN, control(RunState.PAUSED)) is LetterState.WAITING
    assert state(7, dismissal(3, 7)) is LetterState.DISMISSED
    assert state(7, dismissal(3, 7), dismissal(7, dismissed=False)) is LetterState.OPEN
    assert state(3, dismissal(3, 7), dismissal(7, dismissed=False)) is LetterState.DISMISSED


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (WorkflowStatus.COMPLETED, LetterState.RESOLVED),
        (WorkflowStatus.FAILED, LetterState.CAME_BACK),
        (None, LetterState.REPLAYED),
    ],
)
def test_how_a_replay_ended_is_what_a_letter_says(
    status: WorkflowStatus | None, state: LetterState
) -> None:
    letter = a_letter()
    for subject in ("i-1", ""):
        book = Book()
        book.ended.add(
            ReplayRecord(
                dead_letter_id=letter.dead_letter_id, tenant="default", subject=subject,
                decided_at_ms=NOW_MS, status=status,
            )
        )  # fmt: skip
        assert book.state((1, 5), letter) is state


def test_somebody_elses_record_does_not_close_a_letter() -> None:
    """Ids of dead letters come in headers, which anybody can write."""
    letter, book = a_letter(), Book()
    book.ended.add(
        ReplayRecord(
            dead_letter_id=letter.dead_letter_id, tenant="default", subject="i-2",
            decided_at_ms=NOW_MS, status=WorkflowStatus.COMPLETED,
        )
    )  # fmt: skip
    assert book.state((1, 5), letter) is LetterState.OPEN


def test_whoever_goes_on_with_a_paused_run_takes_the_pause_back() -> None:
    plan = a_plan([(1, 5)])
    book = a_book(*plan, RUN, control(RunState.PAUSED))
    assert book.plans["p"].state is RunState.PAUSED
    book.add(RUN.to_json())
    assert book.plans["p"].state is RunState.RUNNING


def test_a_plan_is_run_in_time_or_not_at_all() -> None:
    clock, plan = ManualClock(NOW), a_plan([(1, 5), (2, 6)])
    assert list(usable(a_book(*plan), "p", clock).places) == [(1, 5), (2, 6)]
    with pytest.raises(PlanError, match="there is no plan q"):
        usable(a_book(*plan), "q", clock)
    clock.advance(1801)
    with pytest.raises(PlanError, match="was valid until 2026-01-31T10:00:00"):
        usable(a_book(*plan), "p", clock)
    # What was begun goes on.
    assert usable(a_book(*plan, RUN), "p", clock).run == RUN


@pytest.mark.parametrize("wrong", [{"sha256": "x"}, {"parts": 3}])
def test_a_list_that_is_not_what_was_planned_is_not_run(wrong: dict[str, Any]) -> None:
    with pytest.raises(PlanError, match="not what was planned"):
        usable(a_book(*a_plan([(1, 5), (2, 6)], **wrong)), "p", ManualClock(NOW))


def test_a_run_is_gone_on_with_as_it_was_begun() -> None:
    clock = ManualClock(NOW)
    planned = a_book(*a_plan([(1, 5)])).plans["p"]
    planned.run = run_record(planned, Options(rate=5, why="outage", canary=True), clock)
    clock.advance(60)
    later = run_record(planned, Options(max_usd=Decimal(3)), clock)
    assert (later.rate, later.why, later.canary, later.max_usd) == (5, "outage", True, Decimal(3))
    assert later.started_at == NOW


def ended(letter: str, cost: str | None, status: str = "completed") -> ReplayRecord:
    return ReplayRecord(
        dead_letter_id=letter, decided_at_ms=NOW_MS, status=WorkflowStatus(status),
        cost_usd=None if cost is None else Decimal(cost),
    )  # fmt: skip


def test_what_is_in_the_air_counts_with_its_bound() -> None:
    tally = Tally()
    tally.sent("a", Decimal("0.5"))
    tally.sent("b", Decimal("0.5"))
    tally.sent("a", Decimal("0.5"))  # told twice
    assert (tally.exposure_usd, tally.waiting) == (Decimal(1), 2)
    tally.ended(ended("a", "0.1"))
    tally.ended(ended("a", "0.1"))
    tally.ended(ended("foreign", "9"))
    assert (tally.exposure_usd, tally.waiting, tally.completed) == (Decimal("0.6"), 1, 1)
    tally.ended(ended("b", None, "failed"))
    assert (tally.exposure_usd, tally.spent_usd, tally.failed) == (
        Decimal("0.6"),
        Decimal("0.6"),
        1,
    )


SUMMARY: dict[str, Any] = {
    "matching": 9, "causes": [], "left_out": {}, "refused_again": {}, "over_limit": 0,
    "older_of_the_same_intent": 0, "beyond_limit": 0, "input_tokens": 40, "expected_usd": "0.5",
    "without_expected": 0, "most_usd": "2", "without_most": 0, "budgets": [], "providers_out": {},
    "would_wait": 0, "would_go_to_the_next": 0,
}  # fmt: skip


def lines(count: int = 2, **summary: Any) -> str:
    plan = a_plan([(1, n) for n in range(count)], summary={**SUMMARY, **summary})[-1]
    assert isinstance(plan, PlanRecord)
    return "\n".join(lines_of(plan))


@pytest.mark.parametrize(
    ("summary", "said"),
    [
        ({}, "2 dead letters will be replayed, of 9 that match"),
        ({}, "about 40 input tokens; expected cost 0.5 USD\nat most 2 USD, with one answered call each"),
        ({"without_expected": 1}, "expected cost 0.5 USD and 1 not known"),
        ({"without_most": 2}, "at most not known"),
        ({"left_out": {"resolved": 3}}, "3 were replayed before and have a result"),
        ({"refused_again": {"content_gone: content forgotten: x": 1}}, "1 cannot be replayed: content forgotten"),
        ({"refused_again": {"not_json: the value is not JSON": 4}}, "4 would be refused again by validation: not_json"),
        ({"over_limit": 5}, "5 came back 3 times or more: --force replays them"),
        (
            {"providers_out": {"openai": {"breaker": "open", "since": "x"}}, "would_wait": 2},
            "openai's breaker: open, since x\n2 would wait, none burn",
        ),
        (
            {"budgets": [{"tenant": "acme", "per": "day", "limit_usd": "1", "spent_usd": "0.4", "after_expected_usd": "0.9", "after_most_usd": "2.4", "reached": "at most", "then": "defer"}]},
            "budget of acme per day: 0.4 of 1 USD now, 0.9 expected, 2.4 at most: may be reached (then: defer)",
        ),
    ],
)  # fmt: skip
def test_a_plan_is_said_in_sentences(summary: dict[str, Any], said: str) -> None:
    assert said in lines(**summary)


def test_a_plan_without_letters_has_no_price() -> None:
    assert lines(0, matching=0) == "0 dead letters will be replayed, of 0 that match"


def test_what_is_done_is_written_under_the_version_of_our_records() -> None:
    settings = Settings()
    control = ControlRecord(plan_id="p", wanted=RunState.PAUSED, at=NOW)
    record = operation_record(settings, control)
    assert (record.topic, record.partition) == (settings.topics.operations, 0)
    assert record.headers == (VERSION,)

"""What operators did, as the audit tells it."""

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from schemas.base import Message
from schemas.operations import (
    CancelRecord,
    ControlRecord,
    DismissalRecord,
    HoldRecord,
    ImportRecord,
    PlanPart,
    PlanRecord,
    ProgressRecord,
    RunRecord,
)
from schemas.vocabulary import Held, RunState
from streams.messages.orders import LONGEST_PAUSE
from streams.triage.deeds import Deeds
from tests.builders import NOW

MINUTE = timedelta(minutes=1)


def told(*records: Message, later: timedelta = MINUTE, most: int = 9) -> list[tuple[str, ...]]:
    deeds = Deeds(most)
    for one in records:
        deeds.add(one.to_json())
    return [(one.by, one.what, one.why, one.result) for one in deeds.newest(NOW + later)]


def a_plan(**changes: Any) -> PlanRecord:
    values = {"plan_id": "p-1", "made_at": NOW, "expires_at": NOW, "sha256": "", "parts": 1}
    return PlanRecord(**{"count": 1000} | values | changes)


def a_hold(**changes: Any) -> HoldRecord:
    return HoldRecord(**{"what": Held.TENANT, "name": "acme", "held": True, "at": NOW} | changes)


def a_dismissal(**changes: Any) -> DismissalRecord:
    values = {"dismissed": True, "by": "ann", "at": NOW, "partition": 0, "offsets": [1, 1]}
    return DismissalRecord(**values | changes)


def test_a_replay_is_told_from_its_plan_to_how_far_it_is() -> None:
    progress = ProgressRecord(plan_id="p-1", state=RunState.DONE, sent=1000, updated_at=NOW)
    assert told(
        PlanPart(plan_id="p-1", number=0, partition=0, offsets=[0]),
        a_plan(),
        RunRecord(plan_id="p-1", started_at=NOW, why="well again", by="ann"),
        ControlRecord(plan_id="p-1", wanted=RunState.PAUSED, by="bob", at=NOW),
        progress,
    ) == [
        ("bob", "asked for the replay to be paused", "", ""),
        ("ann", "began, or went on with, the replay of 1,000 dead letters", "well again",
         "done: 1,000 published again"),
        ("", "planned the replay of 1,000 dead letters", "", ""),
    ]  # fmt: skip


def test_a_plan_is_told_with_its_maker_where_its_record_says_who() -> None:
    said = "planned the replay of 1,000 dead letters"
    assert told(a_plan(by="ann"), a_plan()) == [("", said, "", ""), ("ann", said, "", "")]


def test_an_import_is_one_thing_however_many_transactions_it_took() -> None:
    def part(name: str, number: int, count: int) -> ImportRecord:
        return ImportRecord(
            import_id=name, number=number, letters=["d"] * count, why="mended", by="ann", at=NOW
        )

    assert told(part("a", 0, 1000), a_hold(), part("b", 0, 1), part("a", 1, 234))[::2] == [
        ("ann", "imported 1 dead letters of a file", "mended", ""),
        ("ann", "imported 1,234 dead letters of a file", "mended", ""),
    ]


def test_what_was_dismissed_together_is_one_thing_however_many_records_say_it() -> None:
    assert told(
        a_dismissal(),
        a_dismissal(partition=1, offsets=[1] * 1200),
        a_dismissal(at=NOW + MINUTE, dismissed=False),
    ) == [
        ("ann", "reopened 2 dead letters", "", ""),
        ("ann", "dismissed 1,202 dead letters", "", ""),
    ]


def test_a_pause_holds_until_it_is_ordered_anew_or_its_time_is_over() -> None:
    first, again = a_hold(by="ann", why="they asked"), a_hold(held=False, by="bob")
    until = "until 2026-"
    (only,) = told(first)
    assert only[:3] == ("ann", "paused tenant acme", "they asked")
    assert only[3].startswith(until)
    assert told(first, again) == [
        ("bob", "resumed tenant acme", "", ""),
        ("ann", "paused tenant acme", "they asked", "ordered anew since"),
    ]
    assert told(first, later=LONGEST_PAUSE + MINUTE)[0][3] == "over by itself"


def test_what_was_cancelled_is_named_as_far_as_it_can_be() -> None:
    order = CancelRecord(cancel_id="c", until=NOW, at=NOW, by="ann", why="twice")
    some = order.model_copy(update={"intent_ids": ["a", "b", "c", "d", "e"]})
    all_of = order.model_copy(update={"tenant": "acme", "type": "k"})
    named, described = told(some)[0], told(all_of)[0]
    assert named == ("ann", "cancelled a, b, c and 2 more", "twice", "")
    assert described[1].startswith("cancelled all of tenant acme and type k that came in by ")


def test_the_newest_are_kept_and_what_is_none_of_ours_is_said() -> None:
    holds = [a_hold(name=str(number)) for number in range(5)]
    assert [one[1] for one in told(*holds, most=2)] == ["paused tenant 4", "paused tenant 3"]
    with pytest.raises(ValidationError):
        Deeds().add(b"{}")

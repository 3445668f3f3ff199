"""How long a plan takes, how well plans foretold, and that changes are part of what is frozen."""

from datetime import timedelta
from decimal import Decimal

import pytest

from hybrid.plan_text import lines_of
from schemas.events import ReplayRecord
from schemas.operations import Change, ImportRecord, PlanRecord, ProgressRecord, RunRecord
from schemas.providers import ProviderSpec
from schemas.settings import Settings
from schemas.vocabulary import LetterState, RunState, WorkflowStatus
from streams.messages.identity import identify
from streams.messages.records import replay_record
from streams.publishing.dead_letters import replayed_record
from streams.triage.book import Book, hash_of
from streams.triage.foretelling import Load, duration_at, errors_of, past
from tests.builders import NOW, NOW_MS, a_letter, an_incoming
from tests.unit.test_triage import a_book, a_plan

TOPICS = Settings().topics


def a_run(plan_id: str, expected: str, *costs: str | None, state: RunState = RunState.DONE) -> Book:
    """A plan of two letters, run, of which some replays have ended."""
    messages = a_plan([(0, 1), (0, 2)], plan_id=plan_id, expected_usd=Decimal(expected))
    book = a_book(
        *(one.model_copy(update={"plan_id": plan_id}) for one in messages),
        RunRecord(plan_id=plan_id, started_at=NOW),
        ProgressRecord(plan_id=plan_id, state=state, sent=2, updated_at=NOW),
    )
    for number, cost in enumerate(costs):
        record = ReplayRecord(
            dead_letter_id=f"d-{number}", decided_at_ms=NOW_MS, status=WorkflowStatus.COMPLETED,
            cost_usd=None if cost is None else Decimal(cost), plan_id=plan_id,
        )  # fmt: skip
        book.take(TOPICS, TOPICS.replays, record.to_json())
    return book


def test_runs_whose_replays_have_all_ended_are_held_against_their_plans() -> None:
    assert errors_of(a_run("p", "0.10", "0.05", "0.048")) == [Decimal("-0.02")]
    assert errors_of(a_run("p", "0.10", "0.05")) == []  # one is out yet
    assert errors_of(a_run("p", "0.10", "0.05", None)) == []  # one has no price
    assert errors_of(a_run("p", "0", "0.05", "0.05")) == []
    assert errors_of(a_run("p", "0.10", "0.05", "0.05", state=RunState.STOPPED)) == []
    assert past(a_run("p", "0.10", "0.05", "0.058")) == {"runs": 1, "least": 0.08, "most": 0.08}
    assert past(Book()) == {"runs": 0, "least": None, "most": None}


def test_the_plan_travels_with_the_replay_to_its_end() -> None:
    record = replayed_record(a_letter(), TOPICS, plan_id="p-1")
    who = identify(an_incoming(headers=record.headers), max_bytes=1_000_000).who
    written = replay_record(TOPICS, who, lane=0, decided_at_ms=NOW_MS)
    assert written is not None
    assert ReplayRecord.model_validate_json(written.value or b"").plan_id == "p-1"
    # The next replay of it is another's, or nobody's.
    headers = [(name, "cC0x") for name, _ in record.headers]
    again = replayed_record(a_letter(original={"headers": headers}), TOPICS)
    assert "replay-plan" not in dict(again.headers)


def spec(**limits: float) -> ProviderSpec:
    return next(one for one in Settings().provider_specs if one.name == "openai").model_copy(
        update=limits
    )


@pytest.mark.parametrize(
    ("limits", "by", "seconds"),
    [
        ({}, None, None),
        ({"requests_per_minute": 97.0}, "requests", 638),
        ({"tokens_per_minute": 6_000.0}, "tokens", 20_000),
        ({"requests_per_minute": 97.0, "tokens_per_minute": 6_000.0}, "tokens", 20_000),
    ],
)
def test_a_plan_takes_as_long_as_the_narrowest_limit(
    limits: dict[str, float], by: str | None, seconds: int | None
) -> None:
    loads = {"openai": Load(calls=1_000, tokens=2_000_000)}
    found = duration_at([spec(**limits)], loads)["openai"]
    assert (found["by"], found["seconds"]) == (by, seconds)


def test_changes_are_part_of_what_is_frozen() -> None:
    changes = [Change(path=["data", "tone"], value="friendly")]
    places = [(1, 5), (1, 9)]
    assert hash_of(places) != hash_of(places, changes)
    plan = a_plan(places, changes=changes, sha256=hash_of(places, changes))
    assert a_book(*plan).plans["p"].whole
    other = a_plan(places, changes=[], sha256=hash_of(places, changes))
    assert not a_book(*other).plans["p"].whole


def test_what_was_imported_is_replayed() -> None:
    letter = a_letter()
    done = ImportRecord(import_id="i", number=0, letters=[letter.dead_letter_id], at=NOW)
    assert a_book(done).state((1, 5), letter) is LetterState.REPLAYED
    assert a_book().state((1, 5), letter) is LetterState.OPEN


def test_a_plan_says_how_long_how_well_foretold_and_what_is_changed() -> None:
    said = {
        "matching": 3, "causes": [], "left_out": {}, "refused_again": {}, "over_limit": 0,
        "older_of_the_same_intent": 0, "beyond_limit": 0, "input_tokens": 1, "expected_usd": "1",
        "without_expected": 0, "most_usd": "2", "without_most": 0, "budgets": [],
        "providers_out": {}, "changes": ["data.x = 1"], "changed": 2,
        "past": {"runs": 20, "least": -0.03, "most": 0.08},
        "takes": {"openai": {"calls": 3, "tokens": 9, "by": "tokens", "seconds": 120}},
    }  # fmt: skip
    plan = PlanRecord(
        plan_id="p", made_at=NOW, expires_at=NOW + timedelta(minutes=30), sha256="x" * 64, count=3,
        parts=1, summary=said,
    )  # fmt: skip
    lines = list(lines_of(plan, rate=0.5))
    assert lines[1:3] == ["  before that: data.x = 1", "  in 2 of them; 1 are so already"]
    assert "the last 20 runs cost -3% to +8% beside what was expected" in lines
    assert (
        "at least 2 min at openai's limit of tokens a minute, with nothing else to do there"
        in lines
    )
    assert "at least 6 s at --rate 0.5" in lines

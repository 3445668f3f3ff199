"""What decides about batches: when one is made, how its files are read, what goes back; pure."""

import base64
import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.deciding.batching import (
    MOST_BYTES,
    PAST,
    WINDOW_MS,
    Line,
    Pool,
    Rules,
    expected_ms,
    fate,
    goes_back_at,
    in_time,
    is_late,
    look_pause_s,
    may_wait,
    pool_pause_s,
    ready,
)
from agents.deciding.budgets import Spending
from agents.executing.account import Execution
from agents.executing.turnaround import TurnAround
from agents.task import Deferred, Paid
from schemas.batches import BatchAnswer, BatchLine, BatchRecord
from schemas.budgets import BudgetSpec
from schemas.events import DeferralState, LedgerRecord
from schemas.settings import Settings
from schemas.vocabulary import WorkflowStatus
from streams.batching.answers import Told, answers_of
from streams.batching.book import Book
from streams.lanes.admission import batch_answer
from streams.lanes.ledger import Ledger
from streams.lanes.outcome_records import outcome_records
from streams.messages.batch_records import line_record, return_record
from streams.messages.identity import identify
from streams.messages.records import BATCH_ANSWER_HEADER, Incoming, OutRecord, header
from tests.builders import NOW, NOW_MS, a_task, an_attempt, an_incoming, an_intent

SETTINGS = Settings()
TOPICS = SETTINGS.topics
MARGIN_MS = 90_000
RULES = Rules(wait_ms=60_000, most_lines=3)


def a_line(number: int = 0, **changes: Any) -> Line:
    values = {"line_id": f"a-{number}", "provider": "p", "model": "m", "size": 10, "since_ms": 0}
    return Line(**{**values, **changes})


# ── when ────────────────────────────────────────────────────────────────────────────────────────


def test_a_batch_is_made_when_its_oldest_line_has_waited_long_enough() -> None:
    lines = [a_line(0), a_line(1, since_ms=59_000)]
    assert ready(lines, RULES, now_ms=59_999) == []
    assert ready(lines, RULES, now_ms=60_000) == [tuple(lines)]


def test_a_full_batch_is_made_at_once_and_the_rest_waits() -> None:
    lines = [a_line(number, since_ms=number) for number in range(4)]
    assert ready(lines, RULES, now_ms=10) == [tuple(lines[:3])]


def test_a_file_has_a_size_that_the_provider_takes() -> None:
    lines = [a_line(number, size=MOST_BYTES // 2 + 1) for number in range(2)]
    assert ready(lines, RULES, now_ms=10) == [(lines[0],)]
    assert ready([a_line(size=2 * MOST_BYTES)], RULES, now_ms=60_000), "one alone goes, whatever"


def test_batches_fill_the_pool_of_their_model_and_the_rest_waits_for_room() -> None:
    lines = [a_line(number, tokens=10, since_ms=number) for number in range(12)]
    lines.append(a_line(99, model="n", tokens=10_000))
    rules = Rules(wait_ms=60_000, most_lines=100)

    def made(used: int) -> list[list[str]]:
        pools = {("p", "m"): Pool(limit=80, used=used)}
        found = ready(lines, rules, now_ms=90_000, pools=pools)
        return [[line.line_id for line in one] for one in found if one[0].model == "m"]

    pairs = [[f"a-{number}", f"a-{number + 1}"] for number in range(0, 12, 2)]
    assert made(0) == pairs[:4], "a quarter each"
    assert made(50) == pairs[:1]
    assert made(70) == made(90) == []


def test_a_prompt_that_is_larger_than_its_pool_goes_alone() -> None:
    line = a_line(tokens=500)
    made = ready([line], RULES, now_ms=60_000, pools={("p", "m"): Pool(limit=80)})
    assert made == [(line,)]
    assert ready([line], RULES, now_ms=60_000, pools={("p", "m"): Pool(80, used=1)}) == []


def test_a_pool_that_is_full_is_tried_ever_more_rarely_and_not_for_ever() -> None:
    assert [pool_pause_s(times) for times in range(1, 11)] == [
        10, 20, 40, 80, 160, 320, 640, 900, 900, None,
    ]  # fmt: skip


@given(
    lines=st.lists(
        st.builds(
            a_line,
            st.integers(0, 999),
            provider=st.sampled_from("pq"),
            model=st.sampled_from("mn"),
            since_ms=st.integers(0, 120_000),
            size=st.integers(0, MOST_BYTES),
        ),
        unique_by=lambda one: one.line_id,
    ),
    now_ms=st.integers(0, 120_000),
)
def test_a_line_is_in_one_batch_of_its_model_and_none_is_too_large(
    lines: list[Line], now_ms: int
) -> None:
    made = ready(lines, RULES, now_ms=now_ms)
    names = [line.line_id for batch in made for line in batch]
    assert len(names) == len(set(names))
    for batch in made:
        assert len({(line.provider, line.model) for line in batch}) == 1
        assert 1 <= len(batch) <= RULES.most_lines
        assert len(batch) == 1 or sum(line.size for line in batch) <= MOST_BYTES
    left = [line for line in lines if line.line_id not in names]
    assert all(now_ms - line.since_ms < RULES.wait_ms for line in left)


def test_a_deadline_decides_whether_it_waits_and_when_it_goes_back() -> None:
    assert in_time(None, now_ms=NOW_MS, margin_ms=MARGIN_MS)
    assert in_time(NOW_MS + 2 * MARGIN_MS, now_ms=NOW_MS, margin_ms=MARGIN_MS)
    assert not in_time(NOW_MS + 2 * MARGIN_MS - 1, now_ms=NOW_MS, margin_ms=MARGIN_MS)
    assert goes_back_at(None, margin_ms=MARGIN_MS) is None
    assert goes_back_at(NOW_MS, margin_ms=MARGIN_MS) == NOW_MS - MARGIN_MS


@pytest.mark.parametrize(
    ("processing", "low", "deadline_ms", "waits"),
    [
        ("batch", False, None, True),
        ("realtime", True, None, False),
        ("auto", True, None, True),
        ("auto", False, None, False),
        ("auto", False, WINDOW_MS - 1, False),
        ("auto", False, WINDOW_MS, True),
    ],
)
def test_who_says_nothing_waits_where_all_that_it_says_allows_it(
    processing: str, deadline_ms: int | None, *, low: bool, waits: bool
) -> None:
    found = may_wait(processing, low=low, deadline_ms=deadline_ms, margin_ms=MARGIN_MS)
    assert found is waits


def test_it_waits_too_where_its_deadline_leaves_twice_the_time_that_batches_took() -> None:
    def waits(deadline_ms: int, expected: int | None) -> bool:
        return may_wait(
            "auto", low=False, deadline_ms=deadline_ms, margin_ms=MARGIN_MS, expected=expected
        )

    hour_ms, eighth_ms = 3_600_000, 450_000
    assert waits(hour_ms, eighth_ms)
    assert waits(2 * (eighth_ms + MARGIN_MS), eighth_ms)
    assert not waits(2 * (eighth_ms + MARGIN_MS) - 1, eighth_ms)
    assert not waits(hour_ms, hour_ms)
    assert not waits(hour_ms, None)
    assert waits(WINDOW_MS, WINDOW_MS), "none takes longer than a day"


def test_what_came_back_says_how_long_the_next_one_is_away() -> None:
    took = TurnAround()
    assert took.expected_ms("p", "m") is None
    took.learn("p", "m", "b-1", 100)
    took.learn("p", "m", "b-1", 90)
    assert took.expected_ms("p", "m") == 100, "of a batch, its slowest line"
    assert took.expected_ms("p", "n") is None
    for number in range(PAST):
        took.learn("p", "m", f"b-{number + 2}", 10)
    assert took.expected_ms("p", "m") == 10, "the last ones count"


def test_the_last_batches_say_how_long_the_next_one_takes() -> None:
    assert expected_ms([]) is None
    assert expected_ms([7]) == 7
    assert expected_ms(list(range(10, 0, -1))) == 10
    assert expected_ms(list(range(20))) == 18


def test_an_intent_goes_back_when_its_batch_would_be_late() -> None:
    assert not is_late(None, now_ms=NOW_MS)
    assert not is_late(NOW_MS + 1, now_ms=NOW_MS)
    assert is_late(NOW_MS, now_ms=NOW_MS)
    assert is_late(NOW_MS + 100, now_ms=NOW_MS, expected=100)
    assert not is_late(NOW_MS + 101, now_ms=NOW_MS, expected=100)


def test_looks_grow_rarer_and_stay_within_bounds() -> None:
    assert look_pause_s(0) == 1.0
    assert look_pause_s(80) == 10.0
    assert look_pause_s(86_400) == 60.0


@pytest.mark.parametrize(
    ("status", "wanted"),
    [("validating", "waits"), ("cancelling", "waits"), ("expired", "ended"), ("", "odd")],
)
def test_a_providers_word_for_a_state_is_known_or_odd(status: str, wanted: str) -> None:
    assert fate(status) == wanted


# ── what a batch's files say ────────────────────────────────────────────────────────────────────


def test_a_file_says_of_each_line_what_became_of_it() -> None:
    lines: list[Any] = [
        {"custom_id": "a", "response": {"status_code": 200, "body": {"id": "x"}}, "error": None},
        {"custom_id": "b", "response": {"status_code": 400, "body": "odd"}},
        {"custom_id": "c", "response": None, "error": {"code": "batch_expired"}},
        {"custom_id": "d", "response": {"status_code": True}, "error": {"code": 7}},
        {"custom_id": "e"},
        {"custom_id": 5},
        [],
    ]
    content = b"\n".join([*(json.dumps(one).encode() for one in lines), b"{cut", b"", b"\xff"])
    assert answers_of(content) == {
        "a": Told(200, {"id": "x"}),
        "b": Told(400, {}),
        "c": Told(code="batch_expired"),
        "d": Told(code="batch_unanswered"),
        "e": Told(code="batch_unanswered"),
    }


@given(st.binary(max_size=200))
def test_no_file_raises(content: bytes) -> None:
    answers_of(content)


# ── what stands on the topic, and what goes back ────────────────────────────────────────────────


def a_state(**changes: Any) -> DeferralState:
    values: dict[str, Any] = {
        "due_at_ms": NOW_MS + 1, "count": 0, "hop": 1, "reason": "batch", "intent_id": "i-1",
        "source": a_task().source,
    }  # fmt: skip
    return DeferralState(**{**values, **changes})


def the_line(key: bytes | None = b"k\xff", **intent: Any) -> OutRecord:
    value = an_intent(**intent).to_json()
    incoming = an_incoming(value, key=key, headers=(("mine", b"1"),))
    line = BatchLine(attempt=an_attempt(a_task()), max_output_tokens=9)
    return line_record(TOPICS, incoming, line, a_state(), lane=3)


def as_read(record: OutRecord) -> Incoming:
    return an_incoming(
        record.value, topic=record.topic, key=record.key, headers=record.headers, partition=3
    )


def the_book(*records: OutRecord) -> Book:
    book = Book(SETTINGS)
    for record in records:
        book.take(record.key or b"", as_read(record))
    return book


@pytest.mark.parametrize("key", [b"k\xff", None])
def test_what_comes_back_is_the_intent_as_it_came(key: bytes | None) -> None:
    (waiting,) = the_book(the_line(key)).free()
    answer = BatchAnswer(attempt=waiting.line.attempt, status=200, body={"a": 1})
    back = return_record(TOPICS, waiting.incoming, waiting.line, waiting.state, answer)
    assert (back.topic, back.partition, back.key) == (TOPICS.deferred[0], 3, key)
    assert back.value == an_intent().to_json()
    assert header(back.headers, "mine") == b"1"
    found = identify(as_read(back), max_bytes=1_000_000)
    assert found.who.deferral is not None
    assert (found.who.deferral.hop, found.who.deferral.due_at_ms) == (1, 0)
    assert (
        BatchAnswer.model_validate_json(header(back.headers, BATCH_ANSWER_HEADER) or b"") == answer
    )


def test_a_key_that_is_no_base64_is_none() -> None:
    (waiting,) = the_book(the_line()).free()
    line = waiting.line.model_copy(update={"key": "?"})
    answer = BatchAnswer(attempt=line.attempt)
    assert return_record(TOPICS, waiting.incoming, line, waiting.state, answer).key is None
    assert base64.b64decode(waiting.line.key or "") == b"k\xff"


def test_a_line_waits_until_its_tombstone_and_goes_back_before_its_deadline() -> None:
    record = the_line(deadline_ms=3_600_000)
    book = the_book(record)
    (waiting,) = book.free()
    assert waiting.planned.back_at_ms == NOW_MS + 3_600_000 - MARGIN_MS
    book.take(record.key or b"", an_incoming(None, key=record.key))
    assert book.free() == []


def test_a_line_that_was_late_is_known_until_its_batch_has_ended() -> None:
    (waiting,) = the_book(the_line()).free()
    late = waiting.late()
    again = line_record(TOPICS, late.incoming, late.line, late.state, lane=3)
    book = the_book(again)
    assert book.free() == []
    assert [one.line for one in book.of(["a"], late=True)] == [late.line]
    assert book.of(["a"]) == []


def test_the_book_knows_what_of_a_pool_is_used() -> None:
    provider = {
        "name": "openai", "kind": "openai", "model": "m", "key_variable": "K", "batch": True,
        "batch_tokens": 1_000,
    }  # fmt: skip
    record, state = the_line(), {"created_at": NOW, "provider": "openai", "prompt_tokens": 30}
    book = Book(Settings.model_validate({"providers": [provider]}))
    assert book.pools() == {}
    book.take(record.key or b"", as_read(record))
    (waiting,) = book.free()
    who = ("openai", waiting.planned.model)
    assert book.pools() == {who: Pool(1_000)}
    for number, stands in enumerate(("submitting", "submitted", "completed")):
        batch = BatchRecord.model_validate(
            {**state, "batch_id": str(number), "model": who[1], "state": stands}
        )
        book.batches[batch.batch_id] = batch
    assert book.pools() == {who: Pool(1_000, used=60)}
    assert the_book(record).pools() == {}, "no limit is set"


def test_what_says_nothing_of_a_line_is_not_ours() -> None:
    with pytest.raises(ValueError, match="says what it is"):
        Book(SETTINGS).take(b"x", an_incoming(an_intent().to_json()))


def test_an_intent_that_waits_is_deferred_and_is_a_line() -> None:
    incoming = an_incoming(an_intent().to_json())
    who = identify(incoming, max_bytes=1_000_000).who
    line = BatchLine(attempt=an_attempt(a_task()))
    decided = outcome_records(
        TOPICS, incoming, who, Deferred(0, a_state(), line=line), lane=3, outcome_id="o",
        worker="w", group="g", now=NOW,
    )  # fmt: skip
    (record,) = [one for one in decided.records if one.topic == TOPICS.batches]
    assert (record.key, record.partition, record.value) == (b"a", 3, incoming.value)
    assert not [one for one in decided.records if one.topic in TOPICS.deferred]
    assert (decided.ledger.status, decided.ledger.deferrals) == (WorkflowStatus.DEFERRED, 1)


# ── who is believed ─────────────────────────────────────────────────────────────────────────────


def a_ledger(status: WorkflowStatus, deferrals: int) -> Ledger:
    ledger = Ledger(sources=TOPICS.sources, window_ms=1_000)
    ledger.put(
        "i-1",
        LedgerRecord(
            outcome_id="o", status=status, deferrals=deferrals, topic=TOPICS.intents, offset=7,
            decided_at_ms=NOW_MS,
        ),
    )  # fmt: skip
    return ledger


@pytest.mark.parametrize(
    ("status", "deferrals", "topic", "raw", "believed"),
    [
        (WorkflowStatus.DEFERRED, 1, TOPICS.deferred[0], None, True),
        (WorkflowStatus.DEFERRED, 2, TOPICS.deferred[0], None, False),
        (WorkflowStatus.COMPLETED, 1, TOPICS.deferred[0], None, False),
        (WorkflowStatus.DEFERRED, 1, TOPICS.intents, None, False),
        (WorkflowStatus.DEFERRED, 1, TOPICS.deferred[0], b"{}", False),
        (WorkflowStatus.DEFERRED, 1, TOPICS.deferred[0], b"", False),
    ],
)
def test_an_answer_is_believed_where_its_intent_waits_in_a_batch(
    status: WorkflowStatus, deferrals: int, topic: str, raw: bytes | None, *, believed: bool
) -> None:
    (waiting,) = the_book(the_line()).free()
    answer = BatchAnswer(attempt=waiting.line.attempt, status=200)
    back = as_read(return_record(TOPICS, waiting.incoming, waiting.line, waiting.state, answer))
    headers = tuple(
        (name, raw if name == BATCH_ANSWER_HEADER and raw is not None else value)
        for name, value in back.headers
    )
    incoming = an_incoming(back.value, topic=topic, headers=headers)
    who = identify(incoming, max_bytes=1_000_000).who
    found = batch_answer(incoming, who, a_ledger(status, deferrals), TOPICS)
    assert (found == answer) if believed else (found is None)


def test_nobody_without_a_deferral_brings_an_answer() -> None:
    incoming = an_incoming(an_intent().to_json(), topic=TOPICS.deferred[0])
    who = identify(incoming, max_bytes=1_000_000).who
    ledger = a_ledger(WorkflowStatus.DEFERRED, 1)
    assert batch_answer(incoming, who, ledger, TOPICS) is None


# ── what a budget counts ────────────────────────────────────────────────────────────────────────


def test_a_budget_counts_a_lines_bound_while_it_waits_and_its_cost_when_it_is_back() -> None:
    budget = BudgetSpec(tenant="t", usd=Decimal(1), per="day")
    spending, waits = Spending([budget]), Execution(a_task(), NOW)
    waits.reserve(Decimal("0.5"))
    spending.add(3, "t", waits.paid, NOW)
    assert spending.counted(budget, "t", NOW) == Decimal("0.5")
    back = Execution(a_task(), NOW)
    back.settle(Decimal("0.5"))
    cost = {"cost_usd": Decimal("0.1"), "cost_upper_usd": Decimal("0.1")}
    back.end_call(an_attempt(a_task()).model_copy(update=cost), None)
    spending.add(3, "t", back.paid, NOW)
    assert spending.counted(budget, "t", NOW) == Decimal("0.1")
    assert (back.spent, back.exposure) == (Decimal("0.1"), Decimal("0.1"))


def test_a_bound_of_yesterday_takes_nothing_from_today() -> None:
    budget = BudgetSpec(tenant="t", usd=Decimal(1), per="day")
    spending, today = Spending([budget]), NOW + timedelta(days=1)
    spending.add(3, "t", Paid(uncertain_usd=Decimal("0.5")), NOW)
    spending.add(3, "t", Paid(Decimal("0.1"), Decimal("-0.5")), today)
    assert spending.counted(budget, "t", today) == Decimal("0.1")

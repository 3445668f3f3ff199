"""Rows of messages; pure, beside the tests that store them."""

import json
import uuid
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from schemas.attempt import ProviderAttempt
from schemas.outcome import DeadLetter
from schemas.rows import attempt_row, dead_letter_row
from schemas.vocabulary import AttemptStatus
from streams.lanes.letters import dead_letter
from streams.lanes.verdicts import internal
from streams.messages.identity import identify
from streams.recording.batch_token import batch_token
from tests.builders import NOW, an_incoming


def an_attempt(*, cost: str | None = "0.1", used: bool = True) -> ProviderAttempt:
    return ProviderAttempt.model_validate(
        {
            "attempt_id": str(uuid.uuid4()),
            "execution_id": str(uuid.uuid4()),
            "intent_id": "i-1",
            "status": "finished",
            "type": "message_generation",
            "provider": "openai",
            "requested_model": "gpt-3.5-turbo",
            "outcome": "success",
            "cost_usd": None if cost is None else Decimal(cost),
            "used_result": used,
            "started_at": NOW,
            "finished_at": NOW,
        }
    )


def test_a_row_made_twice_is_the_same() -> None:
    attempt = an_attempt()
    assert attempt_row(attempt) == attempt_row(attempt)


def test_a_used_answer_wins_over_the_same_answer_in_doubt() -> None:
    used = an_attempt(used=True)
    doubted = used.model_copy(update={"used_result": False})
    started = used.model_copy(update={"status": AttemptStatus.STARTED})
    versions = [attempt_row(one)[1]["record_version"] for one in (started, doubted, used)]
    assert versions == [0, 1, 2]


def test_an_unknown_price_stays_null() -> None:
    assert attempt_row(an_attempt(cost=None))[1]["cost_usd"] is None


@pytest.mark.parametrize(
    ("moment", "kept"),
    [
        ("2026-01-01T00:00:00+02:00", "2025-12-31 22:00:00.000"),  # the column is in UTC
        ("2026-01-01T00:00:00.123456", "2026-01-01 00:00:00.123"),
        ("0001-01-01T00:00:00+14:00", "1970-01-01 00:00:00.000"),
        ("9999-12-31T23:59:59-14:00", "2199-12-31 00:00:00.000"),
    ],
)
def test_any_moment_becomes_one_that_the_column_holds(moment: str, kept: str) -> None:
    raw = json.dumps({**an_attempt().to_dict(), "started_at": moment})
    assert attempt_row(ProviderAttempt.model_validate_json(raw))[1]["started_at"] == kept


def test_a_dead_letter_with_one_moment_without_a_zone_is_a_row() -> None:
    letter = dead_letter(
        an_incoming(),
        identify(an_incoming(), max_bytes=1000).who,
        internal("x"),
        dead_letter_id="d",
        now=NOW,
    )
    raw = json.dumps({**letter.to_dict(), "failed_at": "2026-01-31T09:30:01"})
    assert dead_letter_row(DeadLetter.model_validate_json(raw))[1]["total_ms"] == 1000


def a_record(offset: int, value: bytes, partition: int = 0) -> Any:
    return SimpleNamespace(topic="t", partition=partition, offset=offset, value=value)


def test_a_batch_is_named_by_its_content_whatever_the_order_of_partitions() -> None:
    batch = [a_record(0, b"a"), a_record(1, b"b"), a_record(0, b"c", partition=1)]
    assert batch_token("t", batch) == batch_token("t", [batch[2], *batch[:2]])
    others = [
        batch_token("u", batch),
        batch_token("t", batch[:2]),
        batch_token("t", [a_record(0, b"a"), a_record(1, b"x"), batch[2]]),
        batch_token("t", [a_record(1, b"a"), a_record(2, b"b"), batch[2]]),
    ]
    assert len({batch_token("t", batch), *others}) == 5

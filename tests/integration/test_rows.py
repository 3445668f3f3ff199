"""Rows of messages; pure, beside the tests that store them."""

import uuid
from decimal import Decimal

from schemas.attempt import ProviderAttempt
from schemas.rows import attempt_row
from schemas.vocabulary import AttemptStatus
from tests.builders import NOW


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

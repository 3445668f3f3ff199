"""What the decision core says in the corners; with the other unit tests it is covered whole."""

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from agents.capacity.breaker import BreakerPolicy, BreakerState, CircuitBreaker
from agents.deciding.failures import Failure, parse_retry_after
from agents.deciding.hedging import HedgePolicy, Hedger
from agents.deciding.overrides import overrides_of
from agents.deciding.policy import (
    Defer,
    Fallback,
    GiveUp,
    Limits,
    Override,
    RetryPolicy,
    Situation,
    choose,
    decide,
)
from agents.deciding.routes import Router
from agents.deciding.structured import AnswerError, check_schema, parse_answer
from agents.pricing.prices import PriceBook
from agents.pricing.rates import Prompt
from agents.pricing.usage import Usage
from agents.task import Completed
from schemas.budgets import SpendRecord
from schemas.events import CachedAnswer, DeferralState
from schemas.outcome import RecordSource
from schemas.providers import RouteSpec
from schemas.settings import Settings
from schemas.topics import Topics
from schemas.vocabulary import DeadLetterReason, FailureKind, Priority
from streams.lanes.outcome_records import outcome_records
from streams.lanes.verdicts import spend_record
from streams.messages.deferrals import deferral_of
from streams.messages.identity import NO_OUTLINE, outline
from streams.messages.records import DEFERRAL_HEADER, header
from streams.worker.dead_letter_breaker import DeadLetterBreaker
from streams.worker.fair_queue import FairQueue
from tests.builders import NOW, NOW_MS, a_result, a_task, an_attempt, an_incoming, an_intent
from tests.unit.test_capacity import Item, a_failed, end
from tests.unit.test_policy import a_situation

TOPICS = Topics("workflow", (10.0, 60.0), 86_400)


# ── policy ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(deadline_at_ms=NOW_MS), DeadLetterReason.DEADLINE),
        (Limits(max_cost_usd=Decimal(1)), DeadLetterReason.BUDGET),
    ],
)
def test_an_intents_own_limits_come_first(limits: Limits, reason: DeadLetterReason) -> None:
    situation = a_situation(limits=limits, spent_usd=Decimal(1))
    assert choose(RetryPolicy(), situation) == GiveUp(reason)
    failure = Failure(FailureKind.TIMEOUT, "c", "m")
    assert decide(RetryPolicy(), situation, failure, dice=0) == GiveUp(reason)


def decided(kind: FailureKind, situation: Situation, **policy: Any) -> object:
    failure = Failure(kind, "c", "m", retry_after_ms=90_000)
    return decide(RetryPolicy(**policy), situation, failure, dice=0)


def test_the_users_own_lines_win_where_they_can_be_done() -> None:
    overrides = {
        ("openai", FailureKind.TIMEOUT): Override(provider="azure"),
        ("openai", FailureKind.SERVER_ERROR): Override(provider="elsewhere"),
        ("openai", FailureKind.RATE_LIMIT): Override(defer_s=60),
    }
    free, busy = a_situation(), a_situation(waits_s=(0.0, 99.0), calls_here=4)
    assert decided(FailureKind.TIMEOUT, free, overrides=overrides) == Fallback(1, "timeout")
    assert isinstance(decided(FailureKind.TIMEOUT, busy, overrides=overrides), Defer)
    assert decided(FailureKind.SERVER_ERROR, free, overrides=overrides) == Fallback(
        1, "server_error"
    )
    assert decided(FailureKind.RATE_LIMIT, free, overrides=overrides) == Defer(
        2, 600.0, NOW_MS + 90_000, "rate_limit"
    )


def test_a_refusal_goes_elsewhere_only_where_configured_and_possible() -> None:
    allowed = frozenset({FailureKind.CONTENT_FILTER})
    kind = FailureKind.CONTENT_FILTER
    assert decided(kind, a_situation(), fallback_on=allowed) == Fallback(1, "content_filter")
    last = a_situation(position=1)
    assert decided(kind, last, fallback_on=allowed) == GiveUp(DeadLetterReason.REJECTED)


def test_everybody_busy_for_a_moment_waits_for_the_first_one_free() -> None:
    situation = a_situation(waits_s=(30.0, 2.0))
    assert choose(RetryPolicy(), situation) == Fallback(1, "unavailable")


@pytest.mark.parametrize(
    ("line", "wanted", "said"),
    [
        ("nobody_timeout", "azure", "must be <provider>_<failure>"),
        ("openai_boredom", "azure", "must be <provider>_<failure>"),
        ("openai_timeout", "nobody", "must be a provider"),
        ("openai_timeout", "defer soon", "must be a provider"),
    ],
)
def test_a_line_that_says_nothing_is_refused(line: str, wanted: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        overrides_of(Settings(policy={line: wanted}))


def test_the_originals_names_are_understood() -> None:
    lines = {"azure_timeout": "openai", "openai_rate_limited": "defer 60"}
    assert overrides_of(Settings(policy=lines)) == {
        ("azure", FailureKind.TIMEOUT): Override(provider="openai"),
        ("openai", FailureKind.RATE_LIMIT): Override(defer_s=60.0),
    }


# ── routes ──────────────────────────────────────────────────────────────────────────────────


def test_the_first_route_that_fits_is_taken_and_a_kind_stands_for_its_providers() -> None:
    kinds = {"eu": "azure", "us": "azure", "vllm": "openai"}
    routes = [
        RouteSpec(providers=("eu",), types=("content_planning",), requires_multi_platform=True),
        RouteSpec(providers=("vllm",), priorities=(Priority.LOW,)),
    ]
    router = Router(kinds, routes)
    plan = an_intent(type="content_planning", requires_multi_platform=True, priority="low")
    assert router.route(plan, identity="i") == ("eu",)
    assert router.route(an_intent(priority="low"), identity="i") == ("vllm",)
    assert router.route(an_intent(), identity="i") == ("vllm", "eu", "us"), (
        "no route fits: the contract's"
    )
    assert router.route(an_intent(force_provider="azure"), identity="i") == ("eu", "us")


# ── capacity ────────────────────────────────────────────────────────────────────────────────


def test_a_probe_that_is_told_to_wait_does_not_fail_and_moves_the_next_one() -> None:
    health = CircuitBreaker(BreakerPolicy())
    end(health, 0.0, FailureKind.AUTH)
    end(health, 30.0, FailureKind.RATE_LIMIT, 10.0)
    assert (health.state, health.wait_s(30.0)) == (BreakerState.HALF_OPEN, 10.0)


def test_what_a_hedge_cost_is_forgotten_after_an_hour() -> None:
    hedger = Hedger(HedgePolicy(frozenset({"high"}), most_share=1.0), ["a"])
    assert hedger.allow(0.0, Decimal(1))
    assert not hedger.allow(3_599.0, Decimal(1))
    assert hedger.allow(3_600.0, Decimal(1))


def test_what_a_hedge_would_cost_must_be_known() -> None:
    hedger = Hedger(HedgePolicy(frozenset({"high"}), most_share=1.0), ["a"])
    assert not hedger.allow(0.0, None), "no limit could be held"
    assert hedger.allow(0.0, Decimal(0)), "of one's own server it is known: nothing"


def test_without_experience_nothing_is_hedged() -> None:
    hedger = Hedger(HedgePolicy(frozenset({"high"})), ["a"])
    intent = an_intent(priority="high")
    for _ in range(19):
        hedger.note("a", 1.0)
    assert hedger.delay_s(intent, "a") is None
    hedger.note("a", 1.0)
    hedger.count_call()
    assert hedger.delay_s(intent, "a") == 1.0
    assert hedger.delay_s(an_intent(), "a") is None


def test_a_lineup_and_a_breaker_can_begin_anew() -> None:
    queue: FairQueue[Item] = FairQueue({})
    queue.add(Item("a", 0, 1))
    queue.clear()
    assert (len(queue), queue.take(lambda _item: True)) == (0, None)
    breaker = DeadLetterBreaker()
    for _ in range(99):
        breaker.note(a_failed(DeadLetterReason.EXHAUSTED))
    breaker.forget()
    assert not breaker.note(a_failed(DeadLetterReason.EXHAUSTED))


# ── money ───────────────────────────────────────────────────────────────────────────────────


def test_a_limit_pays_for_so_many_output_tokens() -> None:
    def affordable(budget: str, model: str = "gpt-3.5-turbo") -> int | None:
        rates = PriceBook().worst(("openai", "openai"), (model,), Prompt(100), at=NOW)
        assert rates is not None
        return rates.affordable_output(Prompt(100), Decimal(budget))

    assert affordable("0.0012") == 500
    assert affordable("0.0002") == affordable("0.0001") == 0
    assert affordable("1", "text-embedding-3-small") is None, "its output costs nothing"
    assert PriceBook().worst(("openai", "openai"), ("no-such-x1",), Prompt(), at=NOW) is None
    assert (
        PriceBook().upper_bound(
            ("openai", "openai"), ("no-such-x1",), prompt_tokens=1, max_output_tokens=1, at=NOW
        )
        is None
    )


def test_the_first_name_that_has_a_price_counts() -> None:
    usage = Usage(1_000)
    found = PriceBook().price(("openai", "openai"), ("", "gpt-4o-mini"), usage, at=NOW)
    assert found.usd == Decimal("0.00015")


def test_a_date_without_a_zone_is_no_retry_after() -> None:
    naive = (NOW + timedelta(seconds=60)).strftime("%a, %d %b %Y %H:%M:%S -0000")
    assert parse_retry_after({"retry-after": naive}, now=NOW) is None


# ── answers ─────────────────────────────────────────────────────────────────────────────────


def test_an_answer_follows_its_schema_or_says_where_it_does_not() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    assert check_schema(schema) is None
    assert check_schema({"type": 7}) == "response_schema is not a JSON Schema at $.type"
    assert parse_answer('{"n": 1}', schema) == {"n": 1}
    with pytest.raises(AnswerError, match=r"does not follow the schema at \$\.n \(type\)"):
        parse_answer('{"n": "x"}', schema)


# ── outlines ────────────────────────────────────────────────────────────────────────────────

ROUTER = Router({"openai": "openai", "azure": "azure"})


def test_an_outline_says_what_the_order_of_work_needs_in_either_case() -> None:
    value = json.dumps(
        {"type": "campaign_execution", "requiresMultiPlatform": True, "tenant": "acme",
         "deadlineMs": 500}
    ).encode()  # fmt: skip
    found = outline(an_incoming(value), ROUTER, max_bytes=1000)
    assert (found.tenant, found.route) == ("acme", ("azure", "openai"))
    assert not found.is_late(NOW_MS + 499)
    assert found.is_late(NOW_MS + 500)


def test_a_deferred_intents_deadline_counts_from_when_it_first_came() -> None:
    first = NOW - timedelta(seconds=60)
    state = DeferralState(
        due_at_ms=0, count=1, hop=1, reason="r", intent_id="i",
        source=RecordSource(topic="t", partition=0, offset=0, timestamp=first),
    )  # fmt: skip
    incoming = an_incoming(
        b'{"type": "x", "deadline_ms": 1000}', headers=((DEFERRAL_HEADER, state.to_json()),)
    )
    assert outline(incoming, ROUTER, max_bytes=1000).is_late(NOW_MS - 59_000)


def test_a_deferral_header_that_cannot_be_read_counts_for_nothing() -> None:
    assert deferral_of(an_incoming(b"{}", headers=((DEFERRAL_HEADER, b"?"),))) is None


@pytest.mark.parametrize(
    "value",
    [None, b"", b"x" * 2000, b"[" * 200, b"{", b"[]", b'"text"', b'{"priority": "now"}',
     b'{"type": "x", "deadline_ms": "soon"}', b"\xff"],
)  # fmt: skip
def test_what_is_no_intent_has_no_outline_and_raises_nothing(value: bytes | None) -> None:
    assert outline(an_incoming(value), ROUTER, max_bytes=1000) == NO_OUTLINE


# ── records ─────────────────────────────────────────────────────────────────────────────────


def test_a_result_that_is_to_be_delivered_and_cached_says_so() -> None:
    from streams.messages.identity import identify

    intent = an_intent(intent_id="i-1", send_to_onlyfans=True, recipient_id="r-1")
    incoming = an_incoming(intent.to_json())
    answer = CachedAnswer(provider="openai", served_model="m", content="c", stored_at_ms=1)
    outcome = Completed(a_result(a_task()), an_attempt(a_task()), cached=("name", answer))
    decided = outcome_records(
        TOPICS, incoming, identify(incoming, max_bytes=9_999).who, outcome, lane=3,
        outcome_id="o", worker="w", group="g", now=NOW,
    )  # fmt: skip
    by_topic = {record.topic: record for record in decided.records}
    delivery = header(by_topic[TOPICS.results].headers, "hybrid-delivery")
    assert json.loads(delivery or b"{}") == {"recipient_id": "r-1", "platforms": []}
    assert by_topic[TOPICS.cache].key == b"name"
    assert CachedAnswer.model_validate_json(by_topic[TOPICS.cache].value or b"") == answer


def test_spend_is_kept_by_lane_and_tenant() -> None:
    record = spend_record(TOPICS, SpendRecord(tenant="acme", lane=3, periods={}))
    assert (record.topic, record.key, record.partition) == (TOPICS.spend, b"3/acme", 3)

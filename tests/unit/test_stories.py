"""One intent's story: from what is on record to spans with a because, and one sentence."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from schemas.attempt import ProviderAttempt
from schemas.events import WorkflowEvent
from schemas.outcome import DeadLetter
from streams.stories.building import story_of
from streams.stories.document import SPAN_FIELDS, document_of
from streams.stories.parts import Call, Ending, Event, Waiting
from streams.stories.record import Record, merged
from streams.stories.story import SpanKind, Status, Story
from streams.stories.words import duration, money
from tests.builders import NOW, a_result, a_task

EXECUTION = "01900000-0000-7000-8000-00000000000{}"


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def a_call(seconds: float, **changes: Any) -> Call:
    """A call that began so many seconds after the intent came in."""
    values = {
        "attempt_id": f"a-{seconds}",
        "execution_id": EXECUTION.format(0),
        "intent_id": "i-1",
        "tenant": "acme",
        "type": "message_generation",
        "status": "finished",
        "provider": "openai",
        "requested_model": "m",
        "outcome": "success",
        "http_status": 200,
        "used_result": True,
        "cost_usd": "0.0031",
        "cost_upper_usd": "0.0031",
        "call_ms": 400,
        "started_at": at(seconds),
        "worker": "w-1",
    }
    return Call.of(ProviderAttempt.model_validate({**values, **changes}))


def a_failure(seconds: float, status: int = 429, **changes: Any) -> Call:
    outcome = "rate_limit" if status == 429 else "server_error"
    values: dict[str, Any] = {
        "outcome": outcome,
        "http_status": status,
        "used_result": False,
        "cost_usd": "0",
        "cost_upper_usd": "0",
        "call_ms": 100,
    }
    return a_call(seconds, **{**values, **changes})


def an_unfinished(seconds: float, **changes: Any) -> Call:
    values: dict[str, Any] = {
        "status": "started",
        "outcome": "unknown",
        "http_status": None,
        "used_result": False,
        "cost_usd": None,
        "cost_upper_usd": "0.02",
        "call_ms": 0,
        "deadline_at": at(seconds + 60),
    }
    return a_call(seconds, **{**values, **changes})


def a_completion(seconds: float, **changes: Any) -> Ending:
    result = a_result(a_task()).model_copy(update={"completed_at": at(seconds), **changes})
    timings = result.timings.model_copy(update={"total_ms": round(seconds * 1000)})
    return Ending.of_result(result.model_copy(update={"timings": timings}))


def a_death(seconds: float, **changes: Any) -> Ending:
    values: dict[str, Any] = {
        "dead_letter_id": "d-1",
        "intent_id": "i-1",
        "reason": "rejected",
        "error_class": "validation",
        "error_code": "bad_request",
        "error_message": "no such field",
        "retriable": False,
        "suggested_action": "correct the intent",
        "source": {"topic": "t", "partition": 0, "offset": 0, "timestamp": NOW},
        "original": {},
        "tenant": "acme",
        "failed_at": at(seconds),
    }
    return Ending.of_letter(DeadLetter.model_validate({**values, **changes}))


def an_event(name: str, seconds: float, **details: Any) -> Event:
    document = {"event_id": f"{name}-{seconds}", "name": name, "intent_id": "i-1"}
    return Event.of(
        WorkflowEvent.model_validate({**document, "details": details, "occurred_at": at(seconds)})
    )


def a_place(seconds: float, **changes: Any) -> Waiting:
    values: dict[str, Any] = {"topic": "workflow.intents", "partition": 3, "offset": 7}
    return Waiting(**{**values, "since": at(seconds), "accepted_at": NOW, **changes})


def story(*parts: Call | Ending | Event | Waiting, now: float = 1000) -> Story:
    def of(kind: type) -> tuple[Any, ...]:
        return tuple(part for part in parts if isinstance(part, kind))

    record = merged([Record("i-1", of(Call), of(Ending), of(Event), of(Waiting))])
    return story_of(record, at(now))


def kinds(told: Story) -> list[str]:
    return [span.kind.value for span in told.spans]


def because(told: Story, kind: SpanKind) -> str:
    return next(span.because for span in told.spans if span.kind is kind)


def test_a_success_is_a_queue_a_call_and_a_commit() -> None:
    told = story(
        a_call(0.5, queue_ms=300, limiter_ms=200),
        a_completion(0.9),
        an_event("workflow_completed", 0.95, result_id=f"r-{EXECUTION.format(0)}", cached=False),
    )
    assert told.headline == "Completed after 900 ms for $0.0031 at openai"
    assert kinds(told) == ["queue", "limiter", "call", "commit"]
    assert told.accepted_at == NOW
    assert told.spent_on(SpanKind.LIMITER) == timedelta(milliseconds=200)
    assert told.spent_on(SpanKind.COMMIT) == timedelta(milliseconds=50)
    assert "openai's limits" in because(told, SpanKind.LIMITER)


def test_retries_say_what_was_answered_and_how_long_was_asked_for() -> None:
    told = story(
        a_failure(0.1, retry_after_ms=2000, error_code="rate_limit_exceeded"),
        a_failure(2.2, attempt=2, backoff_ms=2000),
        a_failure(4.3, attempt=3, backoff_ms=2000),
        a_call(6.4, attempt=4, backoff_ms=2000),
        a_completion(6.8),
    )
    assert told.headline == (
        "Completed after 6.8 s for $0.0031 at openai: openai answered 429 three times"
    )
    assert kinds(told).count("backoff") == 3
    said = "openai answered 429 (rate_limit_exceeded), and asked for 2 s"
    assert because(told, SpanKind.BACKOFF) == said


def test_a_fallback_names_both_providers_and_takes_no_time() -> None:
    told = story(
        a_failure(0.1, 503),
        a_call(0.3, provider="azure", provider_sequence=1),
        a_completion(0.7, provider="azure"),
        an_event("fallback_started", 0.7, to="azure", **{"from": "openai"}),
    )
    assert told.headline == "Completed after 700 ms for $0.0031 at azure: openai answered 503"
    moved = next(span for span in told.spans if span.kind is SpanKind.FALLBACK)
    assert (moved.label, moved.because) == ("openai → azure", "openai answered 503")
    assert moved.length(told.now) == timedelta(0)


def test_a_first_choice_that_cannot_be_called_is_named_too() -> None:
    told = story(
        a_call(0.3, provider="azure", provider_sequence=1, queue_ms=100),
        an_event("fallback_started", 0.7, to="azure", **{"from": "openai"}),
        a_completion(0.7, provider="azure"),
    )
    assert because(told, SpanKind.FALLBACK) == "openai could not be called"


def test_a_deferral_over_a_restart_is_one_wait_with_its_reason() -> None:
    """Put off by one worker, gone on with by another: a new execution, its queue from the begin."""
    parts = (
        a_failure(0.1),
        an_event(
            "workflow_deferred", 0.3, reason="rate_limit", count=1,
            until=at(60.3).isoformat(), accepted_at=NOW.isoformat(),
        ),
    )  # fmt: skip
    put_off = story(*parts, a_place(0.3, due_at=at(60.3), reason="rate_limit"), now=10)
    assert (put_off.status, put_off.due_at) == (Status.DEFERRED, at(60.3))
    assert put_off.headline == (
        "Deferred until 09:31:00 UTC, in 50 s; $0 so far: openai answered 429"
    )
    assert (put_off.spans[-1].kind, put_off.spans[-1].end) == (SpanKind.DEFERRAL, None)
    later = a_call(101, execution_id=EXECUTION.format(1), queue_ms=101_000, worker="w-2")
    told = story(*parts, later, a_completion(102))
    assert told.headline == (
        "Completed after 1 min 42 s for $0.0031 at openai: openai answered 429; put off once, "
        "1 min in all, as every provider asked for fewer calls"
    )
    assert kinds(told) == ["call", "deferral", "queue", "call", "commit"]
    assert told.spans[2].because == "in line again after its deferral"
    assert told.spans[2].length(told.now) == timedelta(seconds=40.7)


def test_a_call_without_an_end_runs_until_its_deadline_and_then_is_lost() -> None:
    running = story(an_unfinished(1), now=5)
    assert running.status is Status.RUNNING
    assert running.headline == "Running, 4 s so far; call 1 is at openai for 4 s"
    lost = story(an_unfinished(1), a_place(0), now=100)
    assert (lost.status, lost.turns.orphans, lost.spans[-1].state) == (Status.LOST, 1, "orphaned")
    assert lost.spans[-1].because == (
        "no end was heard: worker w-1 died or lost its lane; may have cost up to $0.02"
    )
    assert "another worker begins it anew" in lost.headline


def test_an_orphan_is_told_with_what_it_may_have_cost() -> None:
    told = story(
        an_unfinished(1),
        a_call(20, execution_id=EXECUTION.format(1), queue_ms=20_000),
        a_completion(20.4),
    )
    assert told.headline == (
        "Completed after 20 s for $0.0031 (up to $0.02 more) at openai: a worker died during a "
        "call to openai"
    )
    first = told.spans[0]
    assert (first.state, first.end) == ("orphaned", at(20))


def test_a_hedge_stands_beside_its_rival() -> None:
    told = story(
        a_call(0.1, outcome="cancelled", error_code="hedge_lost", used_result=False,
               cost_usd="0", cost_upper_usd="0", http_status=None, call_ms=800),
        a_call(0.5, provider="azure", provider_sequence=1, hedge=True),
        a_completion(0.9, provider="azure"),
    )  # fmt: skip
    assert told.headline == (
        "Completed after 900 ms for $0.0031 at azure: azure was asked beside the first and was "
        "quicker"
    )
    assert [span.state for span in told.spans if span.call] == ["cancelled", "success"]
    assert SpanKind.FALLBACK not in {span.kind for span in told.spans}


@pytest.mark.parametrize("from_row", [False, True])
def test_a_cache_hit_has_no_call(from_row: bool) -> None:
    metadata = a_result(a_task()).metadata.model_copy(update={"cached": True, "attempt": 0})
    ending = a_completion(0.2, metadata=metadata)
    parts: tuple[Ending | Event, ...] = (ending,)
    if from_row:  # ClickHouse's row does not say it, the event does
        row = {name: getattr(ending, name, None) for name in Ending.model_fields}
        ending = Ending.of_row({**row, "status": "completed", "completed_at": at(0.2),
                                "total_cost_usd": Decimal(0), "replay_count": 0})  # fmt: skip
        done = an_event("workflow_completed", 0.2, result_id=ending.outcome_id, cached=True)
        parts = (ending, done)
    told = story(*parts)
    assert told.headline == "Completed after 200 ms from the cache, without a call"
    assert kinds(told) == ["queue", "cache"]


def test_a_dead_letter_is_told_with_its_reason_and_code() -> None:
    told = story(a_failure(0.1, 400, outcome="validation"), a_death(0.3))
    assert told.headline == (
        "Ended as a dead letter (rejected, bad_request) after 300 ms for $0: openai answered 400"
    )
    assert document_of(told)["outcome"]["suggested_action"] == "correct the intent"


def test_a_replay_is_a_second_round_after_the_time_as_a_dead_letter() -> None:
    again = a_call(60.5, execution_id=EXECUTION.format(1), replay_count=1, queue_ms=500)
    waits = story(a_failure(0.1, 400), a_death(0.3), a_place(60, replay_count=1), now=61)
    assert waits.headline.startswith("Replayed, and waits for 1 s in workflow.intents")
    told = story(a_failure(0.1, 400), a_death(0.3), again, a_completion(60.9))
    assert told.headline == (
        "Completed after 1 min 1 s for $0.0031 at openai: openai answered 400; replayed once after "
        "a dead letter (rejected)"
    )
    assert kinds(told) == ["call", "commit", "dead letter", "queue", "call"]
    assert because(told, SpanKind.DEAD) == (
        "ended without a result (rejected), until it was replayed"
    )


def test_a_record_that_was_published_again_changes_no_outcome() -> None:
    told = story(a_call(0.1), a_completion(0.5), an_event("duplicate_ignored", 9), a_place(8))
    assert told.status is Status.COMPLETED
    assert told.notes == (
        "published once more after it had been decided: ignored, nothing was called",
    )


def test_a_delivery_waits_for_its_turn_after_the_result() -> None:
    told = story(a_call(0.1), a_completion(0.5), an_event("onlyfans_message_scheduled", 45.5))
    assert told.spans[-1].kind is SpanKind.DELIVERY
    assert told.spans[-1].length(told.now) == timedelta(seconds=45)


def test_what_has_not_begun_waits_in_its_topic() -> None:
    told = story(a_place(0), now=12)
    assert told.status is Status.WAITING
    assert told.headline == "Waits for 12 s in workflow.intents; no worker has begun it"
    assert told.spans[0].because == "no worker has begun it"


def test_between_two_calls_it_backs_off() -> None:
    told = story(a_failure(1), a_place(0), now=2)
    assert (told.status, told.spans[-1].kind) == (Status.RUNNING, SpanKind.BACKOFF)
    assert told.spans[-1].because == "openai answered 429"


def test_an_unknown_price_is_no_zero() -> None:
    told = story(a_call(0.1, cost_usd=None, cost_upper_usd=None), a_completion(0.5))
    assert "for an unknown price (1 call)" in told.headline
    assert document_of(told)["cost_usd"] is None


def test_what_both_sources_have_counts_once_and_the_end_wins() -> None:
    journal = Record("i-1", (an_unfinished(1, attempt_id="a"),))
    later = Record("i-1", (a_call(1, attempt_id="a"),), (a_completion(1.4),))
    for order in ([journal, later], [later, journal]):
        told = story_of(merged(order), at(5))
        assert [call.finished for call in told.record.calls] == [True]
        assert told.status is Status.COMPLETED


def test_a_tenant_sees_its_own_intent_only() -> None:
    record = merged([Record("i-1", (a_call(1), a_call(2, tenant="other")))])
    assert record.tenants == ("acme", "other")
    assert [call.tenant for call in record.of_tenant("other").calls] == ["other"]


def test_a_document_has_every_field_of_each_span() -> None:
    document = document_of(story(a_failure(0.1), a_place(0), now=3))
    assert all(tuple(span) == SPAN_FIELDS for span in document["spans"])
    assert document["as_of"] == "2026-01-31T09:30:03.000Z"
    assert document["waiting_at"] == ["workflow.intents:3:7"]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.0854, "85 ms"), (1.44, "1.4 s"), (19.96, "20 s"), (59.6, "1 min"), (102, "1 min 42 s"),
     (7500, "2 h 5 min"), (3600, "1 h"), (273_600, "3 d 4 h"), (-1, "0 ms")],
)  # fmt: skip
def test_a_duration_is_said_with_two_parts_at_most(seconds: float, said: str) -> None:
    assert duration(timedelta(seconds=seconds)) == said


@pytest.mark.parametrize(
    ("usd", "said"),
    [("0", "$0"), ("0.0031", "$0.0031"), ("0.0000189", "$0.000019"), ("12.5", "$12.50"),
     ("0.2", "$0.2"), ("1234.5", "$1,234.50")],
)  # fmt: skip
def test_money_is_said_with_the_digits_that_count(usd: str, said: str) -> None:
    assert money(Decimal(usd)) == said

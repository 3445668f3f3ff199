"""What one transaction writes."""

import base64
import json
from typing import Any

from agents.task import Deferred, Failed
from schemas.events import DeferralState, KeptCall, StartRecord
from schemas.settings import Settings
from schemas.topics import Topics
from schemas.vocabulary import DeadLetterReason, ErrorClass
from streams.lanes.outcome_records import outcome_records
from streams.messages.deferrals import deferral_of
from streams.messages.identity import deduplication_key, identify
from streams.messages.records import Decided, Incoming, start_record
from streams.messages.traces import with_trace
from tests.builders import NOW, NOW_MS, a_task, an_attempt, an_incoming, an_intent

TOPICS = Topics("workflow", (10.0, 60.0), 86_400)
VALUE = an_intent(intent_id="i-1", deduplication_id="d-1", tenant="acme").to_json()
FAILED = Failed(
    reason=DeadLetterReason.REJECTED,
    error_class=ErrorClass.VALIDATION,
    code="http_400",
    message="the provider answered 400",
    retriable=False,
    suggested_action="correct it",
)


def written(incoming: Incoming, outcome: Any) -> Decided:
    return outcome_records(
        TOPICS,
        incoming,
        identify(incoming, max_bytes=2_000_000).who,
        outcome,
        lane=3,
        outcome_id="o-1",
        worker="w",
        group="g",
        now=NOW,
    )


def by_topic(decided: Decided, topic: str) -> Any:
    return next(record for record in decided.records if record.topic == topic)


def test_a_dead_letter_holds_the_exact_bytes_and_the_headers_of_kip_1191() -> None:
    incoming = an_incoming(
        VALUE, key=b"\xffkey", headers=(("traceparent", b"00-a-b-01"), ("x", b"\x00"))
    )
    decided = written(incoming, FAILED)
    record = by_topic(decided, "workflow.dead-letters")
    letter, headers = json.loads(record.value), dict(record.headers)
    assert base64.b64decode(letter["original"]["value"]) == VALUE
    assert base64.b64decode(letter["original"]["key"]) == b"\xffkey"
    assert headers["traceparent"] == b"00-a-b-01"
    assert headers["x"] == b"\x00"
    assert (headers["intent-id"], headers["tenant"]) == (b"i-1", b"acme")
    assert headers["__dlq.errors.offset"] == b"7"
    assert all(dict(one.headers)["traceparent"] == b"00-a-b-01" for one in decided.records)
    assert headers["__dlq.errors.reason"] == b"rejected"


def test_the_ledger_entry_is_under_the_deduplication_id_on_the_lanes_own_partition() -> None:
    plain = an_intent(intent_id="i-1", deduplication_id="d-1").to_json()
    decided = written(an_incoming(plain), FAILED)
    record = by_topic(decided, "workflow.ledger")
    assert (record.key, record.partition) == (b"d-1", 3)
    decided = written(an_incoming(VALUE), FAILED)
    record = by_topic(decided, "workflow.ledger")
    assert (record.key, record.partition) == (b"\x00tenant/4/acme/d-1", 3)
    assert json.loads(record.value)["status"] == "failed"


def test_a_deferred_intent_is_the_same_bytes_with_what_the_next_try_must_know() -> None:
    incoming = an_incoming(VALUE, headers=(("x", b"1"),))
    state = DeferralState(
        due_at_ms=NOW_MS + 10_000,
        count=1,
        hop=1,
        reason="timeout",
        intent_id="i-1",
        source=incoming.source,
    )
    record = by_topic(written(incoming, Deferred(0, state)), "workflow.deferred.10s")
    assert (record.value, record.partition) == (VALUE, 3)
    again = an_incoming(record.value, topic=record.topic, headers=record.headers)
    who = identify(again, max_bytes=10_000).who
    assert deferral_of(again) == state.model_copy(update={"key": who.key})
    assert (who.source, who.key) == (incoming.source, deduplication_key("acme", "d-1"))
    assert who.stated_key == "d-1"


def test_the_largest_intent_the_topic_lets_in_fits_into_its_dead_letter() -> None:
    settings = Settings()
    for body, headers in (
        (settings.max_topic_intent_bytes, ()),
        (1_000, (("big", b"h" * (settings.max_topic_intent_bytes - 2_000)),)),
    ):
        incoming = an_incoming(b"x" * body, headers=headers)
        decided = written(incoming, FAILED)
        assert max(record.size for record in decided.records) < settings.max_record_bytes - 1024


def test_a_start_says_what_providers_keep_and_a_trace_is_added_only_where_none_is() -> None:
    call = KeptCall(attempt=an_attempt(a_task()), key="k")
    record = start_record(TOPICS, "i-1", 2, lane=3, kept=[call])
    assert StartRecord.model_validate_json(record.value or b"").kept == [call]
    own = (("traceparent", f"00-{'a' * 32}-{'b' * 16}-01".encode()),)
    other = f"00-{'c' * 32}-{'d' * 16}-01"
    assert with_trace(own, other) == own
    assert with_trace((), None) == ()
    assert with_trace((), other) == (("traceparent", other.encode()),)

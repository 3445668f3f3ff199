"""Records as strangers write them: timestamps, header names, traces, tenants, numbers, halves."""

import base64
import json
import struct
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import cramjam
import lz4.frame
import pytest
import zstandard
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record import default_records
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from hypothesis import given
from hypothesis import strategies as st

from agents.deciding.routes import Router
from agents.task import Deferred, Failed
from schemas.base import format_time, format_usd
from schemas.codec import IntentError, InvalidIntentError, PoisonError, decode_intent
from schemas.events import DeferralState, WorkflowEvent
from schemas.outcome import RecordSource
from schemas.topics import Topics
from schemas.tracing import traceparent_of, tracestate_of
from schemas.vocabulary import DeadLetterReason, ErrorClass, EventName
from streams.kafka.parsing import read_any_header_name
from streams.lanes.outcome_records import outcome_records
from streams.messages.deferrals import deferral_of
from streams.messages.duplicates import duplicate_records
from streams.messages.identity import NO_OUTLINE, deduplication_key, identify, outline
from streams.messages.moments import usable_timestamp_ms
from streams.messages.records import (
    DEFERRAL_HEADER,
    Decided,
    readable_headers,
    writable_headers,
)
from tests.builders import NOW, NOW_MS, a_task, an_incoming, an_intent

TOPICS = Topics("workflow", (10.0, 60.0), 86_400)
ROUTER = Router({"openai": "openai"})
FAILED = Failed(
    DeadLetterReason.POISON, ErrorClass.VALIDATION, "c", "m", retriable=False, suggested_action="a"
)
BODY = an_intent(intent_id="i-1").to_json()
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
VALID = f"00-{TRACE}-{SPAN}-01"


class RawName(str):
    """A header's name that is written as the bytes that it was made of."""

    __slots__ = ()

    def encode(self, *_: Any) -> bytes:
        return bytes.fromhex(self)


def a_batch(*headers: tuple[str, bytes | None], codec: int = 0, records: int = 1) -> bytes:
    builder = _DefaultRecordBatchBuilderPy(2, codec, 0, -1, -1, -1, 1 << 20)
    for number in range(records):
        builder.append(number, NOW_MS, b"k", b"v" * 200, list(headers))
    return bytes(builder.build())


def read(raw: bytes) -> list[Any]:
    read_any_header_name()
    batches, found = fetcher.MemoryRecords(raw), []
    while batches.has_next():
        batch = batches.next_batch()
        assert batch.validate_crc()
        found += list(batch)
    return found


def written(incoming: Any, outcome: Any = FAILED) -> Decided:
    who = identify(incoming, max_bytes=2_000_000).who
    return outcome_records(
        TOPICS, incoming, who, outcome, lane=3, outcome_id="o", worker="w", group="g", now=NOW
    )


# ── header names ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("codec", range(5))
def test_a_header_name_that_is_not_utf8_is_read_with_all_its_neighbours(codec: int) -> None:
    raw = a_batch(
        (RawName("fffe00"), b"1"), ("plain", b"2"), ("ümlaut", None), codec=codec, records=3
    )
    records = read(raw + a_batch(("next", b"3")))
    assert [record.headers for record in records[:3]] == [
        [("\udcff\udcfe\x00", b"1"), ("plain", b"2"), ("ümlaut", None)]
    ] * 3
    assert [record.value for record in records] == [b"v" * 200] * 4
    assert records[3].headers == [("next", b"3")]


def test_a_batch_cut_short_and_a_damaged_one_are_what_they_were_before() -> None:
    raw = a_batch(("a", b"1"))
    assert len(read(raw + raw[:30])) == 1
    batches = fetcher.MemoryRecords(raw[:-1] + b"\x01")
    assert not batches.next_batch().validate_crc()
    assert batches.next_batch() is None
    with pytest.raises(CorruptRecordException):
        fetcher.MemoryRecords(struct.pack(">qi", 0, 3) + b"abc").next_batch()


def test_header_names_keep_their_bytes_through_dead_letter_deferral_and_replay() -> None:
    headers = readable_headers(
        [("\udcff\udcfe", b"\x00"), ("plain", None), ("hybrid-raw-name/zz", b"")]
    )
    incoming = an_incoming(BODY, headers=headers)
    by_topic = {record.topic: record for record in written(incoming).records}
    letter = by_topic["workflow.dead-letters"]
    for name, _ in letter.headers:
        name.encode()
    original = [
        (name, base64.b64decode(raw))
        for name, raw in json.loads(letter.value or b"")["original"]["headers"]
    ]
    assert readable_headers(original) == headers
    state = DeferralState(
        due_at_ms=NOW_MS, count=1, hop=1, reason="r", intent_id="i-1", source=incoming.source
    )
    deferred = next(
        one for one in written(incoming, Deferred(0, state)).records if "deferred" in one.topic
    )
    assert readable_headers(deferred.headers)[:-1] == headers
    assert writable_headers(readable_headers(deferred.headers)) == deferred.headers


@given(st.binary(max_size=8))
def test_every_name_survives_being_written_and_read(name: bytes) -> None:
    headers = ((name.decode("utf-8", "surrogateescape"), b"v"),)
    assert readable_headers(writable_headers(headers)) == headers


# ── timestamps ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "stamp",
    [
        None,
        -1,
        0,
        -(2**63),
        2**63 - 1,
        1_700_000_000,
        NOW_MS * 1000,
        NOW_MS + 90_000_000,
        float("nan"),
        float("inf"),
    ],
)
def test_a_timestamp_that_cannot_be_one_counts_from_now(stamp: float | None) -> None:
    assert usable_timestamp_ms(stamp, now_ms=NOW_MS) == NOW_MS


def test_a_timestamp_that_can_be_one_is_kept_to_the_millisecond() -> None:
    for stamp in range(NOW_MS, NOW_MS + 2_000):
        assert usable_timestamp_ms(stamp / 1000.0 * 1000, now_ms=NOW_MS) == stamp


@pytest.mark.parametrize("stamp", [-1, -(2**63), 2**63 - 1, NOW_MS * 1000])
def test_no_timestamp_stops_a_record_from_having_a_source(stamp: int) -> None:
    source = an_incoming(BODY, timestamp_ms=stamp).source
    assert source.timestamp == datetime.fromtimestamp(0, UTC)
    assert written(an_incoming(b"{", timestamp_ms=stamp)).records


def test_moments_at_the_edge_of_the_calendar_can_be_written() -> None:
    first = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))
    last = datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-12)))
    assert (format_time(first), format_time(last)) == (
        "0001-01-01T00:00:00.000Z",
        "9999-12-31T23:00:00.000Z",
    )


# ── what claims to be deferred ──────────────────────────────────────────────────────────────────


def a_deferral(**changes: Any) -> bytes:
    source = RecordSource(topic="workflow.intents", partition=3, offset=7, timestamp=NOW)
    values = {
        "due_at_ms": NOW_MS,
        "count": 1,
        "hop": 1,
        "reason": "r",
        "intent_id": "i-1",
        "source": source,
    }
    return DeferralState(**{**values, **changes}).to_json()


def test_a_deferral_of_ours_is_read() -> None:
    incoming = an_incoming(
        BODY, topic="workflow.deferred.10s", headers=((DEFERRAL_HEADER, a_deferral()),)
    )
    assert deferral_of(incoming) is not None


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff",
        b"{}",
        a_deferral(due_at_ms=10**30),
        a_deferral(due_at_ms=-1),
        a_deferral(not_before_ms=10**18),
        a_deferral(outage_ms=10**18),
        a_deferral(limiter_ms=-1),
        a_deferral(hop=-1),
        a_deferral(count=10**16),
        a_deferral(intent_id=""),
        a_deferral().replace(b"2026-01-31T09:30:00.000Z", b"0001-01-01T00:00:00+14:00"),
        a_deferral().replace(b"2026-01-31T09:30:00.000Z", b"9999-12-31T23:59:59-14:00"),
        a_deferral().replace(b"2026-01-31T09:30:00.000Z", b"2026-01-31T09:30:00"),
        a_deferral().replace(b'"i-1"', b'"\\ud800"'),
    ],
)
def test_what_no_lane_can_have_written_is_an_intent_like_any_other(raw: bytes) -> None:
    incoming = an_incoming(BODY, topic="workflow.deferred.10s", headers=((DEFERRAL_HEADER, raw),))
    assert deferral_of(incoming) is None
    found = identify(incoming, max_bytes=10_000)
    assert (found.failed, found.who.intent_id, found.who.deferral) == (None, "i-1", None)


@pytest.mark.parametrize(
    ("stated", "kept"), [(b"i-9", True), (b"", False), (b"x" * 600, False), (b"\xff", True)]
)
def test_a_replayed_records_id_is_believed_if_it_can_be_one(stated: bytes, kept: bool) -> None:
    headers = (("replayed-dead-letter-id", b"d"), ("intent-id", stated))
    found = identify(an_incoming(b"{", headers=headers), max_bytes=10_000).who.intent_id
    assert (found == stated.decode("utf-8", "replace")) == kept


def test_nobody_can_put_an_intent_off_for_ever() -> None:
    most = NOW_MS + 40 * 86_400_000
    for changes, wanted in (
        ({"due_at_ms": 10**14}, (most, 0)),
        ({"not_before_ms": 10**14}, (NOW_MS, most)),
        ({"not_before_ms": most}, (NOW_MS, most)),
    ):
        state = deferral_of(an_incoming(BODY, headers=((DEFERRAL_HEADER, a_deferral(**changes)),)))
        assert state is not None
        assert (state.due_at_ms, state.not_before_ms) == wanted


# ── traces ──────────────────────────────────────────────────────────────────────────────────────

INVALID_TRACES = [
    b"\xff\xfe\x00",
    b"00-aa\r\nX-Evil: 1",
    b"",
    b"0" * 20_000,
    "🙂".encode(),
    b"\x00",
    VALID.encode() + b"\r\nX-Evil: 1",
    VALID.encode() + b"-more",
    VALID.upper().encode(),
    f"ff-{TRACE}-{SPAN}-01".encode(),
    f"00-{'0' * 32}-{SPAN}-01".encode(),
    f"00-{TRACE}-{'0' * 16}-01".encode(),
    f"01-{TRACE}-{SPAN}-01-".encode() + b"x" * 600,
]


@pytest.mark.parametrize("raw", INVALID_TRACES)
def test_a_trace_that_is_not_valid_is_no_trace(raw: bytes) -> None:
    headers = (("traceparent", raw), ("tracestate", b"a=1"))
    assert a_task(headers=headers).traceparent is None
    assert an_incoming(BODY, headers=headers).traceparent is None
    assert tracestate_of(headers) is None
    added = [
        one
        for one in written(an_incoming(b"{", headers=headers)).records
        if one.topic.endswith("events")
    ]
    assert all(len(value) <= 512 for _, value in added[0].headers)


def test_a_valid_trace_is_carried_on_with_its_state() -> None:
    later = f"42-{TRACE}-{SPAN}-01-what.comes.later".encode()
    assert traceparent_of((("traceparent", later),)) == VALID
    headers = (("traceparent", b"old"), ("traceparent", VALID.encode()), ("tracestate", b"a=1,b=2"))
    assert (a_task(headers=headers).traceparent, tracestate_of(headers)) == (VALID, "a=1,b=2")
    for record in written(an_incoming(BODY, headers=headers)).records:
        assert dict(record.headers)["tracestate"] == b"a=1,b=2"
    for state in (b"", b" ", b"a=\r\n", b"\xff", b"a" * 513):
        assert tracestate_of((("traceparent", VALID.encode()), ("tracestate", state))) is None


# ── tenants ─────────────────────────────────────────────────────────────────────────────────────

TEXT = st.text(alphabet="\x00/0123ab", min_size=1, max_size=12)


@given(st.tuples(TEXT | st.just("default"), TEXT), st.tuples(TEXT | st.just("default"), TEXT))
def test_two_intents_have_one_name_only_if_tenant_and_id_are_the_same(
    one: tuple[str, str], other: tuple[str, str]
) -> None:
    assert (deduplication_key(*one) == deduplication_key(*other)) == (one == other)


def test_the_default_tenants_intents_keep_the_names_that_old_ledgers_have() -> None:
    assert deduplication_key("default", "order-1") == "order-1"


def test_an_event_about_a_repeat_names_the_id_as_the_sender_knows_it() -> None:
    value = an_intent(intent_id="i", deduplication_id="order-1", tenant="acme").to_json()
    incoming = an_incoming(value)
    who = identify(incoming, max_bytes=10_000).who
    event = duplicate_records(TOPICS, incoming, who, event_id="e", worker="w", now=NOW)
    assert json.loads(event.value or b"")["details"]["deduplication_id"] == "order-1"
    assert identify(an_incoming(BODY), max_bytes=10_000).who.stated_key == "i-1"


# ── values ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ('"data":{"a":NaN}', "not_finite"),
        ('"data":{},"metadata":{"a":[-Infinity]}', "not_finite"),
        ('"data":{"a":1e999}', "not_finite"),
        ('"data":{"a":' + "9" * 5_000 + "}", "not_json"),
        ('"data":{},"metadata":{"\\ud800":1}', "not_unicode"),
        ('"data":{},"tenant":"\\udc00"', "not_unicode"),
        ('"data":{},"deadline_ms":' + "9" * 400, "invalid_fields"),
        ('"data":{},"deadline_ms":1e30', "invalid_fields"),
        ('"data":{},"max_cost_usd":1e300', "invalid_fields"),
        ('"data":{},"max_cost_usd":"1e400"', "invalid_fields"),
        ('"data":{},"max_output_tokens":' + "9" * 400, "invalid_fields"),
        ('"data":{},"temperature":1e300', "invalid_fields"),
    ],
)
def test_what_cannot_be_written_again_or_counted_with_is_refused(body: str, code: str) -> None:
    value = f'{{"type":"a","user_id":"u",{body}}}'.encode()
    with pytest.raises(IntentError) as raised:
        decode_intent(value, max_bytes=100_000)
    assert raised.value.code == code
    outline(an_incoming(value), ROUTER, max_bytes=100_000)


@pytest.mark.parametrize(
    "value",
    [
        b'\xef\xbb\xbf{"type":"a","user_id":"u","data":{}}',
        b'{"type":"b","type":"a","user_id":"u","data":{}}',
        b'{"type":"a","user_id":"\\u0000","data":{"n":' + b"9" * 400 + b'},"metadata":{"n":1e308}}',
    ],
)
def test_what_is_odd_and_can_be_run_is_an_intent(value: bytes) -> None:
    assert decode_intent(value, max_bytes=10_000).type == "a"
    assert outline(an_incoming(value), ROUTER, max_bytes=10_000) != NO_OUTLINE


@pytest.mark.parametrize("kind", ["7", "null", '["a"]'])
def test_what_has_no_type_waits_for_no_provider(kind: str) -> None:
    value = f'{{"type":{kind},"user_id":"u","data":{{}}}}'.encode()
    assert outline(an_incoming(value), ROUTER, max_bytes=10_000) == NO_OUTLINE


def test_a_deadline_beyond_all_bounds_does_not_stop_the_intake() -> None:
    value = b'{"type":"a","user_id":"u","data":{},"deadline_ms":' + b"9" * 400 + b"}"
    state = (DEFERRAL_HEADER, a_deferral())
    for headers in ((), (state,)):
        outline(an_incoming(value, headers=headers), ROUTER, max_bytes=10_000)
    assert (
        outline(
            an_incoming(value.replace(b"9" * 400, b"1e400"), headers=(state,)),
            ROUTER,
            max_bytes=10_000,
        )
        == NO_OUTLINE
    )


@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda text: json.dumps(text).encode()))
def test_nothing_but_the_two_errors_comes_out_of_the_codec(value: bytes) -> None:
    with suppress(PoisonError, InvalidIntentError):
        decode_intent(value, max_bytes=150)
    identify(an_incoming(value), max_bytes=150)
    outline(an_incoming(value), ROUTER, max_bytes=150)


def test_half_a_surrogate_pair_is_written_as_the_replacement_sign() -> None:
    event = WorkflowEvent(
        event_id="caf\ud83d end",
        name=EventName.WORKFLOW_FAILED,
        intent_id="\ud83d\ude42",
        details={
            "k\udc00": ["\ud800", {"a": 1.5, "n": float("nan"), "big": 10**400}],
            "none": None,
        },
        occurred_at=NOW,
    )
    written_event = json.loads(event.to_json())
    assert (written_event["event_id"], written_event["intent_id"]) == ("caf\ufffd end", "🙂")
    assert written_event["details"]["none"] is None
    ((_, (first, second)),) = [
        item for item in written_event["details"].items() if item[0] != "none"
    ]
    assert (first, second) == ("\ufffd", {"a": 1.5, "n": None, "big": 10**400})
    assert written_event["occurred_at"] == format_time(NOW)


def test_sums_beyond_all_bounds_can_be_written() -> None:
    assert format_usd(Decimal("1e400")) == "1" + "0" * 100
    assert format_usd(Decimal("-1e400")) == "-1" + "0" * 100
    assert (format_usd(Decimal("1e-400")), format_usd(Decimal("1e25"))) == ("0", "1" + "0" * 25)


# ── codecs ──────────────────────────────────────────────────────────────────────────────────────


def _lz4_linked(data: bytes) -> bytes:
    return bytes(
        lz4.frame.compress(data, block_linked=True, content_checksum=True, store_size=True)
    )


def _lz4_of_java(data: bytes) -> bytes:
    return bytes(
        lz4.frame.compress(
            data, block_size=lz4.frame.BLOCKSIZE_MAX64KB, block_linked=False, store_size=False
        )
    )


def _zstd_as_a_stream(data: bytes) -> bytes:
    """Without the size of the content, as Java's client writes it."""
    stream = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    return stream.compress(data) + stream.flush()


def _snappy_raw(data: bytes) -> bytes:
    """Without the framing of Java's library, as librdkafka writes it."""
    return bytes(cramjam.snappy.compress_raw(data))


@pytest.mark.parametrize(
    ("codec", "name", "encode"),
    [
        (2, "snappy_encode", _snappy_raw),
        (3, "lz4_encode", _lz4_linked),
        (3, "lz4_encode", _lz4_of_java),
        (4, "zstd_encode", _zstd_as_a_stream),
    ],
)
def test_frames_of_other_clients_are_read(
    monkeypatch: pytest.MonkeyPatch, codec: int, name: str, encode: Any
) -> None:
    monkeypatch.setattr(default_records, name, encode)
    records = read(a_batch(("a", b"1"), codec=codec, records=2_000))
    assert [record.value for record in records] == [b"v" * 200] * 2_000

"""Intents as producers of other languages and ages write them, through a real broker and worker."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import lz4.frame
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.record import default_records

from streams.kafka.clients import connection_options
from tests.chaos.running import RunningStack
from tests.foreign import CODECS, Row, send_batch
from tests.integration.driving import Case

pytestmark = pytest.mark.integration
QUICK = {"latency_ms": 5}
SPAN = b"0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"


@pytest.fixture
def case(stack: RunningStack) -> Iterator[Case]:
    stack.set_faults({"openai": QUICK, "azure": QUICK})
    return Case(stack)


def a_row(case: Case, *, timestamp: int = -1, headers: Any = (), **changes: Any) -> Row:
    intent = case.intent(**changes)
    return timestamp, b"k", json.dumps(intent).encode(), headers


def write(case: Case, *batches: tuple[int, list[Row], str], topic: str | None = None) -> None:
    settings = case.stack.settings

    async def send() -> None:
        client = AIOKafkaProducer(**connection_options(settings), acks="all")
        await client.start()
        try:
            for partition, rows, codec in batches:
                await send_batch(
                    client, topic or settings.topics.intents, partition, rows, codec=codec
                )
        finally:
            await client.stop()

    asyncio.run(send())


def java_lz4(data: bytes) -> bytes:
    """A frame as Java's client writes it: independent blocks of 64 KB, no content size, no checksums."""
    return bytes(
        lz4.frame.compress(
            data, block_size=lz4.frame.BLOCKSIZE_MAX64KB, block_linked=False, store_size=False
        )
    )


def test_every_codec_is_served_and_so_is_what_lies_behind(case: Case) -> None:
    batches = []
    for partition, codec in enumerate(CODECS):
        long = {"note": "x" * 100_000}  # more than one block, and worth compressing
        batches.append((partition, [a_row(case, data=long), a_row(case, data=long)], codec))
        batches.append((partition, [a_row(case)], "none"))
    write(case, *batches)
    found = case.wait(15)
    assert (len(found.results), found.doubled()) == (15, {})


def test_lz4_as_java_writes_it_is_served(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(default_records, "lz4_encode", java_lz4)
    rows = [a_row(case, data={"note": "x" * 60_000}) for _ in range(3)]
    write(case, (1, rows, "lz4"), (1, [a_row(case)], "none"))
    assert len(case.wait(4).results) == 4


def test_a_header_name_that_is_not_utf8_stops_nothing_and_is_kept(case: Case) -> None:
    odd = [(b"\xff\xfe", b"1"), ("ü".encode(), None)]
    bad: Row = (-1, b"k", json.dumps({"intent_id": f"{case.name}-bad", "type": 1}).encode(), odd)
    write(case, (2, [a_row(case, headers=odd), bad], "none"), (2, [a_row(case)], "gzip"))
    found = case.wait(3)
    assert len(found.results) == 2
    (letter,) = found.dead_letters[f"{case.name}-bad"]
    assert letter["original"]["headers"] == [["hybrid-raw-name/fffe", "MQ=="], ["ü", ""]]


def test_a_record_without_a_timestamp_counts_from_when_it_was_read(case: Case) -> None:
    rows = [a_row(case, timestamp=stamp, deadline_ms=60_000) for stamp in (-1, 0, 1_700_000_000)]
    write(case, (3, rows, "none"))
    for (result,) in case.wait(3).results.values():
        assert 0 <= result["timings"]["total_ms"] < 60_000


TRACES = {
    "not ascii": b"\xff\xfe\x00",
    "line feed": b"00-aa\r\nX-Evil: 1",
    "empty": b"",
    "long": b"0" * 20_000,
    "emoji": "🙂".encode(),
    "nul": b"\x00",
    "version ff": b"ff-" + SPAN + b"-01",
    "zeros": b"00-" + b"0" * 32 + b"-b7ad6b7169203331-01",
}


def test_an_odd_traceparent_is_ignored(case: Case) -> None:
    odd = {"trace_id": "\r\nX-Evil: 1", "span_id": "🙂", "parent_span_id": "\x00"}
    rows = [a_row(case, headers=[(b"traceparent", raw)]) for raw in TRACES.values()]
    rows.append(a_row(case, trace_context=odd))
    write(case, (4, rows, "none"))
    found = case.wait(len(rows))
    assert (len(found.results), len(case.calls())) == (len(rows), len(rows))


def test_a_stranger_on_a_deferred_topic_is_an_intent_like_any_other(case: Case) -> None:
    headers = [(b"hybrid-deferral", b'{"due_at_ms":' + b"9" * 300 + b"}")]
    write(
        case,
        (5, [a_row(case), a_row(case, headers=headers)], "none"),
        topic=case.stack.settings.topics.deferred[-1],
    )
    assert len(case.wait(2, within_s=30).results) == 2


def test_the_same_id_of_two_tenants_is_two_intents(case: Case) -> None:
    ids = {"deduplication_id": f"{case.name}-order-1"}
    rows = [a_row(case, tenant=name, **ids) for name in ("acme", "globex", "acme", "default")]
    write(case, (0, rows, "none"))
    last = a_row(case)
    write(case, (0, [last], "none"))
    found = case.wait(4)
    assert (len(found.results), found.doubled()) == (4, {})
    assert len(case.calls()) == 4

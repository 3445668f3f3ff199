"""Records of all kinds, drawn by chance from a seed: what strangers write to our source topics."""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from schemas.topics import Topics
from tests.foreign import CODECS, Row

__all__ = ["Batch", "make_storm"]

VALID_TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@dataclass(frozen=True)
class Batch:
    """Records that are written together; `transaction`: none, commit or abort."""

    topic: str
    partition: int
    codec: str
    transaction: str
    rows: list[Row]
    #: For each row the number of the valid intent in it; None where a dead letter is right.
    numbers: list[int | None]


def make_storm(
    topics: Topics, partitions: int, count: int, *, seed: int, now_ms: int
) -> Iterator[Batch]:
    """Draw about `count` records, a batch at a time: they need not fit into memory together."""
    chance, made = random.Random(seed), 0
    while made < count:
        transaction = chance.choices(("none", "commit", "abort"), (8, 1, 1))[0]
        batch = Batch(
            topic=chance.choice(topics.sources),
            partition=chance.randrange(partitions),
            codec=chance.choice(list(CODECS)),
            transaction=transaction,
            rows=[],
            numbers=[],
        )
        for _ in range(chance.randint(1, 20)):
            made += 1
            _draw(batch, chance, number=made, now_ms=now_ms)
        yield batch


def _draw(batch: Batch, chance: random.Random, *, number: int, now_ms: int) -> None:
    valid = chance.random() < 0.6
    value = _valid(chance, number) if valid else _invalid(chance)
    key = chance.choice([None, b"", b"\xff\xfe", b"plain", chance.randbytes(20)])
    if key is None and value is None:
        key = b"tombstone"
    stamp = chance.choice([now_ms, now_ms - 5_000, -1, -1, 0, now_ms // 1000, now_ms * 1000])
    batch.rows.append((stamp, key, value, _headers(chance, transaction=batch.transaction)))
    batch.numbers.append(number if valid else None)
    if valid and chance.random() < 0.1:  # the same again: no second outcome
        batch.rows.append(batch.rows[-1])
        batch.numbers.append(number)


def _valid(chance: random.Random, number: int) -> bytes:
    document: dict[str, Any] = {
        "type": chance.choice(["message_generation", "content_planning"]),
        "user_id": chance.choice(["u", "\x00", "🙂", "ü" * 400]),
        "data": {
            "marker": f"storm-{number}",
            "odd": chance.choice(["\x00", "</s>", [], 9**300, 1e308]),
        },
        "intent_id": f"storm-{number}",
        "tenant": chance.choice(["default", "acme", "[/red]", "\x1b[2J", "a\x00b", "ü🙂"]),
        "metadata": {
            "number": number,
            "odd": chance.choice([None, {"\x00": "\x00"}, 10**400, "x" * 5_000]),
        },
        "something_new": [[]],
    }
    if chance.random() < 0.1:
        del document["intent_id"]
        document["deduplication_id"] = f"other-{number}"
    if chance.random() < 0.2:
        document["deadlineMs"] = 3_600_000
    if chance.random() < 0.2:
        document["trace_context"] = {
            "trace_id": chance.choice(["\r\nX: 1", "", "🙂", "\x00", "0" * 128])
        }
    if chance.random() < 0.05:
        document["data"]["long"] = "x" * 200_000
    text = json.dumps(document, ensure_ascii=chance.random() < 0.5)
    if chance.random() < 0.1:
        text = text[:-1] + ', "user_id": "again"}'
    return (b"\xef\xbb\xbf" if chance.random() < 0.1 else b"") + text.encode()


BROKEN: list[Callable[[random.Random], bytes | None]] = [
    lambda _: None,
    lambda _: b"",
    lambda chance: b"\xff" + chance.randbytes(chance.randint(0, 2_000)),
    lambda _: b'{"type": "a", "user_id": "u", "data"',
    lambda _: b"[]",
    lambda _: b"null",
    lambda _: b"\x00" * 50,
    lambda _: b'{"type": 1}',
    lambda _: b'{"type":"a","user_id":"u","data":{"x":NaN}}',
    lambda _: b'{"type":"a","user_id":"u","data":{"x":1e999}}',
    lambda _: b'{"type":"a","user_id":"u","data":{"x":"\\ud800"}}',
    lambda _: b'{"type":"a","user_id":"u","data":{},"metadata":{"\\udc00":1}}',
    lambda _: b'{"type":"a","user_id":"u","data":{},"deadline_ms":' + b"9" * 400 + b"}",
    lambda _: b'{"type":"a","user_id":"u","data":{},"max_cost_usd":"1e400"}',
    lambda _: b'{"type":"a","user_id":"u","data":{},"tenant":""}',
    lambda _: b'{"intent_id":"\\ud800","type":"a"}',
    lambda _: '{"type":"a","user_id":"u","data":{}}'.encode("utf-16"),
    lambda _: b'{"data":' * 5_000,
    lambda chance: (
        b'"' + b"y" * chance.randint(1_050_000, 1_060_000) + b'"'
        if chance.random() < 0.02
        else b'"y"'
    ),
]


def _invalid(chance: random.Random) -> bytes | None:
    return chance.choice(BROKEN)(chance)


def _headers(chance: random.Random, *, transaction: str) -> list[tuple[bytes, bytes | None]]:
    names = [b"plain", b"", "ü🙂".encode(), b"\x00", b"intent-id", b"tenant", b"hybrid-raw-name/zz"]
    if transaction == "none":  # clients that can write transactions cannot write such names
        names += [b"\xff", b"\xc3(", b"\xed\xa0\x80"]
    contents = [b"", b"\xff\x00", b"v", None, b"h" * 3_000]
    found = [
        (chance.choice(names), chance.choice(contents))
        for _ in range(chance.choice([0, 0, 1, 3, 30]))
    ]
    if chance.random() < 0.3:
        traces = [b"\xff\xfe\x00", b"00-aa\r\nX-Evil: 1", b"", b"0" * 20_000, b"\x00", VALID_TRACE]
        found.append((b"traceparent", chance.choice(traces)))
        found.append((b"tracestate", chance.choice([b"a=1", b"\r\n", b"\xff"])))
    if chance.random() < 0.1:
        states = [b"", b"{}", b'{"due_at_ms":' + b"9" * 300 + b"}", b"\xff"]
        found.append((b"hybrid-deferral", chance.choice(states)))
    if chance.random() < 0.1:
        found.append((b"replayed-dead-letter-id", b"d"))
        found.append((b"replay-count", chance.choice([b"-1", b"x", b"9" * 50, b"\xff"])))
    return found

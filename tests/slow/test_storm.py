"""Any record: whatever strangers write to the source topics ends once, and stops nobody.

STORM_RECORDS and STORM_SEED in the environment make it longer and another one.
"""

import asyncio
import base64
import os
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import InvalidTimestampError

from schemas.outcome import DeadLetter, WorkflowResult
from schemas.settings import Settings
from schemas.topics import DAY_MS
from streams.kafka.clients import admin_client, connection_options, producer
from streams.kafka.reading import read_topic
from streams.messages.records import OWN_HEADERS, readable_headers
from tests.chaos.oracle import settled_lag
from tests.chaos.running import RunningStack, running_stack
from tests.foreign import Row, send_batch
from tests.slow.storm import Batch, make_storm

pytestmark = pytest.mark.integration
RECORDS = int(os.environ.get("STORM_RECORDS", "2000"))
SEED = int(os.environ.get("STORM_SEED", "1"))
PARTITIONS = 6
#: Seconds until all outcomes are there, however slow the machine is.
LIMIT_S = 90 + RECORDS / 20
Place = tuple[str, int, int]


@dataclass
class Seen:
    """Outcomes as they are read: by the intent's number, and by the place of the record."""

    results: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    letters: dict[Place, list[DeadLetter]] = field(default_factory=lambda: defaultdict(list))


@pytest.mark.timeout(LIMIT_S * 2 + 120)
def test_each_valid_intent_has_one_outcome_and_each_other_record_one_dead_letter(
    stack: RunningStack,
) -> None:
    environment = {"HYBRID_CONCURRENCY": "64"}
    with running_stack(
        workers=1, environment=environment, partitions=PARTITIONS, host=stack
    ) as running:
        running.set_faults({name: {"latency_ms": 1} for name in ("openai", "azure")})
        pids = running.pids()
        asyncio.run(_storm(running))
        assert running.pids() == pids, running.events


async def _storm(stack: RunningStack) -> None:
    settings = stack.settings
    probes = await _let_in_any_timestamp(settings)
    storm = make_storm(
        settings.topics, PARTITIONS, RECORDS, seed=SEED, now_ms=int(time.time() * 1000)
    )
    numbers, broken = await _write(settings, storm)
    broken |= probes
    seen = Seen()
    readers = [
        asyncio.create_task(_results(settings, seen)),
        asyncio.create_task(_letters(settings, seen)),
    ]
    with suppress(TimeoutError):
        async with asyncio.timeout(LIMIT_S):
            while len(seen.results) < len(numbers) or len(seen.letters) < len(broken):
                await asyncio.sleep(0.2)
    lag = await settled_lag(settings)
    for reader in readers:
        assert not reader.done(), reader
        reader.cancel()
    unexpected = {place: found for place, found in seen.letters.items() if place not in broken}
    assert not unexpected, next(iter(unexpected.items()))
    assert set(seen.results) == numbers
    assert set(seen.letters) == set(broken)
    assert [number for number, count in seen.results.items() if count > 1] == []
    for place, row in broken.items():
        (letter,) = seen.letters[place]
        _holds_the_bytes(letter, row)
    assert lag == 0


def _holds_the_bytes(letter: DeadLetter, row: Row) -> None:
    _, key, value, headers = row
    original = letter.original
    assert _raw(original.key) == key
    assert _raw(original.value) == value
    kept = readable_headers([(name, _raw(content)) for name, content in original.headers])
    wanted = readable_headers(
        [(name.decode("utf-8", "surrogateescape"), content) for name, content in headers]
    )
    assert kept == tuple(pair for pair in wanted if pair[0] not in OWN_HEADERS)


def _raw(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)


async def _results(settings: Settings, seen: Seen) -> None:
    async for record in read_topic(settings, settings.topics.results, follow=True):
        result = WorkflowResult.model_validate_json(record.value)
        assert 0 <= result.timings.total_ms < 3_600_000, result.timings
        seen.results[(result.request_metadata or {})["number"]] += 1


async def _letters(settings: Settings, seen: Seen) -> None:
    async for record in read_topic(settings, settings.topics.dead_letters, follow=True):
        letter = DeadLetter.model_validate_json(record.value)
        source = letter.source
        seen.letters[source.topic, source.partition, source.offset].append(letter)


async def _let_in_any_timestamp(settings: Settings) -> dict[Place, Row]:
    """Gives what was written to see that the broker goes by it: it has said so before it does."""
    wide = {"message.timestamp.after.max.ms": str(2**63 - 1)}
    async with admin_client(settings) as admin:
        answers = await admin.alter_configs(
            [
                ConfigResource(ConfigResourceType.TOPIC, name, configs=wide)
                for name in settings.topics.sources
            ]
        )
    assert all(one[0] == 0 for answer in answers for one in answer.resources), answers
    far: Row = (int(time.time() * 1000) + 10 * DAY_MS, b"k", b"no intent", ())
    client = AIOKafkaProducer(**connection_options(settings), acks="all")
    await client.start()
    try:
        async with asyncio.timeout(30):
            return {
                (topic, 0, await _once_let_in(client, topic, far)): far
                for topic in settings.topics.sources
            }
    finally:
        await client.stop()


async def _once_let_in(client: AIOKafkaProducer, topic: str, row: Row) -> int:
    while True:
        with suppress(InvalidTimestampError):
            return await send_batch(client, topic, 0, [row])
        await asyncio.sleep(0.05)


async def _write(settings: Settings, storm: Iterable[Batch]) -> tuple[set[int], dict[Place, Row]]:
    """Write everything; gives the intents that must have a result, and the rows that must not."""
    numbers: set[int] = set()
    broken: dict[Place, Row] = {}
    plain = AIOKafkaProducer(**connection_options(settings), acks="all", max_request_size=8 << 20)
    await plain.start()
    upstream: dict[str, Any] = {}
    try:
        for batch in storm:
            if batch.transaction == "none":
                first = await send_batch(
                    plain, batch.topic, batch.partition, batch.rows, codec=batch.codec
                )
                offsets = list(range(first, first + len(batch.rows)))
            else:
                offsets = await _in_transaction(settings, batch, upstream)
            if batch.transaction == "abort":
                continue
            for offset, row, number in zip(offsets, batch.rows, batch.numbers, strict=True):
                if number is not None:
                    numbers.add(number)
                else:
                    broken[batch.topic, batch.partition, offset] = row
    finally:
        await plain.stop()
        for client in upstream.values():
            await client.stop()
    return numbers, broken


async def _in_transaction(settings: Settings, batch: Batch, upstream: dict[str, Any]) -> list[int]:
    if batch.codec not in upstream:
        client = producer(
            settings,
            transactional_id=f"upstream-{uuid.uuid4().hex}",
            compression_type=None if batch.codec == "none" else batch.codec,
            max_request_size=8 << 20,
        )
        await client.start()
        upstream[batch.codec] = client
    client = upstream[batch.codec]
    await client.begin_transaction()
    sent = [
        await client.send(
            batch.topic,
            value,
            key,
            partition=batch.partition,
            timestamp_ms=timestamp,
            headers=[(name.decode(), content) for name, content in headers],
        )
        for timestamp, key, value, headers in batch.rows
    ]
    written = await asyncio.gather(*sent)
    await (
        client.abort_transaction() if batch.transaction == "abort" else client.commit_transaction()
    )
    return [one.offset for one in written]

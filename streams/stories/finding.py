"""Finds an intent by any id, and all that is on record of it.

ClickHouse is asked first: an index leads to an intent there, and it remembers for 400 days. What
the recorder has not committed yet is read from Kafka, and so is what waits in the topics that
workers read. Without ClickHouse Kafka alone is read, as far back as it remembers.
"""

import asyncio
import re
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from schemas.settings import Settings
from schemas.tracing import trace_id_in
from streams.kafka.diagnosis import BrokerUnavailableError
from streams.store.clickhouse import ClickHouse, ClickHouseRefusedError, ClickHouseUnavailableError
from streams.stories.building import story_of
from streams.stories.record import Record, merged
from streams.stories.rows import intents_named, recorded
from streams.stories.story import Story
from streams.stories.topics import Begins, KafkaRecords, kafka_records

__all__ = ["AmbiguousIdError", "Source", "UnknownIdError", "find_record", "find_story"]

PLACE = re.compile(r"(?P<topic>[A-Za-z0-9._-]+):(?P<partition>\d{1,9}):(?P<offset>\d{1,18})")
#: Kafka is read so long for one question; then what was found is shown, and said to be a part.
READ_LIMIT_S = 30.0
#: ClickHouse is asked for so long.
STORE_LIMIT_S = 10.0


class Source(StrEnum):
    """Where it is read."""

    AUTO = "auto"  # ClickHouse, and of Kafka what is not there yet
    CLICKHOUSE = "clickhouse"
    KAFKA = "kafka"


class UnknownIdError(Exception):
    """Raised when nothing is on record under an id; says where it was looked for."""


class AmbiguousIdError(Exception):
    """Raised when an id names several intents; says which."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """What ClickHouse says: the intents that an id names, and the record of the one."""

    named: list[str]
    record: Record | None
    problem: str = ""


async def find_story(
    settings: Settings,
    identifier: str,
    *,
    now: datetime,
    source: Source = Source.AUTO,
    tenant: str | None = None,
    limit_s: float = READ_LIMIT_S,
) -> Story:
    """Build the story of what an id names; raises as `find_record` does."""
    record = await find_record(settings, identifier, source=source, limit_s=limit_s)
    if tenant is not None:
        record = record.of_tenant(tenant)
        if not record.known:
            message = f"tenant {tenant} has no intent {record.intent_id}"
            raise UnknownIdError(message)
    if len(record.tenants) > 1:
        message = (
            f"several tenants have an intent {record.intent_id}: choose one with --tenant, of "
            f"{', '.join(record.tenants)}"
        )
        raise AmbiguousIdError(message)
    return story_of(record, now)


async def find_record(
    settings: Settings,
    identifier: str,
    *,
    source: Source = Source.AUTO,
    limit_s: float = READ_LIMIT_S,
) -> Record:
    """Give all that is on record of what an id names.

    Raises UnknownIdError, AmbiguousIdError; BrokerUnavailableError, ClickHouseUnavailableError
    where neither answers.
    """
    if "-" in identifier:  # a whole traceparent
        identifier = trace_id_in(identifier) or identifier
    if source is Source.CLICKHOUSE:
        kept = await asyncio.to_thread(_ask_clickhouse, settings, identifier)
        if kept.problem:
            raise ClickHouseUnavailableError(kept.problem)
        if kept.record is None:
            raise _unknown(identifier, ["ClickHouse"])
        return kept.record
    try:
        async with kafka_records(settings, limit_s=limit_s) as kafka:
            return await _with_kafka(settings, kafka, identifier, source)
    except BrokerUnavailableError as error:
        if source is Source.KAFKA or PLACE.fullmatch(identifier):
            raise
        kept = await asyncio.to_thread(_ask_clickhouse, settings, identifier)
        if kept.record is None:
            raise
        note = f"Kafka is away ({error}): what is newer than ClickHouse's record is not here"
        return replace(kept.record, notes=(*kept.record.notes, note))


async def _with_kafka(
    settings: Settings, kafka: KafkaRecords, identifier: str, source: Source
) -> Record:
    place = PLACE.fullmatch(identifier)
    if place is not None:
        at = int(place["partition"]), int(place["offset"])
        found = await kafka.intent_at(place["topic"], *at)
        if found is None:
            message = (
                f"{identifier}: no record of an intent is there (any more); ask by the intent's id"
            )
            raise UnknownIdError(message)
        identifier = found
    kept = _Kept([], None, "not asked")
    if source is Source.AUTO:
        kept = await asyncio.to_thread(_ask_clickhouse, settings, identifier)
    begins: Begins = {} if kept.problem else await kafka.not_recorded()
    intent_id = kept.named[0] if kept.named else identifier
    fresh = await kafka.of_intent(intent_id, begins=begins)
    waiting, all_seen = await kafka.waiting(intent_id)
    if kept.record is None and not fresh.known and not waiting:
        intent_id = await _search(kafka, identifier, begins)
        fresh = await kafka.of_intent(intent_id, begins=begins)
        waiting, all_seen = await kafka.waiting(intent_id)
    intent_id = next(iter(waiting), intent_id)  # an id of the sender's own leads to it
    notes = [] if all_seen else ["more waits for the workers than could be looked through"]
    if source is Source.AUTO and kept.problem:
        notes.append(f"{kept.problem}: read from Kafka alone")
    line = Record(intent_id, waiting=tuple(waiting.get(intent_id, ())), notes=tuple(notes))
    parts = [line, fresh] if kept.record is None else [line, kept.record, fresh]
    return merged(parts)


async def _search(kafka: KafkaRecords, identifier: str, begins: Begins) -> str:
    """Look for an id of another kind through all of Kafka that ClickHouse has not answered for."""
    if trace_id_in(identifier) is not None:
        begins = {}  # ClickHouse's rows have no traces
    named, whole = await kafka.intents_named(identifier, begins=begins)
    if not named:
        raise _unknown(identifier, ["ClickHouse and Kafka" if begins else "Kafka"], whole=whole)
    return _the_one(identifier, named)


def _ask_clickhouse(settings: Settings, identifier: str) -> _Kept:
    if settings.clickhouse_url is None:
        return _Kept([], None, "no ClickHouse is configured")
    try:
        store = ClickHouse(settings, timeout_s=STORE_LIMIT_S, reads=True)
    except (ClickHouseUnavailableError, ClickHouseRefusedError) as error:
        return _Kept([], None, str(error))
    try:
        named = intents_named(store, identifier)
        if not named:
            return _Kept([], None)
        record = recorded(store, _the_one(identifier, named))
    except (ClickHouseUnavailableError, ClickHouseRefusedError) as error:
        return _Kept([], None, str(error))
    finally:
        store.close()
    return _Kept(named, record if record.known else None)


def _the_one(identifier: str, named: list[str]) -> str:
    if len(named) == 1:
        return named[0]
    message = f"{identifier} names several intents: {', '.join(named[:10])}; ask for one of them"
    raise AmbiguousIdError(message)


def _unknown(identifier: str, where: list[str], *, whole: bool = True) -> UnknownIdError:
    far = "" if whole else ", which was not read to its end"
    return UnknownIdError(
        f"nothing is on record of {identifier} in {' and '.join(where)}{far}: ask by the id of an "
        "intent, a call, a provider's request, a result, a dead letter or a trace, or by "
        "topic:partition:offset"
    )

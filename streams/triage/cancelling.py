"""Ending intents from outside of the workers: which there are, the order, what came of it."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from pydantic import ValidationError

from schemas.events import HybridWorkflowState
from schemas.intent import WorkflowIntent
from schemas.operations import CancelRecord
from schemas.outcome import DeadLetter
from schemas.settings import Settings
from schemas.vocabulary import DeadLetterReason, WorkflowStatus
from streams.kafka.backlog import (
    committed_offsets,
    lines_of,
    partitions_in,
    places_behind,
    read_places,
)
from streams.kafka.clients import consumer, partitions_of, started
from streams.kafka.content_keys import known_vault
from streams.kafka.partitioning import partition_of
from streams.kafka.passing import incoming_of
from streams.messages.identity import identify
from streams.messages.orders import Orders
from streams.messages.records import INTENT_ID_HEADER, header, readable_headers
from streams.triage.journal import write_operations

__all__ = ["Ended", "Standing", "carry_out", "look_up"]

#: Ids in one record.
PART = 1_000
#: Ends that are waited for are looked at so often, in milliseconds.
POLL_MS = 200


@dataclass
class Standing:
    """Where the intents stand that somebody wants to end."""

    #: Those that wait or run, by their ids.
    open: set[str] = field(default_factory=set)
    #: Those that have their outcome: id → `completed` or `failed`.
    over: dict[str, str] = field(default_factory=dict)
    #: Ids of which nothing is known.
    unknown: list[str] = field(default_factory=list)
    #: False = there is more than could be read in time.
    whole: bool = True


@dataclass
class Ended:
    """What came of an order: ids by how they ended, and those that have not yet."""

    cancelled: set[str] = field(default_factory=set)
    #: Whose outcome came first: id → `completed`, or the reason of a dead letter.
    otherwise: dict[str, str] = field(default_factory=dict)
    left: set[str] = field(default_factory=set)


async def look_up(
    settings: Settings,
    order: CancelRecord,
    *,
    limit_s: float,
    takes: Callable[[WorkflowIntent], bool] = lambda _intent: True,
) -> Standing:
    """Find what an order would end, and of its ids those that have ended, or are not there.

    `takes`: which of those that wait are meant, where the order itself cannot say it.

    Reads what workers have not committed, and of ids the newest states, for so many seconds each.
    Raises BrokerUnavailableError, RightsError, KafkaError, TimeoutError.
    """
    orders = Orders()
    orders.take(order)
    #: Intent id → the replay that waits or runs; 0 = it is the intent itself.
    waiting: dict[str, int] = {}
    states: dict[str, HybridWorkflowState] = {}
    vault = await known_vault(settings)

    def waits(record: ConsumerRecord) -> None:
        incoming = vault.opened(incoming_of(record))
        who = identify(incoming, max_bytes=settings.hybrid_max_intent_bytes).who
        if who.intent is None or not takes(who.intent):
            return
        if orders.calls_off(who.named) is not None:
            waiting[who.intent_id] = max(who.replay_count, waiting.get(who.intent_id, 0))

    def stands(record: ConsumerRecord) -> None:
        state = HybridWorkflowState.model_validate_json(record.value or b"")
        if state.intent_id in order.intent_ids and order.tenant in {None, state.tenant}:
            states[state.intent_id] = state

    committed = await committed_offsets(settings, settings.worker_group)
    async with started(consumer(settings)) as reader:
        known = await partitions_in(reader, await lines_of(settings, reader))
        own = _places_of(await partitions_of(reader, settings.topics.state), order.intent_ids)
        lines = [tp for tps in known.values() for tp in tps]
        places = await places_behind(reader, lines, committed)
        whole = await read_places(reader, places, waits, limit_s=limit_s)
        if own:
            places = await places_behind(reader, own, {})
            whole &= await read_places(reader, places, stands, limit_s=limit_s)
    return _standing(order, waiting, states, whole=whole)


def _standing(
    order: CancelRecord,
    waiting: Mapping[str, int],
    states: Mapping[str, HybridWorkflowState],
    *,
    whole: bool,
) -> Standing:
    """Put together what waits and what the newest states say: a record may be read on for a while.

    A state that is not of the newest replay says nothing of that.
    """
    over = {
        name: state.status.value
        for name, state in states.items()
        if state.status is not WorkflowStatus.DEFERRED
        and waiting.get(name, 0) <= state.replay_count
    }
    is_open = {*waiting, *states} - over.keys()
    unknown = [one for one in order.intent_ids if one not in is_open and one not in over]
    return Standing(is_open, over, unknown, whole)


async def carry_out(
    settings: Settings, order: CancelRecord, wanted: Collection[str], *, wait_s: float
) -> Ended:
    """Write an order, and wait for so long until those that are wanted have ended.

    Raises BrokerUnavailableError, RightsError, TopicsError, KafkaError.
    """
    ended = Ended(left=set(wanted))
    topics = settings.topics
    async with started(consumer(settings)) as reader:
        outcomes = [
            *await partitions_of(reader, topics.results),
            *await partitions_of(reader, topics.dead_letters),
        ]
        reader.assign(outcomes)
        for tp, end in (await reader.end_offsets(outcomes)).items():
            reader.seek(tp, end)
        await write_operations(settings, _parts(order))
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await _until_ended(settings, reader, ended)
    return ended


async def _until_ended(settings: Settings, reader: AIOKafkaConsumer, ended: Ended) -> None:
    while ended.left:
        for records in (await reader.getmany(timeout_ms=POLL_MS)).values():
            for record in records:
                _note(settings, record, ended)


def _note(settings: Settings, record: ConsumerRecord, ended: Ended) -> None:
    raw = header(readable_headers(record.headers), INTENT_ID_HEADER) or b""
    intent_id = raw.decode("utf-8", "replace")
    if intent_id not in ended.left:
        return
    how = WorkflowStatus.COMPLETED.value
    if record.topic == settings.topics.dead_letters:
        try:
            how = DeadLetter.model_validate_json(record.value or b"").reason.value
        except ValidationError:  # somebody else's
            return
    ended.left.discard(intent_id)
    if how == DeadLetterReason.CANCELLED:
        ended.cancelled.add(intent_id)
    else:
        ended.otherwise[intent_id] = how


def _parts(order: CancelRecord) -> Iterable[CancelRecord]:
    """Split an order that names many into records of bounded size."""
    if len(order.intent_ids) <= PART:
        return [order]
    return [
        order.model_copy(
            update={
                "cancel_id": f"{order.cancel_id}/{begin // PART}",
                "intent_ids": order.intent_ids[begin : begin + PART],
            }
        )
        for begin in range(0, len(order.intent_ids), PART)
    ]


def _places_of(tps: Sequence[TopicPartition], ids: Iterable[str]) -> list[TopicPartition]:
    """Give the partitions in which records with these keys stand."""
    by_number = {tp.partition: tp for tp in tps}
    numbers = sorted(by_number)
    chosen = {partition_of(one.encode("utf-8", "surrogatepass"), numbers, numbers) for one in ids}
    return [by_number[number] for number in sorted(chosen)] if numbers else []

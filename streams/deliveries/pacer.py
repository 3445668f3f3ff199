"""Paced deliveries: results that go to a recipient, one by one, on `workflow.deliveries`.

One pacer runs at a time, at the worker that has lane 0; starting its transactional producer fences
an earlier one. It reads the results, keeps those with a delivery header in line, and writes each
when its turn has come: delivery, event and the read positions in one transaction.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import ProducerFenced
from pydantic import ValidationError

from agents.clock import Clock, Dice, uuid7
from agents.log import Log
from schemas.events import Delivery, WorkflowEvent
from schemas.outcome import WorkflowResult
from schemas.settings import Settings
from schemas.vocabulary import EventName, LogEvent
from streams.deliveries.memory import Due, remember
from streams.deliveries.pacing import PacedQueue
from streams.kafka.clients import consumer, partitions_of, started
from streams.kafka.reading import record_at
from streams.kafka.sole import STEP_LIMIT_S, fencing, keep_sole
from streams.messages.offset_tracker import OffsetTracker
from streams.messages.records import DELIVERY_HEADER, VERSION, header

__all__ = ["DeliveryPacer"]

#: What waits in memory, without its content; beyond it no more is read. More than can go out in the
#: results' retention: one user's thousands hold up nobody.
MOST_WAITING = 100_000
#: Read positions are committed this often where no delivery takes them along.
COMMIT_EVERY_S = 5.0
#: The wall clock is looked at again after this long at the latest.
LOOK_S = 1.0


@dataclass(frozen=True, slots=True)
class _Clients:
    """What one run of the pacer writes and reads with."""

    producer: AIOKafkaProducer
    reader: AIOKafkaConsumer
    again: AIOKafkaConsumer  # reads one result, when its turn has come


class DeliveryPacer:
    """Runs until cancelled; an error starts it anew, also fencing, while the lane stays here."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock,
        dice: Dice,
        worker: str,
        log: Log,
        lease_holds: Callable[[], bool],
    ) -> None:
        """Keep the settings; `worker` is the name under which it writes; `run` connects."""
        self._lease_holds = lease_holds
        self._settings = settings
        self._clock = clock
        self._dice = dice
        self._worker = worker
        self._log = log
        self._group = f"{settings.hybrid_topic_prefix}.deliveries"

    async def run(self) -> None:
        """Pace deliveries until cancelled, which is when the lane is somebody else's."""
        await keep_sole(
            self._run_once,
            self._settings,
            self._clock,
            lease_holds=self._lease_holds,
            tell=self._tell,
        )

    def _tell(self, error: BaseException) -> None:
        if isinstance(error, ProducerFenced):
            self._log(LogEvent.DELIVERIES_FENCED, level="warning")
        else:
            self._log(LogEvent.DELIVERIES_DELAYED, level="warning", error=type(error).__name__)

    async def _run_once(self) -> None:
        async with fencing(self._settings, self._group) as client:
            queue, out = await remember(self._settings, client, log=self._log)
            async with (
                started(consumer(self._settings, group_id=self._group)) as reader,
                started(consumer(self._settings)) as again,
            ):
                await self._pace(_Clients(client, reader, again), queue, out)

    # ── while it runs ───────────────────────────────────────────────────────────────────────

    async def _pace(self, clients: _Clients, queue: PacedQueue[Due], out: set[str]) -> None:
        reader = clients.reader
        tps = await partitions_of(reader, self._settings.topics.results)
        reader.assign(tps)
        for tp in tps:
            if await reader.committed(tp) is None:
                await reader.seek_to_beginning(tp)
        positions = {tp: OffsetTracker() for tp in tps}
        committed_at = self._clock.monotonic()
        while True:
            wait = queue.wait_s(self._now())
            within = LOOK_S if wait is None else min(wait, LOOK_S)
            await self._read(reader, queue, out, positions, within_s=within)
            now_ms = self._clock.now_ms()
            due = queue.take(now_ms / 1000)
            idle = self._clock.monotonic() - committed_at > COMMIT_EVERY_S
            if due is None and not idle:
                continue
            delivery = None
            if due is not None:
                delivery = self._delivery_of(await record_at(clients.again, due.tp, due.offset))
                out.add(due.delivery_id)
                positions[due.tp].done(due.offset)
            # An error ends this run: the next one remembers what was committed.
            await self._write(clients.producer, delivery, positions, now_ms=now_ms)
            committed_at = self._clock.monotonic()

    async def _read(
        self,
        reader: AIOKafkaConsumer,
        queue: PacedQueue[Due],
        out: set[str],
        positions: dict[TopicPartition, OffsetTracker],
        *,
        within_s: float,
    ) -> None:
        if len(queue) >= MOST_WAITING:
            await self._clock.sleep(within_s)
            return
        found = await reader.getmany(timeout_ms=max(1, int(within_s * 1000)), max_records=500)
        for tp, records in found.items():
            for record in records:
                positions[tp].deliver(record.offset)
                delivery = self._delivery_of(record)
                if delivery is None or delivery.delivery_id in out:
                    positions[tp].done(record.offset)
                else:
                    order = (record.timestamp, tp.partition, record.offset)
                    due = Due(delivery.user_id, delivery.delivery_id, tp, record.offset)
                    queue.add(due, order=order)

    def _delivery_of(self, record: Any) -> Delivery | None:  # noqa: ANN401 - aiokafka's, untyped
        """Read what is to be delivered; None where nothing is, or the result is gone."""
        raw = None if record is None else header(record.headers, DELIVERY_HEADER)
        if raw is None:
            return None
        try:
            result = WorkflowResult.model_validate_json(record.value or b"")
            wanted = json.loads(raw)
            return Delivery(
                delivery_id=result.result_id,
                intent_id=result.intent_id,
                user_id=result.user_id,
                recipient_id=wanted.get("recipient_id"),
                platforms=wanted.get("platforms") or [],
                content=result.content,
                due_at=self._clock.now(),
            )
        except (ValidationError, ValueError, AttributeError):
            return None

    async def _write(
        self,
        client: AIOKafkaProducer,
        due: Delivery | None,
        positions: dict[TopicPartition, OffsetTracker],
        *,
        now_ms: int,
    ) -> None:
        """Write a delivery, where there is one, and the read positions, in one transaction."""
        topics = self._settings.topics
        offsets = {
            tp: offset
            for tp, position in positions.items()
            if (offset := position.committable()) is not None
        }
        if due is None and not offsets:
            return
        async with asyncio.timeout(STEP_LIMIT_S):
            await client.begin_transaction()
            if due is not None:
                user = due.user_id.encode()
                now = datetime.fromtimestamp(now_ms / 1000, UTC)
                delivery = due.model_copy(update={"due_at": now})
                sent = [
                    await client.send(
                        topics.deliveries, delivery.to_json(), user, headers=[VERSION]
                    )
                ]
                event = WorkflowEvent(
                    event_id=uuid7(now_ms, self._dice),
                    name=EventName.ONLYFANS_MESSAGE_SCHEDULED,
                    intent_id=delivery.intent_id,
                    worker=self._worker,
                    details={"delivery_id": delivery.delivery_id, "user_id": delivery.user_id},
                    occurred_at=now,
                )
                key = delivery.intent_id.encode()
                sent.append(
                    await client.send(topics.events, event.to_json(), key, headers=[VERSION])
                )
                # aiokafka commits a transaction of which a record was refused all the same.
                await asyncio.gather(*sent)
            if offsets:
                await client.send_offsets_to_transaction(offsets, self._group)
            await client.commit_transaction()
        for tp, offset in offsets.items():
            positions[tp].committed(offset)
        if due is not None:
            self._log(LogEvent.DELIVERY_WRITTEN, intent_id=due.intent_id)

    def _now(self) -> float:
        return self._clock.now_ms() / 1000

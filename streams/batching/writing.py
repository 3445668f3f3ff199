"""What the gatherer writes, each in one transaction: fenced where another has taken over."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaProducer

from agents.clock import Clock
from schemas.attempt import ProviderAttempt
from schemas.batches import BatchAnswer, BatchLine, BatchRecord
from schemas.settings import Settings
from streams.batching.book import BATCH_PREFIX, Book, Waiting
from streams.kafka.passing import queued
from streams.kafka.sole import STEP_LIMIT_S
from streams.messages.batch_records import line_record, return_record
from streams.messages.deferrals import deferral_of
from streams.messages.records import BATCH_LINE_HEADER, Incoming, OutRecord, header
from streams.messages.sealing import Vault, Whose

__all__ = ["Writing"]

#: Lines that go back in one transaction.
RETURNED_AT_ONCE = 200
#: Bytes that a record's framing takes beside what is counted.
FRAMING_BYTES = 2048


@dataclass(frozen=True, slots=True)
class Sealing:
    """Seals what intents hold, as lanes do."""

    vault: Vault
    clock: Clock

    def of(self, record: OutRecord, waiting: Waiting) -> tuple[OutRecord, ...]:
        """Seal a record of an intent that waits, or that goes back."""
        intent, lane = waiting.intent, waiting.incoming.partition
        whose = Whose(intent.tenant, intent.user_id, waiting.state.intent_id)
        return self.vault.sealed((record,), whose, lane=lane, now_ms=self.clock.now_ms())


class Writing:
    """Writes, and keeps the book in step with what is written."""

    def __init__(
        self,
        settings: Settings,
        client: AIOKafkaProducer,
        book: Book,
        sealing: Sealing | None = None,
    ) -> None:
        """Write with a transactional producer that has been started."""
        self._sealing = sealing
        self._settings = settings
        self._client = client
        self._book = book

    async def batch(self, record: BatchRecord, *, beside: Iterable[OutRecord] = ()) -> None:
        """Write where a batch stands, and what belongs to it; raises KafkaError, TimeoutError."""
        key = BATCH_PREFIX + record.batch_id.encode()
        topic = self._settings.topics.batches
        await self._transact([*beside, OutRecord(topic, key, record.to_json(), partition=0)])
        self._book.batches[record.batch_id] = record

    async def send_back(
        self, answers: list[tuple[Waiting, BatchAnswer]], *, keep: frozenset[str] = frozenset()
    ) -> None:
        """Send intents back to their lanes, each with what came of it, and end their lines.

        Those to `keep` were submitted: they stay as late, until it is known what they cost.
        """
        for begin in range(0, len(answers), RETURNED_AT_ONCE):
            some = answers[begin : begin + RETURNED_AT_ONCE]
            records: list[OutRecord] = []
            for waiting, answer in some:
                records += self._returning(waiting, answer)
                late = waiting.late() if waiting.line_id in keep else None
                records += self._standing(waiting, late)
            await self._transact(records)
            for waiting, _ in some:
                self._book.lines.pop(waiting.line_id, None)
                if waiting.line_id in keep:
                    self._book.lines[waiting.line_id] = waiting.late()

    async def forget(self, ended: list[tuple[Waiting, ProviderAttempt]]) -> None:
        """Write how lines ended whose intents had gone back before, and end them."""
        topic = self._settings.topics.attempts
        for begin in range(0, len(ended), RETURNED_AT_ONCE):
            records = []
            for waiting, attempt in ended[begin : begin + RETURNED_AT_ONCE]:
                key = attempt.intent_id.encode()
                records += [
                    OutRecord(topic, key, attempt.to_json()), *self._standing(waiting, None),
                ]  # fmt: skip
            await self._transact(records)
        for waiting, _ in ended:
            self._book.lines.pop(waiting.line_id, None)

    async def on_record(self, attempts: list[ProviderAttempt]) -> None:
        """Write calls that have ended and belong to no line that waits."""
        topic = self._settings.topics.attempts
        for begin in range(0, len(attempts), RETURNED_AT_ONCE):
            some = attempts[begin : begin + RETURNED_AT_ONCE]
            await self._transact(
                [OutRecord(topic, one.intent_id.encode(), one.to_json()) for one in some]
            )

    async def give_up(self, incoming: Incoming) -> None:
        """Send an intent back that nobody can read any more: its lane ends it."""
        state, raw = deferral_of(incoming), header(incoming.headers, BATCH_LINE_HEADER)
        if state is None or raw is None or incoming.key is None:
            return
        line = BatchLine.model_validate_json(raw)
        topics = self._settings.topics
        ended = OutRecord(topics.batches, incoming.key, None, partition=incoming.partition)
        answer = BatchAnswer(attempt=line.attempt, code="content_forgotten", may_cost=True)
        back = [] if line.late else [return_record(topics, incoming, line, state, answer)]
        await self._transact([*back, ended])

    def _standing(self, waiting: Waiting, now: Waiting | None) -> tuple[OutRecord, ...]:
        """Build the record that a line stands as it does now, or is ended."""
        topics, partition = self._settings.topics, waiting.incoming.partition
        if now is None:
            key = waiting.line_id.encode()
            return (OutRecord(topics.batches, key, None, partition=partition),)
        record = line_record(topics, now.incoming, now.line, now.state, lane=partition)
        return self._sealed(record, waiting)

    def _sealed(self, record: OutRecord, waiting: Waiting) -> tuple[OutRecord, ...]:
        return (record,) if self._sealing is None else self._sealing.of(record, waiting)

    def _returning(self, waiting: Waiting, answer: BatchAnswer) -> tuple[OutRecord, ...]:
        topics, limit = self._settings.topics, self._settings.max_record_bytes - FRAMING_BYTES
        where = (topics, waiting.incoming, waiting.line, waiting.state)
        record = return_record(*where, answer)
        if record.size > limit:  # it is charged, and cannot be brought along
            update: dict[str, Any] = {
                "status": None,
                "body": {},
                "code": "answer_too_large",
                "may_cost": True,
            }
            record = return_record(*where, answer.model_copy(update=update))
        return self._sealed(record, waiting)

    async def _transact(self, records: list[OutRecord]) -> None:
        client = self._client
        async with asyncio.timeout(STEP_LIMIT_S):
            await client.begin_transaction()
            sent = [await queued(client, one, one.written_headers) for one in records]
            await asyncio.gather(*sent)
            await client.commit_transaction()

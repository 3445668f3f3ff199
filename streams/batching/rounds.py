"""One look after another: what waits is submitted, what was submitted is looked after, and ended.

free lines ─► submitting (durable) ─► made ─► submitted (its id durable) ─► looks ─► ended
                 └ nothing heard: found again by its metadata, or made anew  └ lines go back
"""

from dataclasses import dataclass

from agents.clock import uuid7
from agents.deciding.batching import (
    POOL_FULL,
    Rules,
    look_pause_s,
    ready,
)
from agents.executing.asking import request_of
from agents.executing.prompts import render
from agents.providers.batching import Batching, SeenBatch
from schemas.batches import BatchRecord
from schemas.vocabulary import LogEvent
from streams.batching.book import Book, Waiting
from streams.batching.doubled import Doubled
from streams.batching.ends import NOT_FOUND, Ends, Surroundings, status_of, unanswered
from streams.batching.files import read_answers
from streams.batching.pools import PoolsFull
from streams.batching.writing import Writing
from streams.messages.records import OutRecord

__all__ = ["Rounds"]

#: Seconds after a request of which nothing was heard until it is asked whether it was made; twice
#: as many after each further one.
SETTLE_S = 5.0
#: Seconds until what failed is tried again.
RETRY_S = 5.0
#: Bytes that a line's name takes in the record of its batch.
NAME_BYTES = 40
#: A batch that could not be made so often goes back to the ordinary way.
MOST_TRIES = 8
#: A batch that is not there so often in a row is gone.
GONE_AFTER = 3
#: Statuses that say that nothing was made, and that nothing will be.
REFUSED = frozenset({400, 403, 404, 413, 422})
#: Of a line that nobody will answer, why.
UNMADE, GONE = "batch_refused", "batch_gone"


@dataclass(slots=True)
class _Pending:
    """When a batch is looked at next, and what went wrong so far; monotonic seconds."""

    next_at: float
    tries: int = 0
    absent: int = 0
    cancelling: bool = False


class Rounds:
    """Looks after all batches of one run of the gatherer."""

    def __init__(self, around: Surroundings, book: Book, writing: Writing) -> None:
        """Take up what the book holds: of what was being submitted it is asked first."""
        self._around = around
        self._book = book
        self._writing = writing
        self._ends = Ends(around, book, writing)
        self._doubled = Doubled(around, book, writing, self._ends)
        self._pools_full = PoolsFull(around.clock)
        now = around.clock.monotonic()
        self._pending = {
            one.batch_id: _Pending(now + (SETTLE_S if one.state == "submitting" else 0.0))
            for one in book.live
        }

    async def once(self) -> None:
        """Do what is to be done now; raises KafkaError, TimeoutError, ProducerFenced."""
        await self._ends.late()
        await self._doubled.once()
        for batch in self._made_now():
            await self._begin(batch)
        for record in self._book.live:
            if self._book.unread.intersection(record.lines):
                continue  # what is answered is paid for, and can be given back when it can be read
            pending = self._pending.setdefault(record.batch_id, _Pending(0.0))
            if self._around.clock.monotonic() >= pending.next_at and self._around.lease_holds():
                await self._advance(record, pending)

    # ── gathering ───────────────────────────────────────────────────────────────────────────

    def _made_now(self) -> list[list[Waiting]]:
        settings = self._around.settings
        # All of a batch's lines are named in one record.
        most = min(settings.hybrid_batch_lines, settings.max_record_bytes // 2 // NAME_BYTES)
        rules = Rules(round(settings.hybrid_batch_wait * 1000), most)
        lines = {one.line_id: one for one in self._book.free()}
        now_ms, held = self._around.clock.now_ms(), self._pools_full.held()
        planned = (
            one.planned
            for one in lines.values()
            if (one.planned.provider, one.planned.model) not in held
        )
        return [
            [lines[line.line_id] for line in batch]
            for batch in ready(planned, rules, now_ms=now_ms, pools=self._book.pools())
        ]

    async def _begin(self, lines: list[Waiting]) -> None:
        """Have a batch on record, with its lines' attempts, before anything is asked for."""
        around, attempt = self._around, lines[0].line.attempt
        provider = around.providers.get(attempt.provider)
        if provider is None or provider.batching is None:
            await self._writing.send_back([(one, unanswered(one, UNMADE)) for one in lines])
            return
        record = BatchRecord(
            batch_id=uuid7(around.clock.now_ms(), around.dice),
            provider=attempt.provider,
            model=attempt.requested_model,
            state="submitting",
            key=provider.keys[0] if provider.keys else "",
            lines=[one.line_id for one in lines],
            count=len(lines),
            prompt_tokens=sum(one.line.prompt_tokens for one in lines),
            created_at=around.clock.now(),
        )
        topic = around.settings.topics.attempts
        started = [
            OutRecord(topic, one.line.attempt.intent_id.encode(), one.line.attempt.to_json())
            for one in lines
        ]
        await self._writing.batch(record, beside=started)
        around.fail_points.reach("batch_submitting")
        self._pending[record.batch_id] = pending = _Pending(0.0)
        if around.lease_holds():
            await self._make(record, provider.batching, pending)

    def _content(self, record: BatchRecord, batching: Batching) -> bytes:
        lines = []
        for one in self._book.of(record.lines):
            intent = self._around.protection.mask(one.intent).intent
            messages = render(intent, self._around.prompts)
            cap = one.line.max_output_tokens
            request = request_of(intent, messages, one.line.attempt, max_output=cap)
            lines.append(batching.line(request))
        return b"\n".join(lines) + b"\n"

    async def _make(self, record: BatchRecord, batching: Batching, pending: _Pending) -> None:
        pending.tries += 1
        try:
            content = self._content(record, batching)
            # Of one task, all of them: so they were gathered.
            embeds = any(one.planned.inputs for one in self._book.of(record.lines))
            seen = await batching.submit(
                content, batch_id=record.batch_id, key=record.key, embeds=embeds
            )
        except Exception as error:  # noqa: BLE001 - whatever libraries raise, it may be made
            self._ends.delayed(record, error)
            if status_of(error) in REFUSED or pending.tries >= MOST_TRIES:
                await self._ends.whole(record, {}, state="refused", code=UNMADE)
            pending.next_at = self._around.clock.monotonic() + SETTLE_S * 2 ** (pending.tries - 1)
            return
        self._around.fail_points.reach("batch_made")
        await self._submitted(record, seen, pending)

    async def _submitted(self, record: BatchRecord, seen: SeenBatch, pending: _Pending) -> None:
        update = {
            "state": "submitted",
            "provider_batch_id": seen.batch_id,
            "input_file_id": seen.input_file_id,
        }
        await self._writing.batch(record.model_copy(update=update))
        self._around.fail_points.reach("batch_submitted")
        self._around.log(
            LogEvent.BATCH_SUBMITTED,
            provider=record.provider,
            model=record.model,
            batch_id=record.batch_id,
            provider_batch_id=seen.batch_id,
            lines=record.count,
        )
        pending.next_at = self._around.clock.monotonic() + look_pause_s(0.0)

    # ── looking after ───────────────────────────────────────────────────────────────────────

    async def _advance(self, record: BatchRecord, pending: _Pending) -> None:
        provider = self._around.providers.get(record.provider)
        if provider is None or provider.batching is None:
            # Not in the settings any more: nobody here can ask for it.
            await self._ends.whole(record, {}, state="lost", code=GONE)
            return
        batching = provider.batching
        if record.state == "submitting":
            await self._find(record, batching, pending)
            return
        try:
            await self._cancel_if_wanted(record, batching, pending)
            seen = await batching.look(record.provider_batch_id, key=record.key)
            if record.doubtful:
                await self._doubled.look(record, batching)
            answers = await read_answers(seen, batching, key=record.key)
        except Exception as error:  # noqa: BLE001 - it is paid for, and may be there later
            self._ends.delayed(record, error)
            pending.absent = pending.absent + 1 if status_of(error) == NOT_FOUND else 0
            if pending.absent >= GONE_AFTER:
                await self._ends.whole(record, {}, state="lost", code=GONE)
            pending.next_at = self._around.clock.monotonic() + RETRY_S
            return
        pending.absent = 0
        if answers is None:
            waited_s = (self._around.clock.now() - record.created_at).total_seconds()
            pending.next_at = self._around.clock.monotonic() + look_pause_s(waited_s)
            return
        if seen.code == POOL_FULL and self._pools_full.hold(record):
            await self._ends.not_begun(record, seen)
        else:
            if seen.status == "completed":
                self._pools_full.had_room(record)
            await self._ends.whole(
                record, answers, state=seen.status, code=f"batch_{seen.status}", seen=seen
            )
        await self._ends.tidy(record, seen, batching)

    async def _find(self, record: BatchRecord, batching: Batching, pending: _Pending) -> None:
        """Ask whether a batch was made of whose making nothing was heard; else make it."""
        try:
            found = await batching.found(record.batch_id, key=record.key)
        except Exception as error:  # noqa: BLE001 - asked again later
            self._ends.delayed(record, error)
            pending.next_at = self._around.clock.monotonic() + RETRY_S
            return
        if not found:
            # A list may be late: whether another one was made is asked again while this one runs.
            doubtful = record.model_copy(update={"doubtful": True})
            await self._make(doubtful, batching, pending)
            return
        twice = record.doubtful or len(found) > 1
        doubtful = record.model_copy(update={"doubtful": twice})
        await self._submitted(doubtful, found[0], pending)

    async def _cancel_if_wanted(
        self, record: BatchRecord, batching: Batching, pending: _Pending
    ) -> None:
        """Cancel a batch once, where somebody wants it or nobody waits for it any more."""
        wanted = record.batch_id in self._book.cancelled or not self._book.of(record.lines)
        if wanted and not pending.cancelling:
            pending.cancelling = True
            await batching.cancel(record.provider_batch_id, key=record.key)

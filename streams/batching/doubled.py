"""Batches that were made twice: a provider did not list the first one when it was asked for it.

The other one is told of and cancelled, and what of it was answered is on record: as calls of their
own, whose answers nobody used. It is known here only: a gatherer that ends before that batch has
ended has told of it, and what it cost is in the provider's export.
"""

from dataclasses import dataclass
from uuid import NAMESPACE_OID, uuid5

from agents.deciding.batching import fate, look_pause_s
from agents.providers.batching import Batching
from schemas.attempt import ProviderAttempt
from schemas.batches import BatchAnswer, BatchRecord
from schemas.vocabulary import LogEvent
from streams.batching.book import Book, Waiting
from streams.batching.ends import NOT_FOUND, Ends, Surroundings, status_of
from streams.batching.files import read_answers
from streams.batching.writing import Writing

__all__ = ["Doubled"]


@dataclass(slots=True)
class _Other:
    """A second batch of the same lines, until it has ended; monotonic seconds."""

    record: BatchRecord
    provider_batch_id: str
    batching: Batching
    lines: list[Waiting]
    since: float
    next_at: float
    to_cancel: bool


class Doubled:
    """Looks for second batches, and after them."""

    def __init__(self, around: Surroundings, book: Book, writing: Writing, ends: Ends) -> None:
        """Know of none yet."""
        self._around = around
        self._book = book
        self._writing = writing
        self._ends = ends
        self._others: dict[str, _Other] = {}
        self._told: set[str] = set()

    async def look(self, record: BatchRecord, batching: Batching) -> None:
        """Look for others of a batch that was perhaps made before, and tell of each once.

        Raises what the provider's library raises.
        """
        now = self._around.clock.monotonic()
        for other in await batching.found(record.batch_id, key=record.key):
            name = other.batch_id
            if name in {"", record.provider_batch_id} | self._told:
                continue
            self._told.add(name)
            lines = self._book.of(record.lines) + self._book.of(record.lines, late=True)
            self._around.log(
                LogEvent.BATCH_DOUBLED,
                level="warning",
                batch_id=record.batch_id,
                provider_batch_id=name,
                lines=len(lines),
            )
            to_cancel = fate(other.status) != "ended"
            self._others[name] = _Other(record, name, batching, lines, now, now, to_cancel)

    async def once(self) -> None:
        """Cancel them, and look after those that have not ended."""
        for other in list(self._others.values()):
            now = self._around.clock.monotonic()
            if now < other.next_at or not self._around.lease_holds():
                continue
            other.next_at = now + look_pause_s(now - other.since)
            try:
                if other.to_cancel:
                    await other.batching.cancel(other.provider_batch_id, key=other.record.key)
                    other.to_cancel = False
                seen = await other.batching.look(other.provider_batch_id, key=other.record.key)
                answers = await read_answers(seen, other.batching, key=other.record.key)
            except Exception as error:  # noqa: BLE001 - asked again later
                self._ends.delayed(other.record, error)
                if status_of(error) == NOT_FOUND:  # its files were deleted: it is on record
                    del self._others[other.provider_batch_id]
                continue
            if answers is None:
                continue
            ended: list[ProviderAttempt] = []
            for line in other.lines:
                told = answers.get(line.line_id)
                if told is not None and told.status is not None:
                    answer = BatchAnswer(
                        attempt=line.line.attempt.model_copy(
                            update={"attempt_id": _id_of(other, line)}
                        ),
                        batch_id=other.provider_batch_id,
                        status=told.status,
                        body=dict(told.body),
                    )
                    ended.append(await self._ends.unclaimed(line, answer))
            await self._writing.on_record(ended)
            await self._ends.tidy(other.record, seen, other.batching)
            del self._others[other.provider_batch_id]


def _id_of(other: _Other, line: Waiting) -> str:
    """Name a call; whoever reads its answer again gives it the same name, and it counts once."""
    return str(uuid5(NAMESPACE_OID, f"{other.provider_batch_id}/{line.line_id}"))

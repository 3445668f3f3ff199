"""How batches end: their lines go back to their lanes, each with what came of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

from agents.clock import Clock, Dice
from agents.deciding.batching import expected_ms, is_late
from agents.deciding.protecting import OFF, Protection
from agents.executing.attempts import Attempts
from agents.executing.batched import unclaimed
from agents.executing.prompts import render
from agents.log import Log
from agents.providers.adapters import Provider
from agents.providers.batching import Batching, SeenBatch
from agents.task import Task
from schemas.attempt import ProviderAttempt
from schemas.batches import BatchAnswer, BatchRecord
from schemas.settings import Settings
from schemas.vocabulary import LogEvent
from streams.batching.answers import Told
from streams.batching.book import Book, Waiting
from streams.batching.writing import Writing
from streams.failpoints import FailPoints
from streams.messages.sealing import Vault

__all__ = ["NOT_FOUND", "Ends", "Surroundings", "status_of", "unanswered"]

#: Why a line whose intent's deadline is near is not answered.
LATE = "batch_late"
#: What is not there, or not any more.
NOT_FOUND = 404


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the gatherer is given, for as long as its worker runs."""

    settings: Settings
    providers: Mapping[str, Provider]
    prompts: Mapping[str, str]
    clock: Clock
    dice: Dice
    log: Log
    lease_holds: Callable[[], bool]
    fail_points: FailPoints
    attempts: Attempts
    #: Opens content at rest, and seals it where there are keys.
    vault: Vault
    #: What providers do not get to see.
    protection: Protection = OFF


class Ends:
    """Sends lines back, and writes how batches ended."""

    def __init__(self, around: Surroundings, book: Book, writing: Writing) -> None:
        """Keep what is known, and how it is written."""
        self._around = around
        self._book = book
        self._writing = writing

    async def whole(
        self,
        record: BatchRecord,
        answers: Mapping[str, Told],
        *,
        state: str,
        code: str,
        seen: SeenBatch | None = None,
    ) -> None:
        """Send all lines back that still wait, then note how the batch ended."""
        missing = Told(code=code)
        told = [
            (one, _answer(record, one, answers.get(one.line_id, missing), state))
            for one in self._book.of(record.lines)
        ]
        self._around.fail_points.reach("batch_ended")
        await self._writing.send_back(told)
        await self._end_late(record, answers, state=state, code=code)
        self._around.fail_points.reach("batch_returned")
        answered = sum(1 for one in answers.values() if one.status == 200)  # noqa: PLR2004
        await self._note_end(record, state, seen, answered=answered)
        self._around.log(
            LogEvent.BATCH_ENDED,
            level="info" if state == "completed" else "warning",
            batch_id=record.batch_id,
            state=state,
            lines=record.count,
            answered=answered,
        )

    async def not_begun(self, record: BatchRecord, seen: SeenBatch) -> None:
        """Note that a batch found no room and answered nothing; its lines are gathered again."""
        await self._end_late(record, {}, state=seen.status, code=seen.code)
        await self._note_end(record, seen.status, seen)
        self._around.log(
            LogEvent.BATCH_DELAYED,
            level="warning",
            batch_id=record.batch_id,
            state=seen.status,
            error=seen.code,
            http_status=None,
        )

    async def _note_end(
        self, record: BatchRecord, state: str, seen: SeenBatch | None, *, answered: int = 0
    ) -> None:
        """Write that a batch has none of its lines any more."""
        update = {
            "state": state,
            "lines": [],
            "answered": answered,
            "failed": record.count - answered,
            "ended_at": self._around.clock.now(),
            "said": seen.said if seen else "",
        }
        await self._writing.batch(record.model_copy(update=update))

    async def _end_late(
        self, record: BatchRecord, answers: Mapping[str, Told], *, state: str, code: str
    ) -> None:
        """Put on record what the lines cost whose intents had gone back before."""
        missing, ended = Told(code=code), []
        for one in self._book.of(record.lines, late=True):
            said = _answer(record, one, answers.get(one.line_id, missing), state)
            ended.append((one, await self.unclaimed(one, said)))
        await self._writing.forget(ended)

    async def unclaimed(self, one: Waiting, answer: BatchAnswer) -> ProviderAttempt:
        """Give the end of a line that nobody waits for any more."""
        attempt, around = one.line.attempt, self._around
        provider = around.providers.get(attempt.provider)
        mask = around.protection.mask(one.intent)
        task = Task(mask.intent, attempt.intent_id, attempt.execution_id, one.state.source)
        if provider is None or provider.batching is None:
            return attempt  # it stays as it is, with its bound
        messages = render(mask.intent, around.prompts)
        return await unclaimed(
            around.attempts, provider.batching, task, answer, messages, mask=mask
        )

    async def tidy(self, record: BatchRecord, seen: SeenBatch, batching: Batching) -> None:
        """Delete the files: what they hold is with the intents now."""
        for file in {record.input_file_id, seen.output_file_id, seen.error_file_id} - {""}:
            try:
                await batching.delete(file, key=record.key)
            except Exception as error:  # noqa: BLE001 - they are deleted by hand, or stay
                self.delayed(record, error)

    async def late(self) -> None:
        """Send back whose deadline is near; one that was submitted may be charged."""
        book, now_ms = self._book, self._around.clock.now_ms()
        submitted = frozenset(name for one in book.live for name in one.lines)
        expected = cache(self._expected_ms)  # many wait, for few models
        late = [
            (one, unanswered(one, LATE, may_cost=one.line_id in submitted))
            for name, one in book.lines.items()
            if one.planned.back_at_ms is not None
            and not one.line.late
            and is_late(
                one.planned.back_at_ms,
                now_ms=now_ms,
                expected=None
                if name in submitted
                else expected(one.planned.provider, one.planned.model),
            )
        ]
        if late:
            await self._writing.send_back(late, keep=submitted)

    def _expected_ms(self, provider: str, model: str) -> int | None:
        """Give how long the next batch of a model takes, by those before it."""
        return expected_ms(self._book.past_ms(provider, model))

    def delayed(self, record: BatchRecord, error: Exception) -> None:
        """Say that a provider did not do what a batch needs; it is tried again."""
        self._around.log(
            LogEvent.BATCH_DELAYED,
            level="warning",
            batch_id=record.batch_id,
            state=record.state,
            error=type(error).__name__,
            http_status=status_of(error),
        )


def _answer(record: BatchRecord, one: Waiting, told: Told, state: str) -> BatchAnswer:
    return BatchAnswer(
        attempt=one.line.attempt,
        batch_id=record.provider_batch_id,
        status=told.status,
        body=dict(told.body),
        code=told.code,
        may_cost=state == "lost" and told.status is None,
    )


def unanswered(one: Waiting, code: str, *, may_cost: bool = False) -> BatchAnswer:
    """Say of a line that there is no answer to it."""
    return BatchAnswer(attempt=one.line.attempt, code=code, may_cost=may_cost)


def status_of(error: Exception) -> int | None:
    """Give the HTTP status that an error of a provider carries."""
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) else None

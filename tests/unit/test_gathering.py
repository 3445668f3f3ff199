"""What the gatherer does about lines that cannot be read yet, and about batches made twice."""

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import AsyncMock, MagicMock

import pytest

from agents.clock import ManualClock
from agents.providers.batching import SeenBatch
from schemas.batches import BatchLine, BatchRecord
from schemas.settings import Settings
from streams.batching.book import Book
from streams.batching.doubled import Doubled
from streams.batching.ends import Surroundings
from streams.batching.rounds import Rounds
from streams.messages.batch_records import line_record
from streams.messages.sealing import Vault
from tests.builders import NOW, a_task, an_attempt, an_incoming, an_intent
from tests.unit.test_batching import a_state, as_read

SETTINGS = Settings()
OWN, OTHER = "batch_own", "batch_other"


class RefusedError(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status_code = status


@dataclass
class AProvider:
    """A side that answers batches, as a test wants it."""

    listed: list[SeenBatch] = field(default_factory=list)
    shown: dict[str, SeenBatch] = field(default_factory=dict)
    #: What the next cancellations raise.
    troubles: list[int] = field(default_factory=list)
    #: What files hold; one that is deleted is not there.
    files: dict[str, bytes] = field(default_factory=dict)
    cancelled: list[str] = field(default_factory=list)

    async def found(self, _batch_id: str, **_told: Any) -> list[SeenBatch]:
        return self.listed

    async def look(self, name: str, **_told: Any) -> SeenBatch:
        return self.shown[name]

    async def cancel(self, name: str, **_told: Any) -> None:
        self.cancelled.append(name)
        if self.troubles:
            raise RefusedError(self.troubles.pop(0))

    async def read(self, file: str, **_told: Any) -> bytes:
        if file not in self.files:
            raise RefusedError(404)
        return self.files[file]

    async def delete(self, file: str, **_told: Any) -> None:
        self.files.pop(file, None)


def the_book() -> Book:
    line = BatchLine(attempt=an_attempt(a_task()))
    record = line_record(
        SETTINGS.topics, an_incoming(an_intent().to_json()), line, a_state(), lane=3
    )
    book = Book(SETTINGS)
    book.take(record.key or b"", as_read(record))
    book.batches["b"] = BatchRecord(
        batch_id="b", provider="openai", model="", state="submitted", provider_batch_id=OWN,
        lines=["a"], count=1, doubtful=True, created_at=NOW,
    )  # fmt: skip
    return book


def around_of(provider: AProvider, clock: ManualClock, said: list[str]) -> Surroundings:
    def log(event: Any, **_told: Any) -> None:
        said.append(event.value)

    return Surroundings(
        settings=SETTINGS, providers={"openai": MagicMock(batching=provider, keys=("k",))},
        prompts={}, clock=clock, dice=MagicMock(), log=log, lease_holds=lambda: True,
        fail_points=MagicMock(), attempts=MagicMock(),
        vault=Vault(SETTINGS.topics, None, chance=bytes),
    )  # fmt: skip


def a_doubled(
    provider: AProvider, clock: ManualClock, said: list[str]
) -> tuple[Doubled, AsyncMock]:
    book, writing = the_book(), AsyncMock()
    around = around_of(provider, clock, said)
    ends = MagicMock(unclaimed=AsyncMock(side_effect=lambda _line, answer: answer.attempt))
    ends.tidy = AsyncMock(
        side_effect=lambda _record, seen, _b: provider.files.pop(seen.output_file_id)
    )
    return Doubled(around, book, writing, ends), writing


LIVE = SeenBatch(OTHER, "in_progress")
ENDED = SeenBatch(OTHER, "cancelled", output_file_id="out")
ANSWERS = b'{"custom_id": "a", "response": {"status_code": 200, "body": {}}}\n'


def test_another_batch_is_told_of_once_and_on_record_once_whoever_looks_again() -> None:
    provider = AProvider([LIVE], {OTHER: ENDED}, files={"out": ANSWERS})
    clock, said, ids = ManualClock(NOW), list[str](), list[set[str]]()

    async def story() -> None:
        for _ in range(2):  # a gatherer, and the one after it
            doubled, writing = a_doubled(provider, clock, said)
            record = the_book().batches["b"]
            for _ in range(3):
                await doubled.look(record, provider)
                await doubled.once()
                clock.advance(60)
            written = [one for call in writing.on_record.await_args_list for one in call.args[0]]
            ids.append({one.attempt_id for one in written})
            provider.listed, provider.files = [ENDED], {"out": ANSWERS}  # it died before it tidied

    asyncio.run(story())
    assert said.count("batch_doubled") == 2, "once by each"
    assert ids[0] == ids[1] != {"a"}
    assert len(ids[0]) == 1


def test_another_batch_whose_files_are_gone_is_on_record_already() -> None:
    provider, clock, said = AProvider([ENDED], {OTHER: ENDED}), ManualClock(NOW), list[str]()
    doubled, writing = a_doubled(provider, clock, said)

    async def story() -> None:
        await doubled.look(the_book().batches["b"], provider)
        await doubled.once()
        clock.advance(600)
        provider.shown.clear()  # it is not asked for again
        await doubled.once()

    asyncio.run(story())
    writing.on_record.assert_not_awaited()
    assert provider.cancelled == []


def test_a_cancellation_that_fails_is_tried_again() -> None:
    provider = AProvider([LIVE], {OTHER: LIVE}, troubles=[503])
    clock = ManualClock(NOW)
    doubled, _ = a_doubled(provider, clock, [])

    async def story() -> None:
        await doubled.look(the_book().batches["b"], provider)
        for _ in range(3):
            await doubled.once()
            clock.advance(60)

    asyncio.run(story())
    assert provider.cancelled == [OTHER, OTHER]


@pytest.mark.parametrize("state", ["submitted", "submitting"])
def test_a_batch_of_lines_that_cannot_be_read_yet_is_left_as_it_is(state: Any) -> None:
    """Nobody seems to wait for it; but it is paid for, and its lines may be readable soon."""
    book, provider, clock = the_book(), AProvider(), ManualClock(NOW)
    book.batches["b"] = book.batches["b"].model_copy(update={"state": state})
    line = book.lines.pop("a")
    book.unread = {"a"}
    provider.shown[OWN] = replace(ENDED, batch_id=OWN, status="completed")
    writing = AsyncMock()
    rounds = Rounds(around_of(provider, clock, []), book, writing)

    async def look() -> None:
        clock.advance(60)
        await rounds.once()

    asyncio.run(look())
    assert (provider.cancelled, writing.batch.await_count) == ([], 0)
    book.lines["a"], book.unread = line, set()
    book.batches["b"] = book.batches["b"].model_copy(update={"doubtful": False})
    provider.files["out"] = ANSWERS
    if state == "submitted":
        asyncio.run(look())
        assert writing.send_back.await_count

"""Dead letters: listing, and replaying them as the intents they were."""

import asyncio
import base64
from collections.abc import AsyncIterable, AsyncIterator, Callable, Container
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from pydantic import ValidationError
from pydantic_core import from_json

from schemas.events import ReplayRecord
from schemas.outcome import DeadLetter
from schemas.settings import Settings
from streams.kafka.reading import read_topic
from streams.messages.digests import digest
from streams.messages.identity import deduplication_key
from streams.messages.records import INTENT_ID_HEADER, REPLAY_COUNT_HEADER, REPLAYED_HEADER
from streams.publishing.intents import open_producer

__all__ = [
    "Selection",
    "dead_letters",
    "letters_at",
    "original_value",
    "replay",
    "stated_model",
    "to_replay",
]

#: A name of a model that is longer is none.
MOST_MODEL = 100
#: Partition and offset of a dead letter.
Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which dead letters; None = any."""

    reason: str | None = None
    error_class: str | None = None
    type: str | None = None
    tenant: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    #: One that was called for it.
    provider: str | None = None
    intent_id: str | None = None
    #: Of the dead letter or of its intent.
    id: str | None = None
    limit: int | None = None

    def takes(self, letter: DeadLetter) -> bool:
        """Whether a dead letter is meant."""
        return (
            (self.reason is None or letter.reason.value == self.reason)
            and (self.error_class is None or letter.error_class.value == self.error_class)
            and (self.type is None or letter.type == self.type)
            and (self.tenant is None or letter.tenant == self.tenant)
            and (self.intent_id is None or letter.intent_id == self.intent_id)
            and (
                self.provider is None or self.provider in {one.provider for one in letter.attempts}
            )
            and (self.id is None or self.id in {letter.dead_letter_id, letter.intent_id})
        )


async def dead_letters(settings: Settings, selection: Selection) -> AsyncIterator[DeadLetter]:
    """Give the chosen dead letters; records of other kinds are passed over."""
    count = 0
    async for _, letter in _placed(settings, selection):
        if selection.limit is not None and count >= selection.limit:
            return
        count += 1
        yield letter


async def to_replay(settings: Settings, selection: Selection) -> frozenset[Place]:
    """Choose what a replay is about: the newest dead letter of each intent, where it is.

    One whose replay has been decided is left out before the limit counts. The letters themselves
    are not kept: `letters_at` reads them again, one by one.
    """
    decided = await _decided(settings)
    newest: dict[bytes, tuple[int, Place, bool]] = {}
    async for place, letter in _placed(settings, selection):
        name = digest(deduplication_key(letter.tenant, letter.intent_id))
        known = newest.get(name)
        if known is None or known[0] <= letter.replay_count:
            is_open = digest(letter.dead_letter_id) not in decided
            newest[name] = (letter.replay_count, place, is_open)
    chosen = (place for _, place, is_open in newest.values() if is_open)
    return frozenset(islice(chosen, selection.limit))


async def letters_at(
    settings: Settings, selection: Selection, places: Container[Place]
) -> AsyncIterator[DeadLetter]:
    """Give the dead letters at some places, one by one."""
    async for place, letter in _placed(settings, selection):
        if place in places:
            yield letter


async def _placed(
    settings: Settings, selection: Selection
) -> AsyncIterator[tuple[Place, DeadLetter]]:
    records = read_topic(
        settings,
        settings.topics.dead_letters,
        since=selection.since,
        until=selection.until,
        needed=True,
    )
    async for record in records:
        try:
            letter = DeadLetter.model_validate_json(record.value or b"")
        except ValidationError:
            continue
        if selection.takes(letter):
            yield (record.partition, record.offset), letter


async def _decided(settings: Settings) -> set[bytes]:
    """Give the dead letters whose replays have been decided, by the digests of their ids."""
    found = set()
    async for record in read_topic(settings, settings.topics.replays):
        with suppress(ValidationError):
            found.add(digest(ReplayRecord.model_validate_json(record.value or b"").dead_letter_id))
    return found


async def replay(
    settings: Settings,
    letters: AsyncIterable[DeadLetter],
    *,
    rate: float | None,
    on_replayed: Callable[[DeadLetter], None],
) -> int:
    """Publish the original records again, with their ids and a replay count; gives how many.

    `rate` is records a second. A dead letter replayed twice runs once: lanes remember its id.
    """
    sources, count = settings.topics.sources, 0
    async with open_producer(settings) as client:
        async for letter in letters:
            topic = letter.source.topic if letter.source.topic in sources[:2] else sources[0]
            own = {REPLAY_COUNT_HEADER, REPLAYED_HEADER, INTENT_ID_HEADER}
            headers = [
                (name, base64.b64decode(value))
                for name, value in letter.original.headers
                if name not in own
            ]
            headers += [
                (REPLAY_COUNT_HEADER, str(letter.replay_count + 1).encode()),
                (REPLAYED_HEADER, letter.dead_letter_id.encode()),
                (INTENT_ID_HEADER, letter.intent_id.encode()),
            ]
            key = None if letter.original.key is None else base64.b64decode(letter.original.key)
            # The same partition as before: the lane whose ledger knows the intent.
            await client.send_and_wait(
                topic,
                value=original_value(letter),
                key=key,
                partition=letter.source.partition,
                headers=headers,
            )
            count += 1
            on_replayed(letter)
            if rate:
                await asyncio.sleep(1 / rate)
    return count


def original_value(letter: DeadLetter) -> bytes | None:
    """Give the exact bytes of the intent."""
    return None if letter.original.value is None else base64.b64decode(letter.original.value)


def stated_model(letter: DeadLetter) -> str:
    """Name the model that the intent asked for; empty where it leaves that to the provider."""
    try:
        model = from_json(original_value(letter) or b"{}").get("model")
    except (ValueError, AttributeError):  # no JSON, or no object: a poison pill
        return ""
    return model[:MOST_MODEL] if isinstance(model, str) else ""

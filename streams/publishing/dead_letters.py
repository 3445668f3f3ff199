"""Dead letters: listing, and replaying them as the intents they were."""

import base64
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from aiokafka import ConsumerRecord
from pydantic import ValidationError

from schemas.outcome import DeadLetter
from schemas.settings import Settings
from schemas.topics import Topics
from schemas.tracing import is_trace_id
from schemas.vocabulary import LetterState
from streams.kafka.reading import read_topic
from streams.messages.records import (
    INTENT_ID_HEADER,
    REPLAY_COUNT_HEADER,
    REPLAY_PLAN_HEADER,
    REPLAYED_HEADER,
    REPLAYED_TRACE_HEADER,
    OutRecord,
)
from streams.publishing.contents import Contents
from streams.publishing.kinds import kind_of, stated_model
from streams.publishing.originals import original_value

__all__ = ["Selection", "Sieve", "chosen", "dead_letters", "replayed_record"]


PLAIN = re.compile(r"[\w.-]+", re.ASCII)


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
    #: The cause that they have, by its id.
    cause: str | None = None
    #: Where they stand; who asks for it has to know that.
    state: LetterState | None = None
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

    def sieve(self) -> "Sieve":
        """Give what most of those that are not meant are known by, unread."""
        headers = {
            "__dlq.errors.reason": self.reason,
            "__dlq.errors.class": self.error_class,
            "intent-type": self.type,
            "tenant": self.tenant,
            INTENT_ID_HEADER: self.intent_id,
        }
        return Sieve(
            {
                name: value.encode("utf-8", "surrogatepass")
                for name, value in headers.items()
                if value is not None
            },
            # Text of these signs is never written in another way.
            tuple(one.encode() for one in (self.id, self.provider) if one and PLAIN.fullmatch(one)),
        )

    def is_of_cause(self, letter: DeadLetter) -> bool:
        """Whether a dead letter, with its content, has the cause that is meant."""
        return self.cause is None or kind_of(letter, stated_model(letter)).id == self.cause


@dataclass(frozen=True, slots=True)
class Sieve:
    """What is known of a record before its letter is read; lanes write these headers last."""

    headers: Mapping[str, bytes]
    #: What stands somewhere in the value.
    texts: tuple[bytes, ...]

    def lets_by(self, record: ConsumerRecord) -> bool:
        """Whether a record's letter may be meant; where nothing is known, it may."""
        headers, value = self.headers, record.value or b""
        if headers:
            for name, found in record.headers:
                if name in headers and headers[name] != found:
                    return False
        return all(text in value for text in self.texts)


async def dead_letters(settings: Settings, selection: Selection) -> AsyncIterator[DeadLetter]:
    """Give the chosen dead letters; records of other kinds are passed over."""
    count = 0
    async with Contents(settings) as contents:
        async for _, letter in chosen(settings, selection, contents):
            if selection.limit is not None and count >= selection.limit:
                return
            count += 1
            yield letter


async def chosen(
    settings: Settings, selection: Selection, contents: Contents
) -> AsyncIterator[tuple[ConsumerRecord, DeadLetter]]:
    """Give the chosen dead letters with their records; limit and state are the caller's matter.

    What is sealed is opened. What stands elsewhere is not read there: ask `contents` for those
    that it is needed of.
    """
    records = read_topic(
        settings,
        settings.topics.dead_letters,
        since=selection.since,
        until=selection.until,
        needed=True,
    )
    sieve = selection.sieve()
    async for record in records:
        if not sieve.lets_by(record):
            continue
        try:
            letter = DeadLetter.model_validate_json(record.value or b"")
        except ValidationError:
            continue
        if selection.takes(letter):
            whole = await contents.opened(letter)
            if selection.is_of_cause(whole):
                yield record, whole


def replayed_record(letter: DeadLetter, topics: Topics, *, plan_id: str = "") -> OutRecord:
    """Build the record that replays a dead letter: the exact bytes, on the partition they were.

    There the lane is whose ledger knows the intent. `plan_id`: whose run sends it.
    """
    sources = topics.sources
    own = {
        REPLAY_COUNT_HEADER,
        REPLAYED_HEADER,
        REPLAYED_TRACE_HEADER,
        INTENT_ID_HEADER,
        REPLAY_PLAN_HEADER,
    }
    passed = [
        (name, base64.b64decode(value))
        for name, value in letter.original.headers
        if name not in own
    ]
    return OutRecord(
        letter.source.topic if letter.source.topic in sources[:2] else sources[0],
        None if letter.original.key is None else base64.b64decode(letter.original.key),
        original_value(letter),
        (
            *passed,
            (REPLAY_COUNT_HEADER, str(letter.replay_count + 1).encode()),
            (REPLAYED_HEADER, letter.dead_letter_id.encode()),
            (INTENT_ID_HEADER, letter.intent_id.encode()),
            *_trace_of(letter),
            *(((REPLAY_PLAN_HEADER, plan_id.encode()),) if plan_id else ()),
        ),
        partition=letter.source.partition,
    )


def _trace_of(letter: DeadLetter) -> tuple[tuple[str, bytes], ...]:
    trace = letter.trace_context.trace_id if letter.trace_context else None
    return ((REPLAYED_TRACE_HEADER, trace.encode()),) if trace and is_trace_id(trace) else ()

"""Dead letters as JSON Lines: each as it stands on Kafka, with where it stands; in bounded memory.

A line is the dead letter's own document, every field as it was written, behind three more: `state`,
`place` (`topic:partition:offset`) and `cluster`; with `intents` also `intent`, the intent as JSON.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from aiokafka import ConsumerRecord
from pydantic_core import from_json

from schemas.outcome import DeadLetter
from schemas.settings import Settings
from schemas.vocabulary import LetterState
from streams.kafka.cluster import cluster_id
from streams.kafka.rights import read_rights, require_rights
from streams.publishing.contents import Contents
from streams.publishing.dead_letters import Selection
from streams.publishing.originals import original_body
from streams.triage.book import read_book
from streams.triage.stands import standing_records

__all__ = ["Exported", "exported"]


@dataclass(slots=True)
class Exported:
    """What was written, and what of it holds its content elsewhere or encrypted."""

    count: int = 0
    sealed: int = 0
    by_reference: int = 0
    #: With `intents`: those whose intent is no JSON, or cannot be read any more.
    without_intent: int = 0


async def exported(
    settings: Settings, selection: Selection, done: Exported, *, intents: bool = False
) -> AsyncIterator[bytes]:
    """Give a line for each dead letter that is chosen, counting into `done`.

    `intents`: what is sealed is opened for that, and what stands elsewhere is read there.
    Raises BrokerUnavailableError, RightsError, TopicsError, KafkaError, KeyFileError.
    """
    topics = settings.topics
    read = read_rights(topics.dead_letters, topics.operations, topics.replays)
    await require_rights(settings, read)
    book, cluster = await read_book(settings), await cluster_id(settings)
    async with Contents(settings) as contents:
        every = standing_records(settings, selection, book, contents)
        async for record, letter, state in every:
            done.count += 1
            raw = record.value or b"{}"
            done.sealed += b'"sealed":{' in raw  # as it stands: it was opened to be looked at
            done.by_reference += letter.by_reference
            more: dict[str, Any] = {}
            if intents:
                more["intent"] = _intent(await contents.fetched(letter))
                done.without_intent += more["intent"] is None
            yield _line(record, state, cluster, more)


def _intent(letter: DeadLetter) -> dict[str, Any] | None:
    try:
        found = from_json(original_body(letter) or b"")
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _line(record: ConsumerRecord, state: LetterState, cluster: str, more: dict[str, Any]) -> bytes:
    """Put what is ours before what stands on Kafka, which stays as it was written."""
    place = f"{record.topic}:{record.partition}:{record.offset}"
    document = {"state": state.value, "place": place, "cluster": cluster, **more}
    ours = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    try:
        head = ours[:-1].encode()
    except UnicodeEncodeError:
        head = json.dumps(document, separators=(",", ":"))[:-1].encode()
    value = (record.value or b"").strip()
    if b"\n" in value or b"\r" in value or not value.startswith(b"{"):
        value = json.dumps(from_json(value), separators=(",", ":")).encode()
    return head + b"," + value[1:] + b"\n"

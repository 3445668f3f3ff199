"""Making a person's content at rest unreadable: the keys that it is encrypted with are destroyed.

First the person's open work is ended, so that nothing of it is written under a new key later.
"""

import asyncio
from dataclasses import dataclass, field

from schemas.operations import CancelRecord
from schemas.settings import Settings
from streams.batching.looking import read_batches
from streams.kafka.clients import producer, reached
from streams.kafka.content_keys import known_vault
from streams.kafka.passing import queued
from streams.kafka.rights import forget_rights, require_rights
from streams.triage import cancelling

__all__ = ["Forgotten", "NothingSealedError", "Person", "carry_out", "open_work"]

LOOK_LIMIT_S = 30.0
SEND_LIMIT_S = 30


class NothingSealedError(Exception):
    """Raised where no key files are named: nothing is encrypted, so nothing can be forgotten."""


@dataclass(frozen=True, slots=True)
class Person:
    """Whose content is meant; of one tenant, or of all."""

    user_id: str
    tenant: str | None = None

    def is_of(self, user_id: str, tenant: str) -> bool:
        """Whether something is this person's."""
        return user_id == self.user_id and self.tenant in {None, tenant}


@dataclass(slots=True)
class Forgotten:
    """What was done."""

    keys: int = 0
    ended: int = 0
    #: Ids of work that is still open.
    left: set[str] = field(default_factory=set)


async def open_work(settings: Settings, person: Person, order: CancelRecord) -> set[str]:
    """Give the ids of a person's work that has no outcome yet, lines of batches too.

    Raises NothingSealedError, KeyFileError, RightsError, BrokerUnavailableError, KafkaError.
    """
    if settings.hybrid_content_keys is None:
        message = (
            "HYBRID_CONTENT_KEYS is not set here: where nothing is encrypted nothing can be made "
            "unreadable; it goes with its topics' retention (docs/security.md)"
        )
        raise NothingSealedError(message)
    await require_rights(settings, forget_rights(settings))
    standing = await cancelling.look_up(
        settings,
        order,
        limit_s=LOOK_LIMIT_S,
        takes=lambda intent: person.is_of(intent.user_id, intent.tenant),
    )
    book = await read_batches(settings)
    lines = {
        one.state.intent_id
        for one in book.lines.values()
        if person.is_of(one.intent.user_id, one.intent.tenant) and not one.line.late
    }
    return standing.open | lines


async def carry_out(
    settings: Settings, person: Person, order: CancelRecord, wanted: set[str], *, wait_s: float
) -> Forgotten:
    """End a person's open work, wait for it, and destroy the keys.

    Raises KeyFileError, RightsError, BrokerUnavailableError, KafkaError, TimeoutError.
    """
    done = Forgotten()
    if wanted:
        named = order.model_copy(update={"intent_ids": sorted(wanted)})
        ended = await cancelling.carry_out(settings, named, wanted, wait_s=wait_s)
        done.ended, done.left = len(wanted) - len(ended.left), ended.left
    tombstones = (await known_vault(settings)).forgetting(person.user_id, person.tenant)
    if tombstones:
        async with reached(settings, producer(settings), within_s=SEND_LIMIT_S) as client:
            sent = [await queued(client, one, one.written_headers) for one in tombstones]
            async with asyncio.timeout(SEND_LIMIT_S):
                await asyncio.gather(*sent)
    done.keys = len(tombstones)
    return done

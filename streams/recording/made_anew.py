"""Offsets that belong to a topic which is gone: one of its name was made since, and counts anew.

Kafka does not say so to a reader: where the new topic has grown beyond the old offset, it reads on
from there, and what stands before it is never seen. So each commit carries the id of the topic
that its offset was read of (KIP-516), as metadata, and an offset of another one begins anew.
"""

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack, suppress
from typing import Self

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from agents.clock import Clock
from schemas.settings import Settings
from streams.kafka.clients import admin_client
from streams.kafka.metadata import see_topics

__all__ = ["MadeAnew"]

#: A broker that has not heard of the new topic may serve the old one for a moment.
SETTLED_AFTER_S = 5.0
#: How often it is asked which topics there are, in seconds; beside the reading, which waits for no
#: broker that answers nobody.
LOOK_EVERY_S = 1.0


class MadeAnew(ConsumerRebalanceListener):  # type: ignore[misc] # the library has no types
    """Keeps, for each partition of one reader in a group, the topic that its offset is of.

    A topic counts as another one only between two batches, and only a while after it was first
    seen: an offset is at worst taken for one of the older topic, whose records are then read twice,
    and kept once.
    """

    def __init__(self, settings: Settings, reader: AIOKafkaConsumer, clock: Clock) -> None:
        """Keep whose offsets they are; entering it connects."""
        self._settings = settings
        self._reader = reader
        self._clock = clock
        self._connected = AsyncExitStack()
        self._looking: asyncio.Task[None] | None = None
        #: The topics that there are, and their ids; None = nobody has said so yet.
        self._now: dict[str, str] | None = None
        self._read_of: dict[TopicPartition, str | None] = {}
        self._unknown: set[TopicPartition] = set()
        self._since: dict[str, tuple[str, float]] = {}

    async def __aenter__(self) -> Self:
        """Connect, and look from now on; raises BrokerUnavailableError."""
        admin = await self._connected.enter_async_context(admin_client(self._settings))
        await self._look(admin)  # before the first record is read
        self._looking = asyncio.create_task(self._look_forever(admin))
        return self

    async def __aexit__(self, *_error: object) -> None:
        """Look no more, and disconnect."""
        if self._looking is not None:
            self._looking.cancel()
        await self._connected.aclose()

    async def _look_forever(self, admin: AIOKafkaAdminClient) -> None:
        while True:
            await self._clock.sleep(LOOK_EVERY_S)
            await self._look(admin)

    async def _look(self, admin: AIOKafkaAdminClient) -> None:
        """Ask which topics there are; a broker that does not say it is asked again later."""
        with suppress(KafkaError, TimeoutError, OSError):
            seen = await see_topics(admin, list(self._settings.topics.recorded))
            now = {name: one.topic_id for name, one in seen.items() if one.topic_id}
            for name, topic_id in now.items():
                if self._since.get(name, ("", 0.0))[0] != topic_id:
                    self._since[name] = topic_id, self._clock.monotonic()
            self._now = now

    def on_partitions_revoked(self, _revoked: Iterable[TopicPartition]) -> None:
        """Nothing: what is assigned next counts."""

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Note that the group's offsets count now, of whichever topics they are."""
        self._read_of.clear()
        self._unknown = set(assigned)

    @property
    def known(self) -> bool:
        """Whether it is known of each partition what its offset is of: else none is committed."""
        return not self._unknown

    def noted(self, offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, object]:
        """Give offsets as they are committed."""
        return {
            tp: OffsetAndMetadata(offset, self._read_of.get(tp) or "")
            for tp, offset in offsets.items()
        }

    async def rewind(self) -> list[TopicPartition]:
        """Seek to the begin of partitions whose topic is another one, and give them.

        Raises KafkaError, and whatever has ended the looking.
        """
        if self._looking is not None and self._looking.done():
            self._looking.result()
        now, moment = self._now, self._clock.monotonic()
        if now is None:
            return []
        if self._unknown:
            await self._take_over(now)
        settled = {name for name in now if moment - self._since[name][1] >= SETTLED_AFTER_S}
        found = [
            tp
            for tp, read_of in self._read_of.items()
            if tp.topic in settled and read_of != now[tp.topic]
        ]
        for tp in found:
            self._reader.seek(tp, 0)  # what retention has taken since: from where it begins
            self._read_of[tp] = now[tp.topic]
        return found

    async def _take_over(self, now: Mapping[str, str]) -> None:
        """Ask what the group's offsets are of; those that do not say so are of what is there."""
        asked = self._unknown
        coordinator = self._reader._coordinator  # noqa: SLF001 - the public way has no metadata
        committed = await coordinator.fetch_committed_offsets(list(asked))
        if self._unknown is not asked:
            return  # assigned anew meanwhile
        for tp in asked:
            said = committed[tp].metadata if tp in committed else ""
            self._read_of[tp] = said or now.get(tp.topic)
        self._unknown = set()

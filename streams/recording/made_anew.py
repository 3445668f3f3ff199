"""Offsets that belong to a topic which is gone: one of its name was made since, and counts anew.

Kafka does not say so to a reader: where the new topic has grown beyond the old offset, it reads on
from there, and what stands before it is never seen. So each commit carries the id of the topic
that its offset was read of (KIP-516), as metadata, and an offset of another one begins anew.
"""

from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from typing import Self

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import OffsetAndMetadata

from agents.clock import Clock
from schemas.settings import Settings
from streams.kafka.clients import admin_client
from streams.kafka.metadata import see_topics

__all__ = ["MadeAnew"]

#: A broker that has not heard of the new topic may serve the old one for a moment.
SETTLED_AFTER_S = 5.0


class MadeAnew(ConsumerRebalanceListener):  # type: ignore[misc] # the library has no types
    """Keeps, for each partition of one reader in a group, the topic that its offset is of.

    What is known is asked before records are read and never after, so an offset is at worst
    taken for one of the older topic: then its records are read twice, and kept once.
    """

    def __init__(self, settings: Settings, reader: AIOKafkaConsumer, clock: Clock) -> None:
        """Keep whose offsets they are; entering it connects."""
        self._settings = settings
        self._reader = reader
        self._clock = clock
        self._connected = AsyncExitStack()
        self._admin: AIOKafkaAdminClient | None = None
        self._read_of: dict[TopicPartition, str | None] = {}
        self._unknown: set[TopicPartition] = set()
        self._since: dict[str, tuple[str, float]] = {}

    async def __aenter__(self) -> Self:
        """Connect; raises BrokerUnavailableError."""
        self._admin = await self._connected.enter_async_context(admin_client(self._settings))
        return self

    async def __aexit__(self, *_error: object) -> None:
        """Disconnect."""
        await self._connected.aclose()

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

        Raises KafkaError.
        """
        topics = sorted({tp.topic for tp in self._reader.assignment()})
        seen = await see_topics(self._admin, topics)
        now = {name: one.topic_id for name, one in seen.items() if one.topic_id}
        if self._unknown:
            await self._take_over(now)
        settled = {name for name, topic_id in now.items() if self._is_settled(name, topic_id)}
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

    def _is_settled(self, topic: str, topic_id: str) -> bool:
        """Whether a topic has had its id for a while."""
        moment = self._clock.monotonic()
        known, since = self._since.get(topic, ("", moment))
        if known != topic_id:
            since = moment
        self._since[topic] = (topic_id, since)
        return moment - since >= SETTLED_AFTER_S

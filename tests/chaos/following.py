"""Outcomes as they come: one reader for a stack, which keeps what it has read."""

import asyncio
import json
import threading
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from schemas.settings import Settings
from streams.kafka.clients import consumer, partitions_of
from tests.chaos.oracle import Outcomes

__all__ = ["Following"]

LIMIT_S = 60
#: How often a reader is put up anew when the broker that it asked has died.
TRIES = 3


class Following:
    """Reads both outcome topics, read_committed, on a thread of its own; each record once.

    A look costs what is new since the last one, where a new reader costs two connections and
    everything from the beginning.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._client: AIOKafkaConsumer | None = None
        self._partitions: list[TopicPartition] = []
        self._found = Outcomes()

    def outcomes(self) -> Outcomes:
        """Everything up to what is the end now; raises KafkaError."""
        return asyncio.run_coroutine_threadsafe(self._read(), self._loop).result(LIMIT_S)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(LIMIT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(LIMIT_S)
        self._loop.close()

    async def _read(self) -> Outcomes:
        for left in reversed(range(TRIES)):
            try:
                client = self._client or await self._start()
                await self._catch_up(client)
            except (KafkaError, TimeoutError):
                await self._stop()
                if not left:
                    raise
            else:
                break
        return self._found

    async def _start(self) -> AIOKafkaConsumer:
        self._client = client = consumer(self._settings)
        self._found = Outcomes()
        await asyncio.wait_for(client.start(), 20)
        topics = self._settings.topics
        self._partitions = [
            tp
            for topic in (topics.results, topics.dead_letters)
            for tp in await partitions_of(client, topic)
        ]
        client.assign(self._partitions)
        await client.seek_to_beginning(*self._partitions)
        return client

    async def _catch_up(self, client: AIOKafkaConsumer) -> None:
        ends = await client.end_offsets(self._partitions)
        async with asyncio.timeout(LIMIT_S / TRIES):
            while any([await client.position(tp) < end for tp, end in ends.items()]):
                for tp, records in (await client.getmany(timeout_ms=100)).items():
                    for record in records:
                        self._keep(tp.topic, json.loads(record.value or b"{}"))

    def _keep(self, topic: str, document: dict[str, Any]) -> None:
        of_results = topic == self._settings.topics.results
        into = self._found.results if of_results else self._found.dead_letters
        into[document["intent_id"]].append(document)

    async def _stop(self) -> None:
        if self._client is not None:
            client, self._client = self._client, None
            with suppress(KafkaError, TimeoutError):  # its broker may be gone
                await client.stop()

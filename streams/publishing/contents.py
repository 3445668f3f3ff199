"""What dead letters hold, for those who read or replay them: opened, or read where it stands."""

import base64
from contextlib import AsyncExitStack
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from agents.clock import SystemClock
from schemas.outcome import DeadLetter
from schemas.settings import Settings
from streams.kafka.clients import consumer, partitions_of, started
from streams.kafka.content_keys import known_vault
from streams.kafka.reading import record_at
from streams.messages.sealed import UnreadableError
from streams.messages.sealing import Vault

__all__ = ["Contents"]

#: Clocks of workers may be so far ahead of ours.
SKEW = timedelta(minutes=1)
#: Keys are read so often at most.
MOST_READS = 4
GONE = (
    "the dead letter says only where its intent stands, and it stands there no more: publish it "
    "anew at its source"
)


class Contents:
    """Gives dead letters with their content: opened, or read where their record stands."""

    def __init__(self, settings: Settings) -> None:
        """Connect to nothing yet."""
        self._settings = settings
        self._vault: Vault | None = None
        #: What was written before is unreadable for good where its key is not known.
        self._sure_until = SystemClock().now()
        self._reads = 0
        self._reader: AIOKafkaConsumer | None = None
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Read the keys; raises KeyFileError, and what reading a topic raises."""
        await self._read_keys()
        return self

    async def _read_keys(self) -> None:
        self._sure_until, self._reads = SystemClock().now() - SKEW, self._reads + 1
        self._vault = await known_vault(self._settings)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close what was opened."""
        await self._open.aclose()

    async def restored(self, letter: DeadLetter) -> DeadLetter:
        """Give a dead letter with its content; one without any more says why, and what to do."""
        return await self.fetched(await self.opened(letter))

    async def opened(self, letter: DeadLetter) -> DeadLetter:
        """Give a dead letter with what is sealed in it; one that stays so says why."""
        while letter.sealed is not None and self._vault is not None:
            try:
                letter = self._vault.opened_letter(letter)
            except UnreadableError as error:
                is_old = letter.failed_at < self._sure_until or self._reads >= MOST_READS
                if not error.is_forgotten or is_old:
                    return _lost(letter, str(error))
                await self._read_keys()  # its key may have come since the last look
        return letter

    async def fetched(self, letter: DeadLetter) -> DeadLetter:
        """Give a dead letter with what stands at its source only; one that is gone says so."""
        if letter.by_reference and letter.original.value is None:
            return await self._from_source(letter)
        return letter

    async def _from_source(self, letter: DeadLetter) -> DeadLetter:
        source = letter.source
        reader: Any = self._reader
        if reader is None:
            reader = await self._open.enter_async_context(started(consumer(self._settings)))
            self._reader = reader
        tp = TopicPartition(source.topic, source.partition)
        record = None
        if tp in await partitions_of(reader, source.topic):
            begins = await reader.beginning_offsets([tp])
            ends = await reader.end_offsets([tp])
            if begins[tp] <= source.offset < ends[tp]:
                try:
                    record = await record_at(reader, tp, source.offset)
                except (KafkaError, TimeoutError):
                    record = None
        written_ms = round(source.timestamp.timestamp() * 1000)
        if record is None or record.timestamp != written_ms:  # another topic of the same name
            return _lost(letter, GONE)
        text = None if record.value is None else base64.b64encode(record.value).decode()
        original = letter.original.model_copy(update={"value": text})
        return letter.model_copy(update={"original": original})


def _lost(letter: DeadLetter, why: str) -> DeadLetter:
    return letter.model_copy(update={"retriable": False, "suggested_action": why})

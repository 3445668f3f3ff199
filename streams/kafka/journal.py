"""The journal: attempts that go to Kafka at once, outside the lanes' transactions."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from agents.clock import Clock
from agents.log import Log
from schemas.attempt import ProviderAttempt
from schemas.settings import Settings
from schemas.vocabulary import AttemptStatus, LogEvent
from streams.failpoints import FailPoints
from streams.kafka.clients import producer
from streams.kafka.faults import FaultKind, RefusedWriteError, is_awaited, kind_of, right_missing
from streams.kafka.patience import patiently
from streams.messages.records import OutRecord

__all__ = ["AttemptJournal"]


#: One write may take this long, in seconds, before it is tried on another producer.
WRITE_LIMIT_S = 30


def _may_pass(error: BaseException) -> bool:
    """Whether a write may succeed later; a missing right is told of, and ends the worker."""
    return is_awaited(error) and kind_of(error) is not FaultKind.RECORD


class AttemptJournal:
    """Writes attempts to `workflow.attempts`; no call is made before its start is on record."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock,
        log: Log,
        fail_points: FailPoints,
        on_broken: Callable[[str], None] = lambda _why: None,
        on_ended: Callable[[ProviderAttempt], None] = lambda _attempt: None,
    ) -> None:
        """Keep settings and clock; `start` connects.

        `on_broken` hears, in one sentence, of what does not pass by itself; `on_ended` of calls
        that have ended, once the broker has them.
        """
        self._on_ended = on_ended
        self._on_broken = on_broken
        self._settings = settings
        self._topic = settings.topics.attempts
        self._producer: AIOKafkaProducer | None = None
        self._failed: AIOKafkaProducer | None = None  # it is not used again
        self._renewing = asyncio.Lock()
        self._clock = clock
        self._log = log
        self._fail_points = fail_points
        self._posted: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Connect an idempotent producer; raises KafkaError."""
        await self._renew(None)

    async def _connected(self) -> AIOKafkaProducer:
        client = producer(self._settings, linger_ms=0)
        try:
            await client.start()
        except BaseException:
            await client.stop()
            raise
        return client

    async def stop(self) -> None:
        """Write what was posted, within bounds, and disconnect."""
        await self.settle(5)
        if self._producer is not None:
            with suppress(TimeoutError, KafkaError):
                await asyncio.wait_for(self._producer.stop(), 5)

    async def settle(self, limit_s: float) -> None:
        """Wait until the broker has what was posted, at most so many seconds."""
        if self._posted:
            await asyncio.wait(self._posted, timeout=limit_s)

    async def write(self, attempt: ProviderAttempt, traceparent: str | None) -> None:
        """Write and wait until the broker has it; while the broker is away this waits for it."""
        await self._send(
            OutRecord(
                self._topic,
                attempt.intent_id.encode(),
                attempt.to_json(),
                (("traceparent", traceparent.encode()),) if traceparent else (),
            )
        )
        if attempt.status is AttemptStatus.STARTED:
            self._fail_points.reach("after_started_journalled")
        else:
            self._on_ended(attempt)

    async def write_record(self, record: OutRecord) -> None:
        """Write any record and wait until the broker has it; waits for a broker that is away."""
        await self._send(record)

    def post(self, attempt: ProviderAttempt, traceparent: str | None) -> None:
        """Write without waiting; `stop` waits for what is left."""
        self._spawn(self.write(attempt, traceparent))

    def post_record(self, record: OutRecord) -> None:
        """Write any record without waiting."""
        self._spawn(self.write_record(record))

    def _spawn(self, writing: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(writing)
        self._posted.add(task)
        task.add_done_callback(self._posted.discard)

    async def _send(self, record: OutRecord) -> None:
        """Write until the broker has it; raises RefusedWriteError for what it never takes."""
        tries = patiently(self._clock, passes=_may_pass, tell=partial(self._delayed, record.topic))
        try:
            await tries(self._send_once, record)
        except (KafkaError, OSError, TimeoutError) as error:
            raise RefusedWriteError(record.topic, error) from error

    async def _send_once(self, record: OutRecord) -> None:
        if (client := self._producer) is None or client is self._failed:
            client = await self._renew(client)
        try:
            # Bounded: a producer that is thrown away may leave its last futures unanswered.
            async with asyncio.timeout(WRITE_LIMIT_S):
                await client.send_and_wait(
                    record.topic,
                    record.value,
                    key=record.key,
                    partition=record.partition,
                    headers=record.written_headers,
                )
        except (KafkaError, OSError, TimeoutError) as error:
            if _may_pass(error):
                self._failed = client
            raise

    def _delayed(self, topic: str, error: BaseException) -> None:
        if kind_of(error) is FaultKind.RIGHT:
            right = right_missing(RefusedWriteError(topic, error))
            self._on_broken(f"the broker refuses the journal {right}; grant the right")
        self._log(
            LogEvent.JOURNAL_DELAYED, level="warning", topic=topic, error=type(error).__name__
        )

    async def _renew(self, failed: AIOKafkaProducer | None) -> AIOKafkaProducer:
        """Put a new producer in place of one that failed, once for all who wait.

        A batch that was given up leaves a gap in the sequence of an idempotent producer: from then
        on the broker refuses all that it sends. Attempts carry ids; one written twice counts once.
        """
        async with self._renewing:
            current = self._producer
            if current is not None and current is not failed:
                return current  # somebody else was quicker
            fresh = self._producer = await self._connected()
        if failed is not None:
            with suppress(Exception):  # it is thrown away, failed or not
                await asyncio.wait_for(failed.stop(), 5)
        return fresh

"""The client: publish intents, wait for their outcomes, read all outcomes."""

import asyncio
import weakref
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from types import TracebackType
from typing import Self, Unpack

from aiokafka.errors import KafkaError

from agents.clock import Clock, SystemClock
from hybrid.client.connecting import refused
from hybrid.client.errors import (
    ExecutionTimeoutError,
    UnavailableError,
    dead_letter_error,
)
from hybrid.client.following import Start, check_start, follow
from hybrid.client.intents import Headers, Intent, IntentRecord, record_of
from hybrid.client.options import (
    DEFAULT_TIMEOUT_S,
    LOOK_BACK_RECORDS,
    LOOK_BACK_S,
    PUBLISH_TIMEOUT_S,
    ClientSettings,
    seconds_of,
)
from hybrid.client.outcomes import OutcomeRecord
from hybrid.client.reader import Reader
from hybrid.client.sender import Published, Sender, send_through
from hybrid.client.waiting import Waiter
from hybrid.config import client_settings
from hybrid.errors import UsageError
from schemas.outcome import WorkflowResult
from streams.kafka.faults import FaultKind, kind_of

__all__ = ["HybridClient"]

#: Intents of one call that are on their way at once.
WINDOW = 1_000
PAUSE_S = 0.2


class HybridClient:
    """Publishes intents and waits for their outcomes; one for a program, shared by all its tasks.

    Without settings it reads the same variables and `hybrid.toml` as every command, and talks to
    the local stack where none of them names a broker. `look_back`: seconds for which an outcome is
    looked for whose id may have been published before, among the newest `look_back_records`
    outcomes; 0 = not at all. `publish_timeout`: seconds. Raises UsageError.
    """

    def __init__(
        self,
        *,
        look_back: float = LOOK_BACK_S,
        look_back_records: int = LOOK_BACK_RECORDS,
        publish_timeout: float = PUBLISH_TIMEOUT_S,
        **settings: Unpack[ClientSettings],
    ) -> None:
        """Check the settings; connect at the first use."""
        self._settings = client_settings(settings)
        window = self._settings.hybrid_deduplication_window
        if not 0 <= look_back <= window or look_back_records < 1:
            message = (
                f"look_back = {look_back}: must be 0 to {window} seconds, the deduplication "
                "window, and look_back_records at least 1"
            )
            raise UsageError(message)
        self._look_back = look_back
        self._look_back_records = look_back_records
        self._publish_timeout = seconds_of("publish_timeout", publish_timeout) or PUBLISH_TIMEOUT_S
        self._kinds = {spec.name: spec.kind for spec in self._settings.provider_specs}
        self._clock: Clock = SystemClock()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        """Open the client on the running loop."""
        if self._loop is not None:
            message = "the client is open already: share it, or make another one"
            raise UsageError(message)
        self._loop = asyncio.get_running_loop()
        self._sender = Sender(self._settings, self._clock)
        self._reader = Reader(
            self._settings,
            self._clock,
            look_back_s=self._look_back,
            look_back_records=self._look_back_records,
        )
        self._streams = weakref.WeakSet[AsyncGenerator[OutcomeRecord, None]]()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the client: whoever still waits gets an UnavailableError."""
        self._loop = None
        for stream in tuple(self._streams):
            with suppress(RuntimeError):  # one that runs in another task ends by itself
                await stream.aclose()
        await self._reader.close()
        await self._sender.close()

    def record(
        self, intent: Intent | IntentRecord, *, headers: Headers | None = None
    ) -> IntentRecord:
        """Give the record of an intent, for any producer; raises IntentRefusedError, UsageError."""
        return record_of(self._settings, intent, headers)

    async def publish(
        self,
        intent: Intent | IntentRecord,
        *,
        headers: Headers | None = None,
        producer: object | None = None,
    ) -> Published:
        """Publish an intent and do not wait for its outcome; gives where it stands.

        With `producer`, the caller's own started AIOKafkaProducer, it is written through that: in a
        transaction it runs when the transaction is committed, and never if it is aborted. Raises
        IntentRefusedError, UsageError, UnavailableError; with `producer` what that raises, too.
        """
        record = self.record(intent, headers=headers)
        if producer is not None:
            return await send_through(producer, record)
        self._require_open()
        return await self._published(record)

    async def publish_many(
        self, intents: Iterable[Intent | IntentRecord], *, producer: object | None = None
    ) -> list[Published]:
        """Publish intents; gives where they stand, in their order. Raises as `publish` does.

        All are checked before the first is published. Where it fails in between, some may be
        published: give records (`client.record`) to be able to repeat the call under the same ids.
        """
        if isinstance(intents, Mapping):
            message = "publish_many takes several intents: for one there is publish"
            raise UsageError(message)
        records = [self.record(one) for one in intents]
        done: list[Published] = []
        for begin in range(0, len(records), WINDOW):
            some = records[begin : begin + WINDOW]
            done += await asyncio.gather(*(self.publish(one, producer=producer) for one in some))
        return done

    async def execute(
        self,
        intent: Intent | IntentRecord,
        *,
        timeout: float | None = DEFAULT_TIMEOUT_S,  # noqa: ASYNC109 - it says more than a scope could
        headers: Headers | None = None,
    ) -> WorkflowResult:
        """Publish an intent and wait for its result, `timeout` seconds or (None) without limit.

        Where its id has an outcome already, as far as is looked back, that is given and nothing is
        published. Raises OpenAIExecutionError, AzureExecutionError, DeadLetterError for how it
        ended; ExecutionTimeoutError, after which it still runs; IntentRefusedError, UsageError and
        UnavailableError.
        """
        self._require_open()
        record = self.record(intent, headers=headers)
        return await self._outcome(
            record.intent_id, record.key, record.tenant, timeout, publish=record
        )

    async def wait(
        self,
        intent_id: str,
        *,
        timeout: float | None = DEFAULT_TIMEOUT_S,  # noqa: ASYNC109
        tenant: str | None = None,
    ) -> WorkflowResult:
        """Wait for the result of an intent that was published before, also by somebody else.

        Raises as `execute` does. `tenant`: where two tenants may use the same id.
        """
        self._require_open()
        if not isinstance(intent_id, str) or not intent_id:
            message = f"wait takes an intent's id, not {intent_id!r}"
            raise UsageError(message)
        return await self._outcome(intent_id, None, tenant, timeout, publish=None)

    def outcomes(
        self,
        *,
        group: str | None = None,
        since: datetime | None = None,
        after: Mapping[tuple[str, int], int] | None = None,
    ) -> AsyncGenerator[OutcomeRecord, None]:
        """Give every result and dead letter, committed ones only, each at least once; no end.

        `group`: Kafka keeps how far that consumer group has got, and shares the partitions between
        its members; an outcome counts as done when the next one is asked for. Without it all
        partitions are read: from now on, or from the moment `since`, or behind the offsets of
        `after`, {(topic, partition): offset}, which the caller keeps. Raises UsageError,
        UnavailableError.
        """
        self._require_open()
        start = Start(since, after)
        check_start(group, start)
        stream = follow(self._settings, self._clock, group, start, self._is_open)
        self._streams.add(stream)
        return stream

    async def _outcome(
        self,
        intent_id: str,
        key: bytes | None,
        tenant: str | None,
        timeout: float | None,  # noqa: ASYNC109
        *,
        publish: IntentRecord | None,
    ) -> WorkflowResult:
        limit_s = seconds_of("timeout", timeout)
        is_published = None if publish is None else False
        waiter: Waiter | None = None
        try:
            async with asyncio.timeout(limit_s) as limit:
                await self._reader.open()
                waiter = self._reader.waiter(
                    intent_id, key=key, tenant=tenant, publishes=publish is not None
                )
                await self._look(waiter, is_fresh=publish is not None and publish.is_fresh)
                if publish is not None and not waiter.is_found:
                    await self._sender.send(publish)
                    is_published = True
                found = await waiter.outcome()
        except TimeoutError:
            if not limit.expired():
                raise
            trace = publish.trace_id if publish else None
            raise ExecutionTimeoutError(
                intent_id, timeout=limit_s or 0, is_published=is_published, trace_id=trace
            ) from None
        finally:
            if waiter is not None:
                self._reader.leave(waiter)
        if found.dead_letter is not None:
            raise dead_letter_error(found.dead_letter, self._kinds, trace_id=found.trace_id)
        assert found.result is not None  # noqa: S101 - an outcome is one of the two
        return found.result

    async def _look(self, waiter: Waiter, *, is_fresh: bool) -> None:
        """Let its partitions flow; look back where its id may have been published before."""
        look = self._reader.watch if is_fresh or not self._look_back else self._reader.look_back
        while True:
            try:
                await look(waiter)
            except KafkaError as error:
                if kind_of(error) is FaultKind.RIGHT:
                    topics = self._settings.topics
                    names = (topics.results, topics.dead_letters)
                    raise refused(self._settings, error, names) from error
                await self._clock.sleep(PAUSE_S)
            else:
                return

    async def _published(self, record: IntentRecord) -> Published:
        try:
            async with asyncio.timeout(self._publish_timeout) as limit:
                return await self._sender.send(record)
        except TimeoutError:
            if not limit.expired():
                raise
            message = (
                f"the broker did not confirm intent {record.intent_id} within "
                f"{self._publish_timeout:g} s, and may have it: publish it again under its id"
            )
            raise UnavailableError(message) from None

    def _is_open(self) -> bool:
        return self._loop is not None

    def _require_open(self) -> None:
        if self._loop is None:
            message = "the client is not open: use it within `async with HybridClient() as client:`"
            raise UsageError(message)
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if self._loop is not here:
            message = (
                "the client belongs to another event loop: open one on each loop, and "
                "HybridSyncClient where there is none"
            )
            raise UsageError(message)

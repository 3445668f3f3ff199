"""The client for programs without an event loop: the same, on a thread of its own."""

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterable, Iterator, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from hybrid.client.client import HybridClient
from hybrid.client.intents import Headers, Intent, IntentRecord
from hybrid.client.options import (
    DEFAULT_TIMEOUT_S,
    LOOK_BACK_RECORDS,
    LOOK_BACK_S,
    PUBLISH_TIMEOUT_S,
    ClientSettings,
)
from hybrid.client.outcomes import OutcomeRecord
from hybrid.client.sender import Published
from hybrid.errors import UsageError
from schemas.outcome import WorkflowResult

__all__ = ["HybridSyncClient"]

T = TypeVar("T")


class HybridSyncClient:
    """HybridClient for code without an event loop; safe to share between threads.

    It does not outlive a fork: open it in the process that uses it. Arguments, results and errors
    are those of HybridClient.
    """

    def __init__(
        self,
        *,
        look_back: float = LOOK_BACK_S,
        look_back_records: int = LOOK_BACK_RECORDS,
        publish_timeout: float = PUBLISH_TIMEOUT_S,
        **settings: Unpack[ClientSettings],
    ) -> None:
        """Check the settings; raises UsageError."""
        self._client = HybridClient(
            look_back=look_back,
            look_back_records=look_back_records,
            publish_timeout=publish_timeout,
            **settings,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._process = os.getpid()

    def __enter__(self) -> Self:
        """Start the thread, and open the client on it."""
        self._process = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="hybrid.client", daemon=True
        )
        self._thread.start()
        self._run(self._client.__aenter__())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the client, and end the thread."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None or self._process != os.getpid():
            return
        try:
            self._run(self._client.__aexit__(kind, raised, trace))
        finally:
            self._loop = None
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    def record(
        self, intent: Intent | IntentRecord, *, headers: Headers | None = None
    ) -> IntentRecord:
        """Give the record of an intent, for any producer."""
        return self._client.record(intent, headers=headers)

    def publish(
        self, intent: Intent | IntentRecord, *, headers: Headers | None = None
    ) -> Published:
        """Publish an intent and do not wait for its outcome."""
        return self._run(self._client.publish(intent, headers=headers))

    def publish_many(self, intents: Iterable[Intent | IntentRecord]) -> list[Published]:
        """Publish intents; gives where they stand, in their order."""
        return self._run(self._client.publish_many(intents))

    def execute(
        self,
        intent: Intent | IntentRecord,
        *,
        timeout: float | None = DEFAULT_TIMEOUT_S,
        headers: Headers | None = None,
    ) -> WorkflowResult:
        """Publish an intent and wait for its result."""
        return self._run(self._client.execute(intent, timeout=timeout, headers=headers))

    def wait(
        self,
        intent_id: str,
        *,
        timeout: float | None = DEFAULT_TIMEOUT_S,
        tenant: str | None = None,
    ) -> WorkflowResult:
        """Wait for the result of an intent that was published before."""
        return self._run(self._client.wait(intent_id, timeout=timeout, tenant=tenant))

    def outcomes(
        self,
        *,
        group: str | None = None,
        since: datetime | None = None,
        after: Mapping[tuple[str, int], int] | None = None,
    ) -> Iterator[OutcomeRecord]:
        """Give every result and dead letter, each at least once; no end."""
        stream = self._run(self._stream(group, since, after))
        try:
            while True:
                try:
                    yield self._run(_next(stream))
                except StopAsyncIteration:
                    return
        finally:
            if self._loop is not None:  # else it was closed with the client
                self._run(stream.aclose())

    async def _stream(
        self,
        group: str | None,
        since: datetime | None,
        after: Mapping[tuple[str, int], int] | None,
    ) -> AsyncGenerator[OutcomeRecord, None]:
        return self._client.outcomes(group=group, since=since, after=after)

    def _run(self, doing: Coroutine[Any, Any, T]) -> T:
        """Have the thread do something, and wait for it; whoever is interrupted cancels it."""
        if self._loop is None:
            doing.close()
            message = "the client is not open: use it within `with HybridSyncClient() as client:`"
            raise UsageError(message)
        if self._process != os.getpid():
            doing.close()
            message = "the client was opened before a fork: open one in the process that uses it"
            raise UsageError(message)
        future = asyncio.run_coroutine_threadsafe(doing, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise


async def _next(stream: Any) -> Any:  # noqa: ANN401 - run_coroutine_threadsafe wants a coroutine
    return await anext(stream)

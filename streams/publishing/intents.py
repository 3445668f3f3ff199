"""Publishing intents: each line checked, keyed and routed as upstream systems should."""

import asyncio
import codecs
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
)

from agents.deciding.groups import Groups
from agents.deciding.routes import Router
from schemas.codec import IntentError, InvalidIntentError, read_intent
from schemas.settings import Settings
from streams.kafka.clients import producer, reached
from streams.kafka.presence import require_there
from streams.kafka.rights import refused_write
from streams.messages.addressing import addressed

__all__ = ["BadLine", "Publication", "open_producer", "publish_lines", "route_of", "routes"]

#: So many producers, one after the other, that get nothing confirmed: the next would not either.
MOST_BARREN = 3
#: What a missing right is said by.
REFUSED = (TopicAuthorizationFailedError, ClusterAuthorizationFailedError)
#: Records on their way at once; bounds memory when the input is faster than the broker.
WINDOW = 1_000
#: How texts begin that are not UTF-8, as Windows writes them.
WIDE = (
    codecs.BOM_UTF16_LE,
    codecs.BOM_UTF16_BE,
    codecs.BOM_UTF32_BE,
    *(zeros + sign for sign in (b"{", b"\n", b"\r") for zeros in (b"\0", b"\0\0\0")),
    *(sign + b"\0" for sign in (b"{", b"\n", b"\r")),
)
#: The first of them may be empty, but for a half of a wide sign.
FIRST_LINES = 2
#: How files begin that are packed by gzip, zstd, zip, xz and bzip2.
PACKED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PK\x03\x04", b"\xfd7zXZ", b"BZh")


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that was not published, by its number (1-based)."""

    number: int
    problem: str


@dataclass(slots=True)
class Publication:
    """How many intents were published, and how many lines were bad."""

    published: int = 0
    bad: int = 0


@asynccontextmanager
async def open_producer(settings: Settings) -> AsyncIterator[AIOKafkaProducer]:
    """Open a producer of intents; raises BrokerUnavailableError, TopicsError, and RightsError."""
    async with reached(settings, producer(settings, linger_ms=5), within_s=20) as client:
        try:
            # Without a topic the client waits for it as long as for a broker, and does not name it.
            await require_there(settings, settings.topics.sources[:2])
            yield client
        except REFUSED as error:
            raise refused_write(settings, error, settings.topics.sources[:2]) from error


async def publish_lines(
    settings: Settings,
    lines: Iterable[bytes],
    *,
    on_bad: Callable[[BadLine], None],
    on_progress: Callable[[int], None],
) -> Publication:
    """Publish JSON Lines; a bad line is reported and stops nothing else.

    A line that the broker does not confirm in time is a bad one too. Raises RightsError, and
    BrokerUnavailableError, also when the broker goes away for good meanwhile.
    """
    done = Publication()
    router = routes(settings)

    def refuse(number: int, problem: str) -> None:
        done.bad += 1
        on_bad(BadLine(number, problem))

    async with _Outgoing(settings, done, refuse) as outgoing:
        for number, raw in enumerate(lines, start=1):
            on_progress(len(raw))
            if number <= FIRST_LINES and (problem := _no_text(raw)):
                refuse(number, problem)
                break  # every further line would be said to be wrong too
            line = _line(raw)
            if not line:
                continue
            try:
                topic, key = route_of(settings, router, line)
            except IntentError as error:
                refuse(number, error.message + _hint(line))
                continue
            await outgoing.send(number, topic, line, key)
        await outgoing.settle()
    return done


class _Outgoing:
    """Lines on their way to the broker, over a producer that is made anew when one has failed.

    An idempotent producer that lost a batch has a gap in its sequence: all that it writes later is
    refused. What was lost is told, not sent again: it may be there, and have no id of its own.
    """

    def __init__(
        self, settings: Settings, done: Publication, refuse: Callable[[int, str], None]
    ) -> None:
        self._settings = settings
        self._done = done
        self._refuse = refuse
        self._pending: dict[asyncio.Future[object], int] = {}
        self._stack = AsyncExitStack()
        self._client: AIOKafkaProducer | None = None
        #: What was published when the producer at hand was opened; and how many got nothing done.
        self._before = self._barren = 0

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        return bool(await self._stack.__aexit__(kind, raised, trace))

    async def _open(self) -> AIOKafkaProducer:
        self._client = await self._stack.enter_async_context(open_producer(self._settings))
        self._before = self._done.published
        return self._client

    async def send(self, number: int, topic: str, value: bytes, key: bytes | None) -> None:
        """Send a line; waits while too many are on their way."""
        client = self._client or await self._open()
        try:
            self._pending[await client.send(topic, value=value, key=key)] = number
        except REFUSED:
            raise
        except KafkaError as error:
            self._lost(number, error)
            await self._leave(error)
        if len(self._pending) >= WINDOW:
            await self._take(asyncio.FIRST_COMPLETED)

    async def settle(self) -> None:
        """Wait until nothing is on its way."""
        if self._pending:
            await self._take(asyncio.ALL_COMPLETED)

    async def _take(self, until: str) -> None:
        """Count what the broker has; raises what a missing right is said by."""
        finished, _ = await asyncio.wait(self._pending, return_when=until)
        failed: KafkaError | None = None
        for future in sorted(finished, key=self._pending.__getitem__):
            number = self._pending.pop(future)
            try:
                self._done.published += future.result() is not None
            except REFUSED:
                raise
            except KafkaError as error:
                failed = error
                self._lost(number, error)
        if failed is not None:
            await self._leave(failed)

    def _lost(self, number: int, error: KafkaError) -> None:
        said = f"the broker did not confirm it ({type(error).__name__}), and may have it"
        self._refuse(number, f"{said}: look for its result, or publish it again under the same id")

    async def _leave(self, error: KafkaError) -> None:
        """Part with a producer that failed, once all that it has on its way has ended.

        Raises the error where one after the other got nothing confirmed: it does not pass.
        """
        if self._client is None:
            return
        self._client = None
        await self.settle()
        await self._stack.aclose()
        self._barren = self._barren + 1 if self._done.published == self._before else 0
        if self._barren >= MOST_BARREN:
            raise error


def _no_text(raw: bytes) -> str | None:
    """Say what a file is, from one of its first lines, that is no UTF-8; None where it may be."""
    if raw.startswith(WIDE):
        return "the file is UTF-16 or UTF-32: save it as UTF-8, as JSON wants"
    return "the file is packed: unpack it first" if raw.startswith(PACKED) else None


def _line(raw: bytes) -> bytes:
    """Take away what editors and shells of other systems add: a byte order mark, CR, ^Z."""
    return raw.removeprefix(codecs.BOM_UTF8).strip().rstrip(b"\x1a").rstrip()


def _hint(line: bytes) -> str:
    """Say what JSON Lines are, where a line is a part of other JSON."""
    whole = line.startswith(b"{") and line.endswith(b"}")
    return "" if whole else "; JSON Lines have one whole JSON object on each line"


def route_of(settings: Settings, router: Router, line: bytes) -> tuple[str, bytes | None]:
    """Choose topic and key; raises IntentError for a line that is no intent."""
    refuse = settings.hybrid_unknown_fields == "refuse"
    intent, _ = read_intent(line, max_bytes=settings.hybrid_max_intent_bytes, refuse_unknown=refuse)
    if intent.force_provider is not None:
        _require_provider(settings, intent.force_provider)
    if not router.route(intent, identity=""):
        raise InvalidIntentError(*router.absence(intent))
    return addressed(settings.topics, intent)


def routes(settings: Settings) -> Router:
    """Build the routes over all that is configured: who has the keys is known to the workers."""
    kinds = {spec.name: spec.kind for spec in settings.provider_specs}
    return Router(kinds, settings.routes, Groups(settings.models), settings.embedders())


def _require_provider(settings: Settings, forced: str) -> None:
    """Refuse a provider that is not configured; raises InvalidIntentError."""
    specs = settings.provider_specs
    if forced not in {name for spec in specs for name in (spec.name, spec.kind)}:
        known = ", ".join(spec.name for spec in specs)
        code = "provider_not_configured"
        message = f"force_provider: {forced} is not configured here ({known})"
        raise InvalidIntentError(code, message)

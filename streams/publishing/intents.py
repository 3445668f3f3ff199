"""Publishing intents: each line checked, keyed and routed as upstream systems should."""

import asyncio
import codecs
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

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
from schemas.vocabulary import Priority
from streams.kafka.clients import producer
from streams.kafka.diagnosis import unavailable
from streams.kafka.rights import refused_write
from streams.kafka.topics import require_there

__all__ = ["BadLine", "Publication", "open_producer", "publish_lines", "route_of", "routes"]

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
    client = producer(settings, linger_ms=5)
    try:
        await asyncio.wait_for(client.start(), 20)
    except (KafkaError, TimeoutError, OSError) as error:
        await client.stop()
        raise await unavailable(settings, error) from error
    try:
        # Without a topic the client waits for it as long as for a broker, and does not name it.
        await require_there(settings, settings.topics.sources[:2])
        yield client
    except (TopicAuthorizationFailedError, ClusterAuthorizationFailedError) as error:
        raise refused_write(settings, error, settings.topics.sources[:2]) from error
    finally:
        await client.stop()


async def publish_lines(
    settings: Settings,
    lines: Iterable[bytes],
    *,
    on_bad: Callable[[BadLine], None],
    on_progress: Callable[[int], None],
) -> Publication:
    """Publish JSON Lines; a bad line is reported and stops nothing else.

    Raises BrokerUnavailableError; KafkaError when the broker goes away for good meanwhile.
    """
    done = Publication()
    pending: set[asyncio.Future[object]] = set()
    router = routes(settings)
    async with open_producer(settings) as client:
        for number, raw in enumerate(lines, start=1):
            on_progress(len(raw))
            if number <= FIRST_LINES and (problem := _no_text(raw)):
                done.bad += 1
                on_bad(BadLine(number, problem))
                break  # every further line would be said to be wrong too
            line = _line(raw)
            if not line:
                continue
            try:
                topic, key = route_of(settings, router, line)
            except IntentError as error:
                done.bad += 1
                on_bad(BadLine(number, error.message + _hint(line)))
                continue
            pending.add(await client.send(topic, value=line, key=key))
            if len(pending) >= WINDOW:
                finished, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                done.published += _count(finished)
        if pending:
            done.published += _count((await asyncio.wait(pending))[0])
    return done


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


def _count(finished: Iterable[asyncio.Future[object]]) -> int:
    """Count what the broker has; raises the error of the first that failed."""
    return sum(1 for future in finished if future.result() is not None)


def route_of(settings: Settings, router: Router, line: bytes) -> tuple[str, bytes | None]:
    """Choose topic and key; raises IntentError for a line that is no intent."""
    refuse = settings.hybrid_unknown_fields == "refuse"
    intent, _ = read_intent(line, max_bytes=settings.hybrid_max_intent_bytes, refuse_unknown=refuse)
    if intent.force_provider is not None:
        _require_provider(settings, intent.force_provider)
    if not router.route(intent, identity=""):
        raise InvalidIntentError(*router.absence(intent))
    urgent = intent.priority in {Priority.HIGH, Priority.CRITICAL}
    key = intent.deduplication_id or intent.intent_id
    topic = settings.topics.urgent if urgent else settings.topics.intents
    return topic, key.encode() if key else None


def routes(settings: Settings) -> Router:
    """Build the routes over all that is configured: who has the keys is known to the workers."""
    kinds = {spec.name: spec.kind for spec in settings.provider_specs}
    return Router(kinds, settings.routes, Groups(settings.models))


def _require_provider(settings: Settings, forced: str) -> None:
    """Refuse a provider that is not configured; raises InvalidIntentError."""
    specs = settings.provider_specs
    if forced not in {name for spec in specs for name in (spec.name, spec.kind)}:
        known = ", ".join(spec.name for spec in specs)
        code = "provider_not_configured"
        message = f"force_provider: {forced} is not configured here ({known})"
        raise InvalidIntentError(code, message)

"""How the client comes to a broker, and the one sentence where it does not."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
)

from hybrid.client.errors import UnavailableError
from schemas.settings import Settings
from streams.kafka.clients import CONNECT_TIMEOUT_S, admin_client, partitions_of
from streams.kafka.diagnosis import BrokerUnavailableError, unavailable
from streams.kafka.faults import right_missing
from streams.kafka.metadata import see_topics
from streams.kafka.presence import SOURCE_HINT
from streams.kafka.rights import lacking
from streams.kafka.security import SecurityError

__all__ = ["partitions_or_refused", "refused", "require_seen", "started_or_refused"]


async def started_or_refused(settings: Settings, make: Callable[[], Any]) -> Any:  # noqa: ANN401
    """Make a consumer or producer and start it; raises UnavailableError, which says why not."""
    try:
        client = make()
    except SecurityError as error:  # a file that was there when the settings were checked
        raise UnavailableError(str(error)) from error
    try:
        await asyncio.wait_for(client.start(), CONNECT_TIMEOUT_S)
    except (KafkaError, TimeoutError, OSError, ValueError) as error:
        await client.stop()
        raise UnavailableError(str(await unavailable(settings, error))) from error
    except BaseException:
        await client.stop()
        raise
    return client


async def partitions_or_refused(
    settings: Settings, client: AIOKafkaConsumer, topics: Sequence[str]
) -> list[TopicPartition]:
    """Give the partitions of topics; raises UnavailableError where one is missing or hidden."""
    found = {topic: await partitions_of(client, topic) for topic in topics}
    absent = [topic for topic, tps in found.items() if not tps]
    if absent:
        await require_seen(settings, absent, "READ on topic")
        message = f"the brokers do not say yet where {', '.join(absent)} is kept: try again"
        raise UnavailableError(message)
    return [tp for tps in found.values() for tp in tps]


async def require_seen(settings: Settings, topics: Sequence[str], right: str) -> None:
    """Return when topics are there; raises UnavailableError, with the right that is missing."""
    try:
        async with admin_client(settings) as admin:
            seen = await see_topics(admin, list(topics))
    except (BrokerUnavailableError, KafkaError) as error:
        raise UnavailableError(str(error)) from error
    hidden = [(right, name) for name, one in seen.items() if one.hidden]
    if hidden:
        raise UnavailableError(str(lacking(settings, hidden)))
    missing = [name for name, one in seen.items() if not one.partitions]
    if missing:
        message = f"topics are missing: {', '.join(missing)}; {SOURCE_HINT}"
        raise UnavailableError(message)


def refused(
    settings: Settings,
    error: KafkaError,
    topics: Iterable[str],
    *,
    right: str = "READ on topic",
    group: str | None = None,
) -> UnavailableError:
    """Give the error for a right that is missing; the broker may name the topic."""
    match error:
        case TopicAuthorizationFailedError():
            named: Any = error.args[0] if error.args else ()
            names = {named} if isinstance(named, str) else set(named)
            said = str(lacking(settings, [(right, one) for one in sorted(names or topics)]))
        case GroupAuthorizationFailedError() if group is not None:
            said = str(lacking(settings, [("READ on group", group)]))
        case _:
            missing = right_missing(error)
            said = f"the broker refuses this {missing}; docs/security.md lists the rights"
    return UnavailableError(said)

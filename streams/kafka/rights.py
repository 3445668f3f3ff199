"""The rights that a process needs (docs/security.md), held against what is granted, at its start.

Without this a right that is missing is met when it is needed, which may be the first dead letter,
days later.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)

from schemas.settings import Settings
from streams.kafka.clients import admin_client
from streams.kafka.metadata import TopicSeen, see_topics

__all__ = [
    "Rights",
    "RightsError",
    "cancel_rights",
    "dismissal_rights",
    "forget_rights",
    "lacking",
    "missing_rights",
    "plan_rights",
    "read_rights",
    "recorder_rights",
    "refused_write",
    "replay_rights",
    "require_rights",
    "why_unseen",
    "worker_rights",
]

#: Kinds of coordinators in Kafka's protocol; asking for one needs DESCRIBE.
GROUP, TRANSACTIONAL_ID = 0, 1


class RightsError(KafkaError):
    """Raised when rights are missing: names each of them, and what it is for."""

    def __str__(self) -> str:
        """Give the sentence alone, without the name of the class."""
        return str(self.args[0])


@dataclass(frozen=True, slots=True)
class Rights:
    """What a process must be granted: operations by topic; READ on groups, WRITE on ids."""

    topics: Mapping[str, frozenset[str]]
    groups: tuple[str, ...] = ()
    transactional_ids: tuple[str, ...] = field(default=())


def worker_rights(settings: Settings) -> Rights:
    """Give what a worker needs, whatever its work will be."""
    topics, prefix = settings.topics, settings.hybrid_topic_prefix
    read = {*topics.sources, topics.ledger, topics.cache, topics.spend, topics.replays}
    read |= {topics.results, topics.deliveries, topics.batches}  # what one worker does for all
    read |= {topics.keys}
    read |= {topics.operations}  # what is paused
    write = {*topics.written_by_lanes, topics.deliveries, topics.alerts}
    return Rights(
        _by_topic(read, write),
        groups=(settings.worker_group, f"{prefix}.deliveries"),
        transactional_ids=(f"{prefix}.lane.0", f"{prefix}.deliveries", f"{prefix}.batches"),
    )


def read_rights(*topics: str) -> Rights:
    """Give what reading topics needs."""
    return Rights(_by_topic(set(topics), set()))


def plan_rights(settings: Settings) -> Rights:
    """Give what a plan of replays needs."""
    topics = settings.topics
    read = {topics.dead_letters, topics.operations, topics.replays}
    read |= {topics.results, topics.alerts, topics.spend}
    return Rights(_by_topic(read, {topics.operations}))


def dismissal_rights(settings: Settings) -> Rights:
    """Give what it takes to say that dead letters will not be replayed."""
    topics = settings.topics
    read = {topics.dead_letters, topics.operations, topics.replays}
    return Rights(_by_topic(read, {topics.operations}))


def order_rights(settings: Settings) -> Rights:
    """Give what it takes to pause work, and to let it go on."""
    operations = {settings.topics.operations}
    return Rights(_by_topic(operations, operations))


def cancel_rights(settings: Settings) -> Rights:
    """Give what it takes to end intents, and to see which there are."""
    topics = settings.topics
    read = {*topics.sources, topics.state, topics.results, topics.dead_letters}
    return Rights(_by_topic(read, {topics.operations}))


def forget_rights(settings: Settings) -> Rights:
    """Give what it takes to end a person's work, and to destroy its keys."""
    topics = settings.topics
    read = {*topics.sources, topics.state, topics.results, topics.dead_letters}
    read |= {topics.batches, topics.keys}
    return Rights(_by_topic(read, {topics.operations, topics.keys}))


def replay_rights(settings: Settings, transactional_id: str) -> Rights:
    """Give what the run of a plan needs."""
    topics = settings.topics
    read = {topics.dead_letters, topics.operations, topics.replays}
    write = {topics.operations, *topics.sources[:2]}
    return Rights(_by_topic(read, write), transactional_ids=(transactional_id,))


def recorder_rights(settings: Settings) -> Rights:
    """Give what a recorder needs: it raises alerts, of pauses too, and a webhook reads them."""
    topics = settings.topics
    groups = [settings.recorder_group]
    if settings.hybrid_alert_webhook is not None:
        groups.append(f"{settings.hybrid_topic_prefix}.alerts")
    read = {*topics.recorded, topics.alerts, topics.operations}
    return Rights(_by_topic(read, {topics.alerts}), tuple(groups))


def _by_topic(read: set[str], write: set[str]) -> dict[str, frozenset[str]]:
    wanted = {"READ": read, "WRITE": write}
    return {
        topic: frozenset(name for name, topics in wanted.items() if topic in topics)
        for topic in sorted(read | write)
    }


async def require_rights(settings: Settings, wanted: Rights) -> None:
    """Return when all that is wanted is granted; raises RightsError, BrokerUnavailableError.

    What a broker does not say is not held against anybody.
    """
    missing = await missing_rights(settings, wanted)
    if missing:
        raise lacking(settings, missing)


async def missing_rights(settings: Settings, wanted: Rights) -> list[tuple[str, str]]:
    """Give what is not granted, such as ("READ on topic", "workflow.results").

    Raises BrokerUnavailableError.
    """
    async with admin_client(settings) as admin:
        seen = await see_topics(admin, list(wanted.topics))
        missing = [
            (f"{operation} on topic", topic)
            for operation in ("READ", "WRITE")
            for topic, operations in wanted.topics.items()
            if operation in operations and not _is_granted(seen[topic], operation)
        ]
        missing += [
            ("READ on group", group)
            for group in wanted.groups
            if await _is_refused(admin, group, GROUP)
        ]
        missing += [
            ("WRITE on transactional id", identifier)
            for identifier in wanted.transactional_ids
            if await _is_refused(admin, identifier, TRANSACTIONAL_ID)
        ]
    return missing


def _is_granted(topic: TopicSeen, operation: str) -> bool:
    return not topic.hidden and (topic.rights is None or operation in topic.rights)


async def _is_refused(admin: AIOKafkaAdminClient, name: str, kind: int) -> bool:
    try:
        await admin.find_coordinator(name, kind)
    except (GroupAuthorizationFailedError, TransactionalIdAuthorizationFailed):
        return True
    except KafkaError:
        return False  # a cluster that has no coordinator yet says nothing about rights
    return False


def lacking(settings: Settings, missing: Iterable[tuple[str, str]]) -> RightsError:
    """Give the error for rights, such as ("READ on topic", "workflow.results"), and whose."""
    names: dict[str, list[str]] = {}
    for right, name in missing:
        names.setdefault(right, []).append(name)
    listed = "; ".join(f"{right} {', '.join(found)}" for right, found in names.items())
    who = settings.kafka_sasl_username
    user = f"the user {who}" if who else "this client's user"
    return RightsError(f"Kafka does not grant {user} {listed}; docs/security.md lists the rights")


def refused_write(settings: Settings, error: KafkaError, topics: Iterable[str]) -> RightsError:
    """Give the error for topics that may not be written; the broker may name the one."""
    named = error.args[0] if isinstance(error, TopicAuthorizationFailedError) and error.args else ()
    found = {named} if isinstance(named, str) else set(named)
    return lacking(settings, [("WRITE on topic", one) for one in found or topics])


async def why_unseen(settings: Settings, topic: str) -> RightsError | None:
    """Tell a topic that may not be seen from one that is not there (None)."""
    async with admin_client(settings) as admin:
        hidden = (await see_topics(admin, [topic]))[topic].hidden
    return lacking(settings, [("READ on topic", topic)]) if hidden else None

"""Partition counts: a lane is one partition number in all its topics, so they must be the same."""

from collections.abc import Mapping

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.errors import TopicAuthorizationFailedError

from schemas.settings import Settings
from streams.kafka.awaiting import coordinator_of, until_seen
from streams.kafka.clients import admin_client
from streams.kafka.metadata import see_topics
from streams.kafka.rights import lacking

__all__ = ["PartitionsError", "grow_topics", "lane_topics", "uneven"]

GROW = "stop all workers and run `hybrid topics ensure --grow`"
#: States of a consumer group in which nobody is in it.
NOBODY = ("Empty", "Dead")


class PartitionsError(Exception):
    """Raised when partitions cannot be added now, or cannot be used as they are."""


def lane_topics(settings: Settings) -> tuple[str, ...]:
    """Give the topics of which a lane uses the partition of its own number."""
    topics = settings.topics
    return (*topics.sources, topics.ledger, topics.spend, topics.replays, topics.batches)


def uneven(settings: Settings, counts: Mapping[str, int]) -> str | None:
    """Say why no lanes can be made of these counts, and what to do; None when they can."""
    wanted, found = settings.hybrid_partitions, sorted(set(counts.values()))
    if found == [wanted]:
        return None
    most = max(*found, wanted)
    if len(found) > 1:
        listed = ", ".join(f"{name} has {count}" for name, count in sorted(counts.items()))
        return (
            f"all topics of a lane need the same number of partitions ({listed}): {GROW} with "
            f"HYBRID_PARTITIONS = {most}; partitions cannot be taken away"
        )
    said = f"the topics have {found[0]} partitions and HYBRID_PARTITIONS is {wanted}: set it to"
    return f"{said} {found[0]}" + (f", or {GROW} to have {wanted}" if found[0] < wanted else "")


async def grow_topics(settings: Settings) -> dict[str, int]:
    """Raise all topics to HYBRID_PARTITIONS; gives the counts before of those that were raised.

    Broken off in between it can be run again: until it has ended no worker starts. Raises
    PartitionsError while workers run, or where a topic has more; RightsError, KafkaError.
    """
    wanted = settings.hybrid_partitions
    async with admin_client(settings) as admin:
        await _require_nobody(settings, admin)
        seen = await see_topics(admin, [spec.name for spec in settings.topics.specs()])
        hidden = [("ALTER on topic", name) for name, one in seen.items() if one.hidden]
        if hidden:
            raise lacking(settings, hidden)
        above = {name: one.partitions for name, one in seen.items() if one.partitions > wanted}
        if above:
            name, count = max(above.items(), key=lambda one: one[1])
            message = (
                f"topic {name} has {count} partitions, which cannot be taken away: set "
                f"HYBRID_PARTITIONS = {count}, or more"
            )
            raise PartitionsError(message)
        below = {name: one.partitions for name, one in seen.items() if 0 < one.partitions < wanted}
        for name in below:
            try:
                await admin.create_partitions({name: NewPartitions(wanted)})
            except TopicAuthorizationFailedError as error:
                raise lacking(settings, [("ALTER on topic", name)]) from error
        await until_seen(admin, dict.fromkeys(below, wanted))
    return below


async def _require_nobody(settings: Settings, admin: AIOKafkaAdminClient) -> None:
    """Return when no worker is in the group; raises PartitionsError, RightsError."""
    group = settings.worker_group
    node = await coordinator_of(settings, admin, group)
    for response in await admin.describe_consumer_groups([group], group_coordinator_id=node):
        for _code, _group, state, _type, _protocol, members, *_more in response.groups:
            if state not in NOBODY:
                message = (
                    f"{len(members)} workers are in the group {group}: stop them all first, then "
                    "run it again (one that has died leaves after HYBRID_SESSION_TIMEOUT)"
                )
                raise PartitionsError(message)

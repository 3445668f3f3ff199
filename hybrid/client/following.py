"""Reading all outcomes, from a place on and without end: each at least once."""

import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    ConsumerStoppedError,
    IllegalStateError,
    KafkaError,
)

from agents.clock import Clock
from hybrid.client.connecting import partitions_or_refused, refused, started_or_refused
from hybrid.client.outcomes import OutcomeRecord, outcome_of
from hybrid.errors import UsageError
from schemas.settings import Settings
from streams.kafka.clients import consumer
from streams.kafka.faults import FaultKind, kind_of

__all__ = ["Start", "check_start", "follow"]

PAUSE_S = 0.5
BATCH = 500
LOG = logging.getLogger("hybrid.client")


@dataclass(frozen=True, slots=True)
class Start:
    """Where reading without a group begins: by default at what comes from now on."""

    since: datetime | None
    after: Mapping[tuple[str, int], int] | None


@dataclass
class _Done:
    """How far each partition is done, for the group's offsets."""

    offsets: dict[TopicPartition, int] = field(default_factory=dict)

    async def commit(self, client: AIOKafkaConsumer) -> None:
        """Commit what is done; what cannot be, because of a rebalance, comes again."""
        owned = client.assignment()
        ready = {tp: offset for tp, offset in self.offsets.items() if tp in owned}
        self.offsets.clear()
        if not ready:
            return
        try:
            await client.commit(ready)
        except (CommitFailedError, IllegalStateError):
            LOG.info("the group was rebalanced: its newest outcomes come again")


class _Handover(ConsumerRebalanceListener):
    """Commits before partitions go to another member."""

    def __init__(self, client: AIOKafkaConsumer, done: _Done) -> None:
        self._client, self._done = client, done

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:  # noqa: ARG002
        try:
            await self._done.commit(self._client)
        except KafkaError as error:
            LOG.info("outcomes of a member that leaves come again: %s", type(error).__name__)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Begin where the group has got to, as Kafka knows it."""


async def follow(
    settings: Settings,
    clock: Clock,
    group: str | None,
    start: Start,
    goes_on: Callable[[], bool],
) -> AsyncGenerator[OutcomeRecord, None]:
    """Give outcomes until `goes_on` says no; raises UsageError, UnavailableError."""
    topics = (settings.topics.results, settings.topics.dead_letters)
    done = _Done()
    client = await started_or_refused(settings, lambda: consumer(settings, group_id=group))
    try:
        tps = await partitions_or_refused(settings, client, topics)
        if group is not None:
            client.subscribe(topics, listener=_Handover(client, done))
        else:
            client.assign(tps)
            await _seek(client, tps, start)
        while goes_on():
            try:
                batches = await client.getmany(timeout_ms=500, max_records=BATCH)
                for tp, records in batches.items():
                    for record in records:
                        found = outcome_of(settings.topics, record)
                        if found is not None:
                            yield found
                        done.offsets[tp] = record.offset + 1
                if group is not None:
                    await done.commit(client)
            except ConsumerStoppedError:
                return
            except KafkaError as error:
                if kind_of(error) is FaultKind.RIGHT:
                    raise refused(settings, error, topics, group=group) from error
                LOG.warning("outcomes cannot be read for now: %s", type(error).__name__)
                await clock.sleep(PAUSE_S)
    finally:
        await _end(client, done, group)


async def _end(client: AIOKafkaConsumer, done: _Done, group: str | None) -> None:
    try:
        if group is not None:
            await done.commit(client)
    except KafkaError as error:
        LOG.info("the newest outcomes come again: %s", type(error).__name__)
    finally:
        await client.stop()


def check_start(group: str | None, start: Start) -> None:
    """Refuse places to begin at that say two things at once; raises UsageError."""
    if group is not None and (start.since or start.after is not None):
        message = "a group begins where it has got to: leave since and after out, or the group"
        raise UsageError(message)
    if start.since is not None and start.since.tzinfo is None:
        message = f"since = {start.since.isoformat()} has no time zone: give it one, such as UTC"
        raise UsageError(message)


async def _seek(client: AIOKafkaConsumer, tps: list[TopicPartition], start: Start) -> None:
    """Go to where reading begins; partitions that `after` does not name are read from `since`.

    Without a moment these are read from their beginning, so that nothing is left out.
    """
    after = start.after
    if after is not None:
        unknown = sorted(set(after) - {(tp.topic, tp.partition) for tp in tps})
        if unknown:
            message = f"after names {unknown[0]!r}, which is no partition of the outcomes' topics"
            raise UsageError(message)
    begins: dict[TopicPartition, int] = {}
    if start.since is not None:
        ends = await client.end_offsets(tps)
        moment = int(start.since.timestamp() * 1000)
        found = await client.offsets_for_times(dict.fromkeys(tps, moment))
        begins = {tp: at.offset if (at := found.get(tp)) else ends[tp] for tp in tps}
    elif after is None:
        begins = await client.end_offsets(tps)
    else:
        begins = await client.beginning_offsets(tps)
    for tp in tps:
        read = (after or {}).get((tp.topic, tp.partition))
        client.seek(tp, begins[tp] if read is None else read + 1)

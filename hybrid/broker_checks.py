"""What the doctor finds out of Kafka: brokers, topics, transactions, rights, instance ids."""

import asyncio
from contextlib import suppress

from aiokafka.errors import KafkaError, TransactionalIdAuthorizationFailed

from hybrid.checking import Check
from schemas.settings import Settings
from streams.kafka.clients import admin_client, producer
from streams.kafka.held import held_up
from streams.kafka.orphans import orphaned_delays, what_to_do
from streams.kafka.rights import missing_rights, worker_rights
from streams.kafka.topics import TopicReport, check_topics, require_usable
from streams.membership.single_instance import Process, holder_of, this_process
from streams.recording.lag import recorder_lag

__all__ = [
    "check_broker",
    "check_deferred",
    "check_instance",
    "check_producer",
    "check_recorder",
    "check_replication",
    "check_rights",
    "check_topics_wanted",
    "check_transactions",
]

#: More than a few batches of the recorder.
MAX_LAG = 20_000
TRANSACTION_LIMIT_S = 15
ENSURE = "run `hybrid topics ensure`, and see docs/operations.md for what it does not change"


async def check_broker(settings: Settings) -> Check:
    """See whether brokers answer."""
    async with admin_client(settings) as admin:
        cluster = await admin.describe_cluster()
    count = len(cluster["brokers"])
    return Check("kafka", "ok", f"{count} brokers answer" if count > 1 else "1 broker answers")


async def check_topics_wanted(settings: Settings) -> Check:
    """Hold every topic against what is wanted."""
    reports = await check_topics(settings)
    wrong = [f"{report.name}: {report.detail}" for report in reports if report.state != "ok"]
    if any(report.state in {"missing", "hidden"} for report in reports):
        return Check("topics", "broken", "; ".join(wrong), ENSURE)
    require_usable(settings, reports)  # what a worker would refuse is broken
    if wrong:
        return Check("topics", "warning", "; ".join(wrong), ENSURE)
    return Check("topics", "ok", f"{len(reports)} topics are as wanted")


async def check_replication(settings: Settings) -> Check:
    """See whether a broker may be lost without losing records, or the ability to write."""
    names = [spec.name for spec in settings.topics.specs()]
    async with admin_client(settings) as admin:
        brokers = len((await admin.describe_cluster())["brokers"])
        described = await admin.describe_topics(names)
    copies = {
        one["topic"]: min((len(part["replicas"]) for part in one["partitions"]), default=0)
        for one in described
    }
    return judge_replication(brokers, copies, await check_topics(settings))


def judge_replication(brokers: int, copies: dict[str, int], reports: list[TopicReport]) -> Check:
    """Say what copies and min.insync.replicas mean; pure."""
    if brokers == 1:
        return Check("replication", "ok", "there is one broker: nothing can be copied")
    alone = sorted(name for name, count in copies.items() if count == 1)
    if alone:
        detail = f"{len(alone)} topics have one copy, {alone[0]} among them: a broker less, and"
        advice = "raise their replication factor: kafka-reassign-partitions.sh"
        return Check("replication", "warning", f"{detail} they are away, or lost", advice)
    for report in reports:
        count, least = copies.get(report.name, 0), report.config.get("min.insync.replicas", "")
        if least.isdigit() and int(least) >= count:
            detail = f"{report.name} has {count} copies and min.insync.replicas = {least}: a broker"
            advice = f"set min.insync.replicas to {max(1, count - 1)}"
            return Check("replication", "warning", f"{detail} less, and it takes no record", advice)
        if least == "1":
            detail = f"min.insync.replicas = 1 on {report.name}: a record that one broker has is"
            advice = "set min.insync.replicas to 2"
            return Check("replication", "warning", f"{detail} taken for safe", advice)
    return Check("replication", "ok", f"a broker of {brokers} may be lost without losing a record")


async def check_deferred(settings: Settings) -> Check:
    """See whether work waits in topics that no worker reads."""
    delays = await orphaned_delays(settings)
    if delays:
        advice = "run workers with the delays that are named until it is done"
        return Check("deferred", "broken", what_to_do(settings, delays), advice)
    return Check("deferred", "ok", "what waits is read")


async def check_transactions(settings: Settings) -> Check:
    """See whether somebody's open transaction keeps work from the workers."""
    held = await held_up(settings)
    if not held:
        return Check("transactions", "ok", "no open transaction holds up what workers read")
    first = held[0]
    tools = f"--topic {first.topic} --partition {first.partition}"
    detail = (
        f"an open transaction holds up partition {first.partition} of {first.topic} at offset "
        f"{first.stable} of {first.end}{f', and {len(held) - 1} others' if len(held) > 1 else ''}: "
        f"`kafka-transactions.sh describe-producers {tools}` names its producer; end or abort it"
    )
    advice = "end the producer that the command names, or abort its transaction"
    return Check("transactions", "warning", detail, advice)


async def check_producer(settings: Settings) -> Check:
    """Begin as a lane does: with a transactional producer. Nothing is written."""
    name = f"{settings.hybrid_topic_prefix}.lane.doctor"
    client = producer(settings, transactional_id=name, transaction_timeout_ms=10_000)
    try:
        async with asyncio.timeout(TRANSACTION_LIMIT_S):
            await client.start()
    except TransactionalIdAuthorizationFailed:
        return Check("producer", "ok", "transactions are not this user's to begin: not tried")
    except (KafkaError, TimeoutError, OSError) as error:
        said = str(error) or type(error).__name__
        advice = "see whether the brokers' topic __transaction_state has its leaders and its copies"
        return Check("producer", "broken", f"no transaction can be begun ({said})", advice)
    finally:
        with suppress(Exception):
            await asyncio.wait_for(client.stop(), TRANSACTION_LIMIT_S)
    return Check("producer", "ok", "transactions can be begun")


async def check_rights(settings: Settings) -> Check:
    """See whether this user may do what a worker does."""
    wanted = worker_rights(settings)
    return judge_rights(settings, await missing_rights(settings, wanted))


def judge_rights(settings: Settings, missing: list[tuple[str, str]]) -> Check:
    """Say what missing rights mean; pure."""
    if not missing:
        return Check("rights", "ok", "this user may do all that a worker does")
    topics = settings.topics
    telling = {("READ on topic", topics.intents), ("WRITE on topic", topics.results)}
    if telling <= set(missing):
        return Check("rights", "ok", "this user is no worker's: a worker asks for its own")
    named = ", ".join(f"{right} {name}" for right, name in missing[:3])
    more = f", and {len(missing) - 3} more" if len(missing) > 3 else ""  # noqa: PLR2004 - three are named
    advice = "grant them: docs/security.md lists what a worker needs"
    return Check("rights", "warning", f"a worker as this user lacks {named}{more}", advice)


async def check_recorder(settings: Settings) -> Check:
    """See what Kafka has that ClickHouse has not."""
    lag = await recorder_lag(settings)
    if lag is None:
        detail = "nothing has been recorded yet: run `hybrid recorder`"
        return Check("recorder", "warning", detail, "run `hybrid recorder`")
    if lag > MAX_LAG:
        detail = f"{lag:,} records are not in ClickHouse: is a recorder running, and what says it?"
        return Check("recorder", "warning", detail, "start a recorder, or read what it logs")
    behind = f"all but the newest {lag:,} records" if lag else "all records"
    return Check("recorder", "ok", f"ClickHouse has {behind}")


async def check_instance(settings: Settings) -> Check:
    """See whether another host's worker runs with the instance id that is set here."""
    instance = settings.hybrid_instance_id
    if instance is None:
        return Check("instance", "ok", "no instance id is set")
    return judge_instance(instance, await holder_of(settings), this_process())


def judge_instance(instance: str, holder: Process | None, here: Process) -> Check:
    """Say what it means who has an instance id; pure."""
    if holder is None:
        return Check("instance", "ok", f"no worker runs with HYBRID_INSTANCE_ID = {instance}")
    if holder.host == here.host:
        return Check("instance", "ok", f"the worker of {instance} runs here (process {holder.pid})")
    detail = f"HYBRID_INSTANCE_ID = {instance}: a worker runs with it on {holder.host}"
    advice = "give each worker an id of its own: the one that starts next would be refused"
    return Check("instance", "warning", detail, advice)

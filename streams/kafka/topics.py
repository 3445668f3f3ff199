"""Creating and checking the topics; never shrinks, never deletes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    InvalidReplicationFactorError,
    KafkaError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)

from schemas.settings import Settings
from schemas.topics import SEGMENTS, TopicSpec
from streams.kafka.awaiting import until_seen
from streams.kafka.clients import admin_client
from streams.kafka.metadata import see_topics
from streams.kafka.partitions import lane_topics, uneven
from streams.kafka.presence import SOURCE_HINT, TopicsError, refuse_missing
from streams.kafka.rights import lacking

__all__ = [
    "TopicReport",
    "check_topics",
    "ensure_topics",
    "forgets_too_soon",
    "require_seen",
    "require_usable",
]

#: A deferred topic must keep records for so much longer than they wait: workers may be away.
DEFERRED_GRACE_S = 3600
HOUR_MS = 3_600_000

UNSEEN = "cannot be seen: DESCRIBE on topic {name} is not granted (or it is missing)"
UNREAD = "its settings cannot be seen: DESCRIBE_CONFIGS on topic {name} is not granted"


@dataclass(frozen=True, slots=True)
class TopicReport:
    """One topic as it was found: `created`, `ok`, `differs`, `missing` or `hidden`.

    Of a hidden one not all can be seen; `lacks` names the right that is missing for that.
    """

    name: str
    partitions: int
    state: str
    detail: str = ""
    config: Mapping[str, str] = field(default_factory=dict)
    lacks: str = ""

    @property
    def retention_ms(self) -> float:
        """How long records are kept; infinite for a topic that keeps them for ever."""
        kept = float(self.config.get("retention.ms", "-1"))
        return kept if kept >= 0 else float("inf")


def _config(spec: TopicSpec, settings: Settings) -> dict[str, str]:
    """Give the topic's configuration; sizes leave room for what is larger than the limit."""
    limit = settings.max_record_bytes if not spec.name.endswith(".alerts") else 1_048_576
    if spec.name in settings.topics.sources[:2]:  # the deferred ones carry more in their headers
        limit = settings.max_topic_intent_bytes
    config = {
        "cleanup.policy": "compact,delete" if spec.compact else "delete",
        "retention.ms": str(spec.retention_ms),
        "max.message.bytes": str(limit),
    }
    if spec.compact:
        # The newest segment is neither compacted nor deleted. With Kafka's default of a week a
        # worker would read seven days of decisions at its start, three records for each.
        segment_ms = spec.segment_ms or spec.retention_ms // SEGMENTS
        config["segment.ms"] = str(max(HOUR_MS, segment_ms))
        if spec.gone_within_ms:
            config["max.compaction.lag.ms"] = str(spec.gone_within_ms)
    return config


def _new_topic(spec: TopicSpec, settings: Settings) -> NewTopic:
    """Describe a topic to be created; a replication factor of -1 is the broker's own default."""
    topic = NewTopic(
        name=spec.name,
        num_partitions=settings.hybrid_partitions,
        replication_factor=1,  # the client refuses -1, which brokers take since 2.4 (KIP-464)
        topic_configs=_config(spec, settings),
    )
    topic.replication_factor = settings.hybrid_replication_factor
    return topic


def _not_created(
    settings: Settings, name: str, error: type[KafkaError], why: str | None
) -> Exception:
    """Say why a topic was not created, and what to do where the broker's answer alone does not."""
    if error in {TopicAuthorizationFailedError, ClusterAuthorizationFailedError}:
        return lacking(settings, [("CREATE on topic", name)])
    hint = ""
    if error is InvalidReplicationFactorError:
        hint = "; set HYBRID_REPLICATION_FACTOR to at most the number of brokers"
    return TopicsError(f"topic {name} cannot be created: {why or error.__name__}{hint}")


async def ensure_topics(settings: Settings) -> list[TopicReport]:
    """Create what is missing, report what differs.

    Raises BrokerUnavailableError, TopicsError, RightsError.
    """
    async with admin_client(settings) as admin:
        specs = settings.topics.specs()
        seen = await see_topics(admin, [spec.name for spec in specs])
        missing = [spec for spec in specs if not seen[spec.name].partitions]
        if missing:
            response = await admin.create_topics([_new_topic(spec, settings) for spec in missing])
            for name, code, *rest in response.topic_errors:
                if code and for_code(code) is not TopicAlreadyExistsError:
                    why = rest[0] if rest else None
                    raise _not_created(settings, name, for_code(code), why)
        created = {spec.name for spec in missing}
        await until_seen(admin, dict.fromkeys(created, settings.hybrid_partitions))
    reports = await check_topics(settings)
    return [
        replace(report, state="created")
        if report.name in created and report.state == "ok"
        else report
        for report in reports
    ]


async def check_topics(settings: Settings) -> list[TopicReport]:
    """Compare every topic with what `schemas.topics` asks for; raises BrokerUnavailableError."""
    specs = settings.topics.specs()
    async with admin_client(settings) as admin:
        seen = await see_topics(admin, [spec.name for spec in specs])
        present = [name for name, topic in seen.items() if topic.partitions]
        configs = await _configs(admin, present) if present else {}
    reports = []
    for spec in specs:
        topic, config = seen[spec.name], configs.get(spec.name)
        if topic.hidden:
            reports.append(
                TopicReport(spec.name, 0, "hidden", UNSEEN.format(name=spec.name), lacks="DESCRIBE")
            )
        elif not topic.partitions:
            reports.append(TopicReport(spec.name, 0, "missing", SOURCE_HINT))
        elif config is None:
            reports.append(
                TopicReport(
                    spec.name,
                    topic.partitions,
                    "hidden",
                    UNREAD.format(name=spec.name),
                    lacks="DESCRIBE_CONFIGS",
                )
            )
        else:
            reports.append(_compared(settings, spec, topic.partitions, config))
    return _with_reach(settings, reports)


def _with_reach(settings: Settings, reports: list[TopicReport]) -> list[TopicReport]:
    """Say at the ledger's report what its retention means against that of the sources."""
    sentence = forgets_too_soon(settings, reports)
    if sentence is None:
        return reports
    return [
        replace(report, state="differs", detail=f"{report.detail}; {sentence}".lstrip("; "))
        if report.name == settings.topics.ledger
        else report
        for report in reports
    ]


async def _configs(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    """Give the configurations of those topics whose configuration may be read."""
    found: dict[str, dict[str, str]] = {}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    for response in await admin.describe_configs(resources):
        for resource in response.resources:
            code, _message, _kind, name, entries = resource[:5]
            if not code:
                found[name] = {entry[0]: entry[1] for entry in entries}
            elif for_code(code) is not TopicAuthorizationFailedError:
                raise for_code(code)(name)
    return found


def _compared(
    settings: Settings, spec: TopicSpec, partitions: int, config: dict[str, str]
) -> TopicReport:
    wrong = [
        f"{key} is {config.get(key)}, wanted {value}"
        for key, value in _config(spec, settings).items()
        if not _same(config.get(key), value)
    ]
    if partitions != settings.hybrid_partitions:
        wrong.append(f"{partitions} partitions, wanted {settings.hybrid_partitions}")
    state = "differs" if wrong else "ok"
    return TopicReport(spec.name, partitions, state, "; ".join(wrong), config)


def _same(found: str | None, wanted: str) -> bool:
    return found is not None and set(found.split(",")) == set(wanted.split(","))


def forgets_too_soon(settings: Settings, reports: Sequence[TopicReport]) -> str | None:
    """Say in a sentence that Kafka may bring back what the ledger has forgotten; None: it has not.

    It takes more than that to go wrong: an offset that stays uncommitted for so long, and a worker
    that takes over.
    """
    by_name = {report.name: report for report in reports if report.config}
    ledger = by_name.get(settings.topics.ledger)
    kept = [by_name[name] for name in settings.topics.sources if name in by_name]
    longest = max(kept, key=lambda one: one.retention_ms, default=None)
    if ledger is None or longest is None or ledger.retention_ms >= longest.retention_ms:
        return None
    wanted = "-1" if longest.retention_ms == float("inf") else f"{longest.retention_ms:.0f}"
    return (
        f"{ledger.name} keeps decisions for {_duration(ledger)} and {longest.name} its records for "
        f"{_duration(longest)}: what is delivered again later than that would run again; set "
        f"retention.ms={wanted} on {ledger.name}"
    )


def _duration(report: TopicReport) -> str:
    kept_s = report.retention_ms / 1000
    return "ever" if kept_s == float("inf") else f"{kept_s:.15g} s"


def _require_ledger(settings: Settings, ledger: TopicReport) -> None:
    """Refuse a ledger topic that forgets decisions inside the deduplication window."""
    window = settings.hybrid_deduplication_window
    if "compact" not in ledger.config.get("cleanup.policy", "").split(","):
        message = f"topic {ledger.name} must be compacted (cleanup.policy=compact,delete)"
        raise TopicsError(message)
    if ledger.retention_ms < window * 1000:
        message = (
            f"topic {ledger.name} keeps decisions for {ledger.retention_ms / 1000:g} s, less than "
            f"HYBRID_DEDUPLICATION_WINDOW = {window}: repeats would run again; raise its "
            "retention.ms"
        )
        raise TopicsError(message)


def require_seen(settings: Settings, reports: list[TopicReport]) -> None:
    """Return when all that was looked at could be seen; raises RightsError.

    A topic that cannot be seen may be missing too; Kafka tells nobody who may not see it.
    """
    hidden = [(f"{report.lacks} on topic", report.name) for report in reports if report.lacks]
    if hidden:
        raise lacking(settings, hidden)


def require_usable(settings: Settings, reports: list[TopicReport]) -> int:
    """Give the number of lanes that the topics make; raises TopicsError, RightsError.

    A missing source topic makes Faust consume nothing, for ever, in silence; unequal partition
    counts break the lanes; a ledger or a deferred topic that forgets too soon breaks the promise:
    all of them are refused at start.
    """
    # What operators do is none of a worker's business: it neither reads nor writes that topic.
    used = [report for report in reports if report.name != settings.topics.operations]
    refuse_missing([report.name for report in used if report.state == "missing"])
    require_seen(settings, used)
    lanes = lane_topics(settings)
    counts = {report.name: report.partitions for report in reports if report.name in lanes}
    problem = uneven(settings, counts)
    if problem is not None:
        raise TopicsError(problem)
    by_name = {report.name: report for report in reports}
    _require_ledger(settings, by_name[settings.topics.ledger])
    for name, delay in zip(settings.topics.deferred, settings.hybrid_defer_delays, strict=True):
        if by_name[name].retention_ms < (delay + DEFERRED_GRACE_S) * 1000:
            message = (
                f"topic {name} keeps records for {by_name[name].retention_ms / 1000:g} s: intents "
                f"that wait there for {delay:g} s would be lost; raise its retention.ms"
            )
            raise TopicsError(message)
    return settings.hybrid_partitions

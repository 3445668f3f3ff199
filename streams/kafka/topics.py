"""Creating and checking the topics; never shrinks, never deletes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from aiokafka.admin import NewTopic
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
from streams.kafka.clients import admin_client

__all__ = [
    "TopicReport",
    "TopicsError",
    "check_topics",
    "ensure_topics",
    "forgets_too_soon",
    "require_usable",
]

#: A deferred topic must keep records for so much longer than they wait: workers may be away.
DEFERRED_GRACE_S = 3600
HOUR_MS = 3_600_000

SOURCE_HINT = "run `hybrid topics ensure` first"


class TopicsError(Exception):
    """Raised when topics are missing or are not what the lanes need."""


@dataclass(frozen=True, slots=True)
class TopicReport:
    """One topic as it was found: `created`, `ok` or `differs`."""

    name: str
    partitions: int
    state: str
    detail: str = ""
    config: Mapping[str, str] = field(default_factory=dict)

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


def _hint(error: type[KafkaError]) -> str:
    """Say what to do where a broker's answer alone does not."""
    if error is InvalidReplicationFactorError:
        return "; set HYBRID_REPLICATION_FACTOR to at most the number of brokers"
    if error in {TopicAuthorizationFailedError, ClusterAuthorizationFailedError}:
        return "; the user needs the right to create topics (CREATE on the topics or the cluster)"
    return ""


async def ensure_topics(settings: Settings) -> list[TopicReport]:
    """Create what is missing, report what differs; raises BrokerUnavailableError, TopicsError."""
    async with admin_client(settings) as admin:
        existing = set(await admin.list_topics())
        missing = [spec for spec in settings.topics.specs() if spec.name not in existing]
        if missing:
            response = await admin.create_topics([_new_topic(spec, settings) for spec in missing])
            for name, code, *rest in response.topic_errors:
                if code and for_code(code) is not TopicAlreadyExistsError:
                    why = rest[0] if rest and rest[0] else for_code(code).__name__
                    message = f"topic {name} cannot be created: {why}{_hint(for_code(code))}"
                    raise TopicsError(message)
        created = {spec.name for spec in missing}
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
        existing = set(await admin.list_topics())
        present = [spec.name for spec in specs if spec.name in existing]
        described = {
            topic["topic"]: len(topic["partitions"])
            for topic in (await admin.describe_topics(present) if present else [])
        }
        configs: dict[str, dict[str, str]] = {}
        if present:
            resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in present]
            for response in await admin.describe_configs(resources):
                for resource in response.resources:
                    _code, _message, _kind, name, entries = resource[:5]
                    configs[name] = {entry[0]: entry[1] for entry in entries}
    reports = []
    for spec in specs:
        if spec.name not in described:
            reports.append(TopicReport(spec.name, 0, "missing", SOURCE_HINT))
            continue
        wrong = [
            f"{key} is {configs.get(spec.name, {}).get(key)}, wanted {value}"
            for key, value in _config(spec, settings).items()
            if not _same(configs.get(spec.name, {}).get(key), value)
        ]
        partitions = described[spec.name]
        if partitions != settings.hybrid_partitions:
            wrong.append(f"{partitions} partitions, wanted {settings.hybrid_partitions}")
        reports.append(
            TopicReport(
                spec.name,
                partitions,
                "differs" if wrong else "ok",
                "; ".join(wrong),
                configs.get(spec.name, {}),
            )
        )
    return _with_reach(settings, reports)


def _with_reach(settings: Settings, reports: list[TopicReport]) -> list[TopicReport]:
    """Say at the ledger's report what its retention means against that of the sources."""
    sentence = forgets_too_soon(settings, reports)
    if sentence is None:
        return reports
    return [
        replace(report, state="differs", detail=f"{report.detail}; {sentence}".lstrip("; "))
        if report.name == settings.topics.ledger and report.state != "missing"
        else report
        for report in reports
    ]


def _same(found: str | None, wanted: str) -> bool:
    return found is not None and set(found.split(",")) == set(wanted.split(","))


def forgets_too_soon(settings: Settings, reports: Sequence[TopicReport]) -> str | None:
    """Say in a sentence that Kafka may bring back what the ledger has forgotten; None: it has not.

    It takes more than that to go wrong: an offset that stays uncommitted for so long, and a worker
    that takes over.
    """
    by_name = {report.name: report for report in reports if report.state != "missing"}
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


def require_usable(settings: Settings, reports: list[TopicReport]) -> int:
    """Give the common number of partitions of the source topics; raises TopicsError.

    A missing source topic makes Faust consume nothing, for ever, in silence; unequal partition
    counts break the lanes; a ledger or a deferred topic that forgets too soon breaks the promise:
    all of them are refused at start.
    """
    lanes = {*settings.topics.sources, settings.topics.ledger}
    missing = [report.name for report in reports if report.state == "missing"]
    if missing:
        message = f"topics are missing: {', '.join(missing)}; {SOURCE_HINT}"
        raise TopicsError(message)
    counts = {report.name: report.partitions for report in reports if report.name in lanes}
    if len(set(counts.values())) != 1:
        listed = ", ".join(f"{name} has {count}" for name, count in sorted(counts.items()))
        message = f"all intent topics need the same number of partitions: {listed}"
        raise TopicsError(message)
    by_name = {report.name: report for report in reports}
    _require_ledger(settings, by_name[settings.topics.ledger])
    for name, delay in zip(settings.topics.deferred, settings.hybrid_defer_delays, strict=True):
        if by_name[name].retention_ms < (delay + DEFERRED_GRACE_S) * 1000:
            message = (
                f"topic {name} keeps records for {by_name[name].retention_ms / 1000:g} s: intents "
                f"that wait there for {delay:g} s would be lost; raise its retention.ms"
            )
            raise TopicsError(message)
    return next(iter(counts.values()))

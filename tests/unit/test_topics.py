"""Topics that would break the promise are refused at start, with the reason."""

import re
from dataclasses import replace

import pytest

from schemas.settings import Settings
from streams.kafka.partitions import uneven
from streams.kafka.presence import TopicsError
from streams.kafka.topics import TopicReport, forgets_too_soon, require_usable

SETTINGS = Settings()
TOPICS = SETTINGS.topics


def reports(**changes: TopicReport | None) -> list[TopicReport]:
    found = {
        spec.name: TopicReport(
            spec.name,
            12,
            "ok",
            config={
                "retention.ms": str(spec.retention_ms),
                "cleanup.policy": "compact,delete" if spec.compact else "delete",
            },
        )
        for spec in TOPICS.specs()
    }
    return [
        changed
        for name, report in found.items()
        if (changed := changes.get(name.replace(".", "_"), report)) is not None
    ]


def test_topics_as_they_are_created_are_usable() -> None:
    assert require_usable(SETTINGS, reports()) == 12


def test_a_worker_does_without_what_only_operators_need() -> None:
    absent = TopicReport(TOPICS.operations, 0, "missing")
    unseen = TopicReport(TOPICS.operations, 0, "hidden", lacks="DESCRIBE")
    for one in (absent, unseen):
        assert require_usable(SETTINGS, reports(workflow_operations=one)) == 12


def keeping(name: str, **config: str) -> TopicReport:
    report = next(one for one in reports() if one.name == name)
    names = {key.replace("_", "."): value for key, value in config.items()}
    return replace(report, config={**report.config, **names})


@pytest.mark.parametrize(
    ("name", "report", "reason"),
    [
        (
            "intents",
            TopicReport(TOPICS.intents, 0, "missing"),
            "topics are missing: workflow.intents",
        ),
        ("intents_urgent", TopicReport(TOPICS.urgent, 6, "differs"), "same number of partitions"),
        ("ledger", keeping(TOPICS.ledger, cleanup_policy="delete"), "must be compacted"),
        ("ledger", keeping(TOPICS.ledger, retention_ms="3600000"), "keeps decisions for 3600 s"),
        ("deferred_600s", keeping(TOPICS.deferred[2], retention_ms="60000"), "would be lost"),
    ],
)
def test_what_would_lose_or_repeat_work_is_refused(
    name: str, report: TopicReport, reason: str
) -> None:
    with pytest.raises(TopicsError, match=reason):
        require_usable(SETTINGS, reports(**{f"workflow_{name}": report}))


@pytest.mark.parametrize(
    ("counts", "what_to_do"),
    [
        ((12, 12), None),
        ((14, 12), "run `hybrid topics ensure --grow` with HYBRID_PARTITIONS = 14"),
        ((6, 12), "run `hybrid topics ensure --grow` with HYBRID_PARTITIONS = 12"),
        ((24, 24), "HYBRID_PARTITIONS is 12: set it to 24"),
        ((6, 6), "set it to 6, or stop all workers and run `hybrid topics ensure --grow`"),
    ],
)
def test_partitions_that_make_no_lanes_are_refused_with_what_to_do(
    counts: tuple[int, int], what_to_do: str | None
) -> None:
    found = uneven(
        SETTINGS, dict(zip(("workflow.intents", "workflow.ledger"), counts, strict=True))
    )
    assert found == what_to_do if what_to_do is None else what_to_do in (found or "")


def test_keeping_records_longer_or_for_ever_is_nobodys_business() -> None:
    longer = keeping(TOPICS.ledger, retention_ms="-1")
    assert require_usable(SETTINGS, reports(workflow_ledger=longer)) == 12


@pytest.mark.parametrize(
    ("topic", "kept", "why"),
    [
        ("ledger", "86400000", "keeps decisions for 86400 s and workflow.intents its records for"),
        ("intents", "2592000000", "for 2592000 s: what is delivered again later than that would"),
        ("intents", "-1", "its records for ever: .* set retention.ms=-1 on workflow.ledger"),
    ],
)
def test_a_ledger_that_forgets_what_kafka_may_bring_back_is_told_in_a_sentence(
    topic: str, kept: str, why: str
) -> None:
    name = f"workflow.{topic}"
    found = reports(**{name.replace(".", "_"): keeping(name, retention_ms=kept)})
    assert re.search(why, forgets_too_soon(SETTINGS, found) or "")
    assert forgets_too_soon(SETTINGS, reports()) is None
    missing = TopicReport(TOPICS.intents, 0, "missing")
    assert forgets_too_soon(SETTINGS, reports(workflow_intents=missing)) is None

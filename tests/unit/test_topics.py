"""Topics that would break the promise are refused at start, with the reason."""

from dataclasses import replace

import pytest

from schemas.settings import Settings
from streams.kafka.topics import TopicReport, TopicsError, require_usable

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


def test_keeping_records_longer_or_for_ever_is_nobodys_business() -> None:
    longer = keeping(TOPICS.ledger, retention_ms="-1")
    assert require_usable(SETTINGS, reports(workflow_ledger=longer)) == 12

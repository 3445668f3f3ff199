"""What a process asks for at its start is what docs/security.md says that it needs."""

import fnmatch
from collections.abc import Callable

import pytest
from pydantic import SecretStr

from schemas.settings import Settings
from streams.kafka.rights import Rights, forget_rights, recorder_rights, worker_rights
from tests.rights_page import table

SETTINGS = Settings(hybrid_alert_webhook=SecretStr("http://127.0.0.1:9/"))
TABLE = table()


def test_the_page_names_everything_that_speaks_to_kafka() -> None:
    assert {"worker", "recorder", "publish", "results", "dlq replay", "topics ensure"} <= set(TABLE)


@pytest.mark.parametrize(
    ("process", "asked"),
    [("worker", worker_rights), ("recorder", recorder_rights), ("forget", forget_rights)],
)
def test_page_and_start_want_the_same(process: str, asked: Callable[[Settings], Rights]) -> None:
    wanted, topics = asked(SETTINGS), [spec.name for spec in SETTINGS.topics.specs()]
    written = {
        (operation, topic)
        for operation in ("READ", "WRITE")
        for topic in topics
        if any(
            fnmatch.fnmatchcase(topic, one.name)
            for one in TABLE[process]
            if (one.kind, one.operation) == ("topic", operation)
        )
    }
    asked_for = {(one, topic) for topic, found in wanted.topics.items() for one in found}
    assert written == asked_for
    groups = {one.name for one in TABLE[process] if (one.kind, one.operation) == ("group", "READ")}
    assert groups == set(wanted.groups)
    identifiers = {one.name for one in TABLE[process] if one.kind == "transactional id"}
    for identifier in wanted.transactional_ids:
        assert any(fnmatch.fnmatchcase(identifier, one) for one in identifiers)

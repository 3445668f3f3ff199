"""Log lines, and the metrics embedded beside them."""

import json
import logging

import pytest
import structlog

from agents.clock import ManualClock
from hybrid.logs import build_log
from schemas.settings import Settings
from schemas.vocabulary import LogEvent
from tests.builders import NOW


@pytest.fixture(autouse=True)
def _restore() -> object:
    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    yield
    root.handlers, root.level = before
    structlog.reset_defaults()


def test_a_log_line_is_one_json_object_with_its_event(capsys: pytest.CaptureFixture[str]) -> None:
    log = build_log(Settings(hybrid_log_format="json"), process="w", clock=ManualClock(NOW))
    log(LogEvent.WORKFLOW_COMPLETED, intent_id="i-1", trace_id=None, total_ms=12)
    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["intent_id"], line["total_ms"]) == ("workflow_completed", "i-1", 12)
    assert "trace_id" not in line


def test_metrics_are_embedded_under_the_wanted_namespace(
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = Settings(hybrid_log_format="json", hybrid_emf_namespace="Acme/Hybrid")
    log = build_log(settings, process="w", clock=ManualClock(NOW))
    log(LogEvent.WORKFLOW_COMPLETED, total_ms=12)
    log(LogEvent.WORKFLOW_STARTED)
    document = json.loads(capsys.readouterr().out)
    assert document["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "Acme/Hybrid"
    assert document["total_ms"] == 12


def test_a_librarys_warning_never_passes_its_text_on(capsys: pytest.CaptureFixture[str]) -> None:
    log = build_log(Settings(hybrid_log_format="json"), process="w", clock=ManualClock(NOW))
    logging.getLogger("aiokafka.client").error("cannot connect")
    assert capsys.readouterr().err == ""  # why it cannot start is said by us, once
    log(LogEvent.WORKER_STARTED)
    capsys.readouterr()
    logging.getLogger("aiokafka.producer").error("cannot send %s", "s3cret-content")
    text = capsys.readouterr().err
    assert "s3cret" not in text
    assert json.loads(text)["library"] == "aiokafka"
    assert json.loads(text)["message"] == "cannot send %s"
    logging.getLogger("aiokafka.producer").error("cannot send s3cret-content")
    text = capsys.readouterr().err
    assert "s3cret" not in text
    assert "may quote a record" in json.loads(text)["message"]

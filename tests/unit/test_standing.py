"""`hybrid status`: what is seen, what needs somebody, and what is unknown with its reason."""

import json
from collections import Counter
from datetime import timedelta
from io import StringIO

from rich.console import Console

from hybrid.commands.status import _drawn
from hybrid.standing import Standing, Worker, document_of, verdict, worker_of
from streams.kafka.line import Line
from tests.builders import NOW

METRICS = """\
# HELP hybrid_in_flight Intents that run or wait for their commit
# TYPE hybrid_in_flight gauge
hybrid_in_flight 3.0
hybrid_waiting 7.0
hybrid_lanes 12.0
hybrid_ready 1.0
hybrid_provider_available{provider="openai"} 0.0
hybrid_provider_available{provider="azure"} 1.0
hybrid_provider_in_flight{provider="openai"} 0.0
hybrid_provider_in_flight{provider="azure"} 3.0
hybrid_provider_keys{provider="openai",state="usable"} 0.0
hybrid_provider_keys{provider="openai",state="resting"} 2.0
"""


def a_worker(**lines: str) -> Worker:
    text = METRICS
    for old, new in lines.items():
        text = text.replace(old, new)
    return worker_of("http://w:9464/metrics", text)


def a_standing(**changes: object) -> Standing:
    line = Line(Counter({"workflow.intents": 4, "workflow.deferred.60s": 9}))
    line.oldest_at = NOW - timedelta(seconds=30)
    line.next_due_at = NOW + timedelta(seconds=42)
    spend = {"calls": 10, "cost_usd": "1.25", "unpriced": 1, "orphaned": 2, "uncertain_usd": "0"}
    standing = Standing(NOW, line, (a_worker(),), 5, spend)
    for name, value in changes.items():
        setattr(standing, name, value)
    return standing


def screen(standing: Standing) -> str:
    console = Console(width=80, file=StringIO(), color_system=None)
    console.print(_drawn(standing))
    return " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]


def test_a_workers_metrics_are_read() -> None:
    worker = a_worker()
    assert (worker.ready, worker.in_flight, worker.waiting, worker.lanes) == (True, 3, 7, 12)
    openai, azure = worker.providers
    assert (openai.name, openai.available, openai.resting_keys) == ("openai", False, 2)
    assert (azure.name, azure.available, azure.in_flight) == ("azure", True, 3)


def test_what_is_no_metrics_page_is_a_worker_that_is_not_ready() -> None:
    worker = worker_of("http://w/", "<html>")
    assert (worker.ready, worker.in_flight, worker.providers) == (False, 0, ())


def test_one_screen_says_all_of_it() -> None:
    said = screen(a_standing())
    for expected in (
        "2 things need somebody: openai is not called by 1 of 1 workers",
        "openai refuses 2 of its keys", "in line 4, the oldest for 30 s", "deferred 9, the next due in 42 s",
        "in flight 3", "workers 1 of 1 ready", "recorder 5 records behind",
        "spend today 1.25 USD for 10 calls, 1 without a known price, 2 orphaned",
    ):  # fmt: skip
        assert expected in said


def test_nothing_needs_anybody_only_where_all_is_seen() -> None:
    healthy = {'available{provider="openai"} 0.0': 'available{provider="openai"} 1.0',
               '"resting"} 2.0': '"resting"} 0.0'}  # fmt: skip
    quiet = a_standing(workers=(a_worker(**healthy),))
    assert screen(quiet).startswith("Nothing needs you.")
    quiet.unknown["spend"] = "ClickHouse does not answer"
    quiet.spend = None
    said = screen(quiet)
    assert said.startswith("Nothing that is seen needs you; unknown: spend")
    assert "spend today –" in said
    assert "– spend: ClickHouse does not answer" in said


def test_what_is_unknown_is_null_and_never_zero() -> None:
    empty = Standing(NOW, unknown={"waiting": "why", "workers": "no address is known"})
    document = json.loads(json.dumps(document_of(empty)))
    assert [document[name] for name in ("in_line", "in_flight", "recorder_lag", "spend_today")] == [
        None
    ] * 4
    said = screen(empty)
    assert "in line –" in said
    assert "in flight –" in said


def test_old_work_a_lagging_recorder_and_no_ready_worker_need_somebody() -> None:
    line = Line(Counter({"workflow.intents": 1}), oldest_at=NOW - timedelta(hours=2), whole=False)
    asleep = a_worker(hybrid_ready="hybrid_unready")
    standing = a_standing(line=line, recorder_lag=1_000_000, workers=(asleep,))
    needs = verdict(standing)
    assert needs[0] == "no worker is ready"
    assert "the oldest intent in line came in 2 h ago" in needs
    assert needs[-1] == "the recorder is 1,000,000 records behind"
    assert "at least 1, the oldest for 2 h" in screen(standing)

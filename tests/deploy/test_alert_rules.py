"""The alert rules, by Prometheus' own tool: each fires when it should, and only then."""

import json
import re
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest

from hybrid.metrics import RecorderMetrics
from hybrid.worker_metrics import WorkerMetrics
from tests.deploy.chart_tools import ToolMissingError, need_tool, output_of
from tests.deploy.engine import METRICS_CODE, ROOT
from tests.unit.test_tallies import some

pytestmark = pytest.mark.timeout(1800)
RULES = ROOT / "deploy/prometheus/rules.yaml"
#: What is scraped of one worker and one recorder, as a series of values by the minute.
WELL = {
    'hybrid_ready{pod="w-0"}': "1x120",
    'hybrid_ready{pod="w-1"}': "1x120",
    "hybrid_oldest_waiting_seconds": "2x120",
    'hybrid_provider_available{provider="openai",pod="w-0"}': "1x120",
    'hybrid_provider_available{provider="openai",pod="w-1"}': "1x120",
    'hybrid_provider_keys{provider="openai",state="resting"}': "0x120",
    'hybrid_outcomes_total{outcome="completed"}': "0+100x120",
    'hybrid_outcomes_total{outcome="failed"}': "0+1x120",
    "hybrid_recorder_lag": "5x120",
    "hybrid_recorder_held_up_seconds": "0x120",
    "hybrid_recorder_rows_set_aside_total": "0x120",
}
NOBODY = dict.fromkeys([name for name in WELL if name.startswith("hybrid_ready")])
#: Alert → what is otherwise; None is a series that is not there.
TROUBLE: dict[str, dict[str, str | None]] = {
    "HybridNoWorker": NOBODY,
    "HybridNoWorkerReady": dict.fromkeys(NOBODY, "0x120"),
    "HybridWorkerNotReady": {'hybrid_ready{pod="w-1"}': "0x120"},
    "HybridWorkWaits": {"hybrid_oldest_waiting_seconds": "0+60x120"},
    "HybridProviderOut": {
        f'hybrid_provider_available{{provider="openai",pod="w-{n}"}}': "0x120" for n in (0, 1)
    },
    "HybridKeyRefused": {'hybrid_provider_keys{provider="openai",state="resting"}': "1x120"},
    "HybridDeadLetters": {'hybrid_outcomes_total{outcome="failed"}': "0+10x120"},
    "HybridNoRecorder": {"hybrid_recorder_lag": None},
    "HybridRecorderHeldUp": {"hybrid_recorder_held_up_seconds": "0+60x120"},
    "HybridRowsSetAside": {"hybrid_recorder_rows_set_aside_total": "0x60 1x60"},
}
#: Those that are on as well when another is.
BESIDE = {"HybridNoWorkerReady": {"HybridWorkerNotReady"}}


def _alerts() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
    return found


def _test(name: str, changes: dict[str, str | None], on: set[str]) -> dict[str, Any]:
    series = {one: values for one, values in {**WELL, **changes}.items() if values is not None}
    return {
        "name": name,
        "interval": "1m",
        "input_series": [{"series": one, "values": values} for one, values in series.items()],
        "promql_expr_test": [
            {
                "expr": f'count by (alertname) (ALERTS{{alertstate="firing",alertname="{alert}"}}) > bool 0',
                "eval_time": "90m",
                "exp_samples": [{"labels": f'{{alertname="{alert}"}}', "value": 1}]
                if alert in on
                else [],
            }
            for alert in TROUBLE
        ],
    }


@pytest.fixture(scope="module")
def promtool() -> Path:
    try:
        return need_tool("promtool")
    except ToolMissingError as error:
        pytest.fail(str(error), pytrace=False)


def test_every_alert_has_a_case_and_only_names_what_is_served() -> None:
    assert {one["alert"] for one in _alerts()} == set(TROUBLE)
    served = set(re.findall(r'"(hybrid_\w+)"', METRICS_CODE))
    for one in _alerts():
        named = {n.removesuffix("_total") for n in re.findall(r"hybrid_\w+", one["expr"])}
        assert named, one["alert"]
        assert named <= served, one["alert"]


def test_prometheus_reads_what_is_served(promtool: Path) -> None:
    worker = MagicMock(tallies=some(), lanes={}, providers=[], dispatcher=MagicMock(paused=0))
    for collector in (WorkerMetrics(worker), RecorderMetrics(MagicMock())):
        registry = CollectorRegistry()
        registry.register(collector)
        text = generate_latest(registry).decode()
        assert text.count("# TYPE hybrid_") >= 4
        output_of(promtool, "check", "metrics", text_in=text)


def test_each_alert_fires_when_it_should_and_only_then(promtool: Path, tmp_path: Path) -> None:
    assert "SUCCESS" in output_of(promtool, "check", "rules", "--lint=all", RULES)
    tests = [_test("well", {}, set())]
    tests += [_test(name, what, {name, *BESIDE.get(name, ())}) for name, what in TROUBLE.items()]
    file = tmp_path / "tests.json"  # YAML, too
    file.write_text(json.dumps({"rule_files": [str(RULES)], "tests": tests}))
    assert "SUCCESS" in output_of(promtool, "test", "rules", file)

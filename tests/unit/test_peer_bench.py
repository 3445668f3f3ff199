"""The bench beside peers: its figures, its page and its parts; the series itself takes long."""

import dataclasses
import json
import re
import shutil
import sys
import time
import urllib.request
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench.peers.__main__ import main
from bench.peers.added import Added, share_of
from bench.peers.document import document_of, picture_of
from bench.peers.ground import LOG, intent, running_stub
from bench.peers.lineup import Pipeline
from bench.peers.machine import usage_of_group
from bench.peers.series import Plan, Series
from bench.peers.smoke import main as smoke
from bench.peers.starting import Start
from bench.peers.tables import cpu_of_floor, latency_table, throughput_table
from bench.peers.throughput import Run, Sample, window_of
from hybrid.stack.process import Child, wait_until

ROOT = Path(__file__).resolve().parents[2]


def a_pipeline(name: str) -> Pipeline:
    return Pipeline(
        name=name,
        title=f"the {name}",
        python=Path(sys.executable),
        command=[],
        environment_of=lambda _place: {},
        prepare=lambda _pipeline, _place: None,
        group_of=lambda place: place.prefix,
        kept="loses nothing",
        versions={"aiokafka": "0.14.0"},
    )


def a_run(name: str, *, rate: float = 100.0, cpu: float = 1.0, latency_ms: int = 0) -> Run:
    numbers = {one.name: 0.0 for one in dataclasses.fields(Run)}
    changed = {"name": name, "latency_ms": latency_ms, "rate": rate, "cpu_s_per_1000": cpu}
    return Run(**(numbers | {"again": 0} | changed))


PIPELINES = [a_pipeline("floor"), a_pipeline("product"), a_pipeline("quix")]
PLAN = Plan(("throughput", "latency", "start"), 3, 20_000, 20.0, 10.0, (0, 200))


def a_series() -> Series:
    """Three rounds in which one pipeline failed."""
    return Series(
        throughput=[
            a_run(name, rate=rate * pace, cpu=cpu / pace, latency_ms=latency_ms)
            for latency_ms in (0, 200)
            for pace in (0.9, 1.0, 1.1)
            for name, rate, cpu in (("floor", 4000, 0.2), ("product", 400, 3.0))
        ],
        latency=[Added("product", 50, 500, 500, 12.0, 31.0)],
        start=[Start("product", 2.5, 2.9, 3.1, 0.012)],
        failures=["round 1, throughput: quix ended with status 1" + LOG + "/a/path " * 30],
    )


def test_the_window_goes_from_a_tenth_to_nine_tenths_of_the_results() -> None:
    samples = [Sample(at=float(number), results=number * 10) for number in range(11)]
    window = window_of(samples)
    assert window is not None
    assert [one.results for one in window] == [10, 90]


@pytest.mark.parametrize("counts", [[], [0], [0, 0, 0], [0, 100], [100, 100]])
def test_too_few_samples_are_no_window(counts: list[int]) -> None:
    assert window_of([Sample(at=float(at), results=one) for at, one in enumerate(counts)]) is None


def test_figures_are_medians_with_their_range_and_ratios_to_the_floor() -> None:
    runs = [one for one in a_series().throughput if one.latency_ms == 0]
    head, floor, product, quix = throughput_table(PIPELINES, runs)
    assert floor[:5] == ["the floor", "4,000 (3,600–4,400)", "1.000", "0.20 (0.18–0.22)", "1.0"]
    assert product[:5] == ["the product", "400 (360–440)", "0.100", "3.00 (2.73–3.33)", "15.0"]
    assert quix[:2] == ["the quix", "failed"]
    assert {len(row) for row in (floor, product, quix)} == {len(head)}
    assert cpu_of_floor(runs, "product") == pytest.approx(15.0)
    assert cpu_of_floor(runs, "quix") is None


def test_a_pipeline_that_fell_behind_in_one_round_has_no_latency() -> None:
    added = [Added("product", 50, 9, 9, 12.0, 31.0), Added("product", 50, 9, 8, None, None)]
    assert latency_table(PIPELINES, added)[2][1:3] == ["falls behind", "falls behind"]


def test_shares_of_few_values_are_values() -> None:
    assert [share_of([1.0, 2.0], share) for share in (0.5, 0.99, 1.0)] == [2.0, 2.0, 2.0]


def test_the_page_keeps_the_rules_of_documents_and_its_targets_exist() -> None:
    page = document_of(PIPELINES, PLAN, a_series(), datetime(2026, 11, 28, tzinfo=UTC))
    for line in page.splitlines():
        if line.startswith("|"):
            assert max(map(len, line.split("|"))) <= 72
        else:
            assert len(line) <= 100, line
    assert "2026-11-28" in page
    assert "the quix" in page
    assert "quix ended with status 1\n" in page
    targets = re.findall(r"make ([\w-]+)", page)
    assert set(targets) == {"bench", "bench-smoke"}
    makefile = (ROOT / "Makefile").read_text()
    assert all(re.search(rf"(?m)^{one}:", makefile) for one in targets)


def test_the_picture_is_a_document_with_a_bar_for_each_figure() -> None:
    picture = ET.fromstring(picture_of(PIPELINES, a_series()))  # noqa: S314 - our own
    bars = [one for one in picture.iter() if one.tag.endswith("rect")][1:]
    assert len(bars) == 4
    assert all(float(one.attrib["width"]) > 0 for one in bars)


def test_an_intent_is_what_the_worker_takes_and_has_the_size_that_is_told() -> None:
    from schemas.intent import WorkflowIntent

    key, value = intent(17, "r50x")
    assert 580 <= len(value) <= 600
    assert len(key) == 36
    read = WorkflowIntent.model_validate_json(value)
    assert read.intent_id == key.decode()
    assert set(json.loads(value)) <= set(WorkflowIntent.model_fields)


def test_the_cpu_of_a_process_group_is_what_it_burns(tmp_path: Path) -> None:
    burning = (
        "import time\nwhile time.process_time() < 0.3: pass\nprint('done', flush=True)\ninput()"
    )
    code = f"import os, sys\nr, w = os.pipe()\nos.dup2(r, 0)\n{burning}"
    child = Child("burn", [sys.executable, "-c", code], log_file=tmp_path / "log")
    try:
        assert wait_until(lambda: "done" in child.tail(), within_s=20)
        usage = usage_of_group(child.pid)
    finally:
        child.stop(within_s=2)
    assert 0.25 <= usage.cpu_s <= 2
    assert 1 < usage.peak_mb < 200
    assert usage_of_group(child.pid).cpu_s == 0


@pytest.mark.parametrize("compiler", [shutil.which("cc"), None])
def test_the_provider_answers_a_completion_after_its_time(
    compiler: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.peers.ground.shutil.which", lambda _name: compiler)
    with running_stub(tmp_path, latency_ms=200) as (_child, base_url):
        request = urllib.request.Request(f"{base_url}/chat/completions", data=b"{}")
        begun = time.monotonic()
        with urllib.request.urlopen(request, timeout=5) as response:
            reply = json.load(response)
        took = time.monotonic() - begun
    assert took >= 0.2
    assert reply["choices"][0]["finish_reason"] == "stop"
    assert reply["usage"]["total_tokens"] == 150


def test_what_is_published_is_not_measured_without_a_compiler(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bench.peers.ground.shutil.which", lambda _name: None)
    assert main(["--write", "--only", "product"]) == 2
    assert "install a compiler" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--only", "flor"],
        ["--only", "product2"],
        ["--only", "product", "--product2", "/nowhere"],
        ["--only", "product", "--product-python", "/nowhere/python"],
        ["--measure", "speed"],
        ["--env", "HYBRID_CONCURRENCY"],
    ],
)
def test_wrong_usage_gets_one_sentence_and_status_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("bench: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("run", "arguments"), [(main, ["--rounds", "0"]), (smoke, ["--intents", "5"])]
)
def test_numbers_that_measure_nothing_are_refused(run: object, arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(arguments)  # type: ignore[operator]


@pytest.mark.parametrize(
    "lock", sorted((ROOT / "bench/peers/requirements").glob("*.lock")), ids=str
)
def test_a_peers_lock_names_no_host_and_pins_everything_with_hashes(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    names = re.findall(r"(?m)^[A-Za-z0-9][^\n]*", text)
    assert names
    assert all("==" in one for one in names)
    assert len(names) <= text.count("--hash=sha256:")
    assert lock.with_suffix(".in").exists()

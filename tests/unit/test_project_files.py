"""Workflows, hooks and examples name what there is."""

import importlib.util
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from hybrid.config import load_settings
from schemas.intent import WorkflowIntent

ROOT = Path(__file__).resolve().parents[2]
TARGETS = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text()))
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yaml"))


def _jobs(path: Path) -> dict[str, Any]:
    jobs: dict[str, Any] = yaml.safe_load(path.read_text())["jobs"]
    return jobs


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_runs_what_a_developer_runs_with_actions_of_one_version(path: Path) -> None:
    for name, job in _jobs(path).items():
        if "uses" in job:
            assert (ROOT / job["uses"]).exists()
            continue
        assert job["timeout-minutes"] > 0, name
        for step in job["steps"]:
            if "uses" in step:
                assert re.fullmatch(r"[\w-]+/[\w-]+@v\d+\.\d+\.\d+", step["uses"]), name
            for target in re.findall(r"\bmake ([a-z-]+)", step.get("run", "")):
                assert target in TARGETS


def test_a_push_is_checked_and_tested_and_a_tag_is_released_after_that() -> None:
    runs = {
        step.get("run")
        for job in _jobs(ROOT / ".github/workflows/checks.yaml").values()
        for step in job["steps"]
    }
    gate = {"make check", "make test", "make test-slow"}
    assert gate <= runs
    assert gate <= set((ROOT / ".ci/run").read_text().splitlines())
    release = _jobs(ROOT / ".github/workflows/release.yaml")
    assert all(job["needs"] == "checks" for name, job in release.items() if name != "checks")
    assert release["checks"]["uses"].endswith("checks.yaml")


def test_each_file_of_the_suite_is_of_one_job() -> None:
    spec = importlib.util.spec_from_file_location("run_tests", ROOT / "tools/run_tests.py")
    assert spec is not None
    assert spec.loader is not None
    run_tests = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(run_tests)
    jobs = run_tests.files_of_jobs()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    folders = project["tool"]["pytest"]["ini_options"]["testpaths"]
    there = [path for folder in folders for path in (ROOT / folder).rglob("test_*.py")]
    assert sorted(file for files in jobs.values() for file in files) == sorted(
        path.relative_to(ROOT).as_posix() for path in there
    )
    assert sorted(jobs) == sorted(run_tests.FIRST)
    assert all(jobs.values())


def test_hooks_are_local_and_run_the_gate() -> None:
    repos = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert {one["repo"] for one in repos} == {"local"}
    assert {hook["entry"] for one in repos for hook in one["hooks"]} == {"make check"}


def test_the_contributors_page_names_every_target_there_is() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    named = set(re.findall(r"make ([a-z-]+)", page))
    readme = set(re.findall(r"make ([a-z-]+)", (ROOT / "README.md").read_text()))
    assert TARGETS - named - readme - {"clean", "litellm"} == set()


def test_each_example_is_an_intent_that_is_taken() -> None:
    lines = (ROOT / "examples/intents.jsonl").read_text().splitlines()
    intents = [WorkflowIntent.model_validate(json.loads(line)) for line in lines]
    assert len({one.intent_id for one in intents}) == len(lines) >= 4


def test_the_examples_configuration_is_accepted() -> None:
    load_settings(environment={"AZURE_EU_KEY": "key"}, file=ROOT / "examples/hybrid.toml")


def test_code_owners_are_proposed_for_paths_that_are_there_and_nobody_is_made_up() -> None:
    lines = (ROOT / ".github/CODEOWNERS").read_text().splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == []
    proposed = [line[1:].split() for line in lines if line.startswith(("#*", "#/"))]
    assert proposed[0][0] == "*"  # the last that fits counts, so what is for all comes first
    for path, *owners in proposed:
        assert path == "*" or (ROOT / path.strip("/")).exists(), path
        assert owners
        assert all(re.fullmatch(r"@OWNER/[\w-]+", one) for one in owners), path

"""HYBRID_TEST_BACKEND: what it takes, and that nothing runs elsewhere than it says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hybrid.stack.environment import StackOptions
from hybrid.stack.kafka import EmbeddedKafka
from hybrid.stack.local import LocalStack
from tests import backend

ROOT = Path(__file__).resolve().parents[2]


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env={**os.environ, **environment},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


@pytest.mark.parametrize(
    "command", [("-m", "pytest", "tests/unit/test_money.py"), ("tools/run_tests.py",)]
)
def test_an_unknown_backend_is_one_sentence_and_status_2(command: tuple[str, ...]) -> None:
    done = run(*command, HYBRID_TEST_BACKEND="docker")
    assert done.returncode == 2, done.stdout
    assert "HYBRID_TEST_BACKEND = docker: say embedded" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "passed" not in done.stdout


def test_the_whole_suite_is_not_run_on_containers() -> None:
    done = run("tools/run_tests.py", HYBRID_TEST_BACKEND="containers")
    assert done.returncode == 2
    assert "`make test-containers`" in done.stderr


def test_without_an_engine_nothing_falls_back_to_embedded_servers(tmp_path: Path) -> None:
    file = "tests/integration/test_transactions.py"
    done = run("-m", "pytest", file, HYBRID_TEST_BACKEND="containers", PATH=str(tmp_path))
    assert done.returncode == 2, done.stdout
    assert "HYBRID_TEST_BACKEND=containers: no docker command here" in done.stdout + done.stderr
    assert "passed" not in done.stdout


def test_what_needs_no_server_or_its_own_is_skipped_on_containers_and_says_so() -> None:
    files = ("tests/integration/test_rows.py", "tests/integration/test_security.py")
    done = run("-m", "pytest", "-rs", *files, HYBRID_TEST_BACKEND="containers")
    assert done.returncode == 0, done.stdout
    for file in files:
        assert f"{file} does not run on containers: it needs no servers, or its own" in done.stdout
    assert "passed" not in done.stdout


def test_an_embedded_server_cannot_be_started_where_containers_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for owner, name in ((EmbeddedKafka, "launch"), (LocalStack, "_start_clickhouse")):
        monkeypatch.setattr(owner, name, getattr(owner, name))  # as it was, after the test
    backend.forbid_embedded()
    refused = pytest.raises(AssertionError, match="a test starts an embedded server")
    with refused:
        LocalStack(StackOptions(data_dir=tmp_path), report=print).start()
    with refused:
        EmbeddedKafka(tmp_path, port=1, controller_port=2).start()


def test_every_file_that_runs_on_containers_is_there() -> None:
    assert [file for file in backend.FILES if not (ROOT / file).exists()] == []
    assert run("-m", "tests.backend").stdout.split() == list(backend.FILES)

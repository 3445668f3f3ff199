"""The command before any command of it: its version, its completion."""

import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hybrid.cli import app

ROOT = Path(__file__).resolve().parents[2]


def test_the_version_is_that_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    done = CliRunner().invoke(app, ["--version"])
    assert (done.exit_code, done.stdout) == (0, f"hybrid {project['version']}\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_completion(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told by the processes above this one, which may be no shell's: as in CI."""
    monkeypatch.setattr("typer.completion._get_shell_name", lambda: shell)
    done = CliRunner().invoke(app, ["--show-completion"], prog_name="hybrid")
    assert done.exit_code == 0
    assert f"_HYBRID_COMPLETE=complete_{shell}" in done.stdout


@pytest.mark.parametrize(
    ("line", "wanted"), [("hybrid to", {"topics"}), ("hybrid costs rec", {"reconcile"})]
)
def test_a_command_is_completed(line: str, wanted: set[str]) -> None:
    environment = {
        "_HYBRID_COMPLETE": "complete_bash", "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split()) - 1),
    }  # fmt: skip
    done = CliRunner().invoke(app, [], env=environment, prog_name="hybrid")
    assert set(done.stdout.split()) == wanted

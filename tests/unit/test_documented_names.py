"""Variables, commands with their options, and make targets that documents and help texts name."""

import ast
import functools
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer

from hybrid.cli import app
from schemas.settings import Settings
from tests.chaos.__main__ import TRAFFIC
from tests.chaos.injector import FAULTS

ROOT = Path(__file__).resolve().parents[2]
CHART = "deploy/helm/hybrid-orchestrator/README.md"
TOP = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "examples/README.md", CHART)
PAGES = [*(ROOT / name for name in TOP), *sorted((ROOT / "docs").glob("*.md"))]
VARIABLE = r"\b(?:HYBRID|KAFKA|CLICKHOUSE|OPENAI|AZURE)_[A-Z0-9_]*[A-Z0-9]\b"
COMMAND = typer.main.get_command(app)


def _variables() -> set[str]:
    """Give what is read: the settings, what `hybrid`, tests and compose file read beside, and keys.

    These are the example's own.
    """
    settings = {name.upper() for name in Settings.model_fields}
    beside = {
        node.value
        for path in (*(ROOT / "hybrid").rglob("*.py"), ROOT / "tests" / "backend.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.fullmatch(VARIABLE, node.value)
    }
    sys.path.insert(0, str(ROOT / "tools"))
    from example import EXAMPLE

    keys = {one["key_variable"] for one in tomllib.loads(EXAMPLE)["providers"] if len(one) > 4}
    from hybrid.secret_files import SECRETS

    beside |= {f"{name.upper()}_FILE" for name in SECRETS}
    compose = (ROOT / "docker-compose.yml").read_text()
    return settings | beside | keys | set(re.findall(r"\$\{([A-Z_]+)", compose))


def _snippets(text: str) -> Iterator[str]:
    """Give what is written as code: spans, and lines of blocks, each command of a line alone."""
    blocks = re.findall(r"(?m)^ {4,}(.*)$", text)
    spans = re.findall(r"`([^`]+)`", text)
    for snippet in [*blocks, *spans]:
        line = " ".join(re.split(r"\s#\s", snippet)[0].split())
        for part in line.split("&&"):
            yield re.sub(r"^(?:export |[A-Z_]+=\S* )+", "", part.strip())


@functools.cache
def _texts() -> dict[str, str]:
    """Give all pages, and the help of every command, by name."""
    texts = {path.relative_to(ROOT).as_posix(): path.read_text() for path in PAGES}
    return texts | {f"{path} --help": one.help or "" for path, one in _commands(COMMAND, "hybrid")}


def _commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from _commands(child, f"{path} {name}")


def _problems(command: click.Command, words: list[str]) -> list[str]:
    """Say what of a written command does not exist; `a|b` stands for each of them."""
    commands = getattr(command, "commands", None)
    alone = (words or [""])[0][:2] == "--"  # an option of the group itself
    if commands is None or alone:
        known = {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
        used = {word.partition("=")[0] for word in words if word.startswith("--")}
        return sorted(used - known - {"--help"})
    if not words or not re.fullmatch(r"[a-z|-]+", words[0]) or words[0] == "--help":
        return []
    found: list[str] = []
    for name in words[0].split("|"):
        if name in commands:
            found += _problems(commands[name], words[1:])
        else:
            found.append(name)
    return found


@pytest.mark.parametrize("name", _texts())
def test_each_command_and_option_that_is_named_exists(name: str) -> None:
    for snippet in _snippets(_texts()[name]):
        if snippet.startswith("hybrid "):
            assert _problems(COMMAND, snippet.split()[1:]) == [], snippet


def test_each_environment_variable_that_is_named_is_read() -> None:
    named = {(word, name) for name, text in _texts().items() for word in re.findall(VARIABLE, text)}
    read = _variables()
    assert len(named) >= len(Settings.model_fields) / 2
    assert sorted((word, name) for word, name in named if word not in read) == []


def test_each_make_target_that_is_named_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"(?m)^([a-z-]+):", makefile))
    variables = set(re.findall(r"\$\((?:or \$\(|if \$\()?([A-Z]+)\)", makefile)) | {"PYTHON"}
    named = [
        (name, word)
        for name, text in _texts().items()
        for snippet in _snippets(text)
        if snippet.startswith("make ")
        for word in snippet.split()[1:]
    ]
    assert len(named) >= 10
    for name, word in named:
        variable, assigned, value = word.partition("=")
        assert variable in (variables if assigned else targets), f"{name}: {word}"
        if variable == "FAULT":
            assert value in {*FAULTS, *TRAFFIC, "failpoints"}, f"{name}: {word}"


def test_the_readme_names_every_fault_that_can_be_run_alone() -> None:
    named = set(re.findall(r"`([a-z_]+)`", PAGES[0].read_text()))
    assert {*FAULTS, *TRAFFIC, "failpoints"} - named == set()


def test_the_help_of_each_command_has_an_example_of_it() -> None:
    for path, command in _commands(COMMAND, "hybrid"):
        if not hasattr(command, "commands") and not command.hidden:
            snippets = list(_snippets(command.help or ""))
            assert any(one.startswith(path) for one in snippets), path


def test_each_option_says_what_it_is_for() -> None:
    silent = [
        f"{path} {one.opts[0]}"
        for path, command in _commands(COMMAND, "hybrid")
        for one in command.params
        if not command.hidden and not getattr(one, "help", None)
    ]
    assert silent == []


def test_each_value_that_a_document_gives_a_variable_is_allowed() -> None:
    given = {
        (name.lower(), value)
        for text in _texts().values()
        for name, value in re.findall(rf"({VARIABLE})=([\w.,:/@-]+)(?=[\s`)])", text)
    }
    assert len(given) >= 8
    for name, value in sorted(given):
        if name in Settings.model_fields:
            assert getattr(Settings.model_validate({name: value}), name) is not None, name


def test_what_does_not_exist_is_found() -> None:
    assert _problems(COMMAND, ["costs", "report", "--by", "tenant"]) == []
    assert _problems(COMMAND, ["costs", "report|nothing", "--never"]) == ["--never", "nothing"]
    assert list(_snippets("`A=1 hybrid up && hybrid down`")) == ["hybrid up", "hybrid down"]

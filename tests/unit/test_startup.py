"""What a command loads before it does anything: not what it does not need."""

import os
import subprocess
import sys
from typing import Any

import pytest
import typer

from hybrid.cli import PARTS, app
from hybrid.commands.costs import PARTS as COST_PARTS

#: What takes long to load, and why nobody needs it to read a help text.
HEAVY = (
    "aiohttp", "aiokafka", "clickhouse_connect", "faust", "genai_prices", "httpx", "jsonschema",
    "matplotlib", "openai", "prometheus_client", "pydantic", "structlog", "tenacity",
)  # fmt: skip
LOADED = """
import sys
from contextlib import suppress
sys.argv = ["hybrid", *{arguments!r}]
from hybrid.cli import main
with suppress(SystemExit):
    main()
print("\\n", *sorted(name for name in {heavy!r} if name in sys.modules))
"""


def loaded(*arguments: str, **variables: str) -> set[str]:
    """Which of the heavy packages a command has loaded by its end."""
    script = LOADED.format(arguments=arguments, heavy=HEAVY)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60,
        env={**os.environ, **variables},
    )  # fmt: skip
    return set(done.stdout.splitlines()[-1].split())


def test_help_loads_nothing_that_is_heavy() -> None:
    assert loaded("--help") == set()


@pytest.mark.parametrize(
    ("line", "allowed"),
    [
        ("hybrid st", {"pydantic"}),  # with which typer reads words
        ("hybrid costs rec", {"aiokafka", "clickhouse_connect", "pydantic"}),
    ],
)
def test_a_name_is_completed_without_the_commands_of_that_name(
    line: str, allowed: set[str]
) -> None:
    asked = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)}
    assert loaded(_HYBRID_COMPLETE="complete_bash", **asked) - allowed == set()


@pytest.mark.parametrize(
    ("arguments", "needless"),
    [
        (("results", "--help"), {"clickhouse_connect", "genai_prices", "openai", "aiohttp"}),
        (("dlq", "list", "--help"), {"clickhouse_connect", "genai_prices", "openai", "aiohttp"}),
        (("publish", "--help"), {"clickhouse_connect", "genai_prices", "openai", "aiohttp"}),
        (("costs", "report", "--help"), {"genai_prices", "openai", "httpx", "aiohttp"}),
        (("trace", "--help"), {"genai_prices", "openai", "httpx", "aiohttp", "jsonschema"}),
    ],
)
def test_a_command_loads_its_own_libraries_only(
    arguments: tuple[str, ...], needless: set[str]
) -> None:
    assert loaded(*arguments) & {*needless, "faust", "matplotlib", "structlog"} == set()


@pytest.mark.parametrize("name", ["", "costs"])
def test_the_sentences_of_help_are_those_of_the_commands(name: str) -> None:
    group: Any = typer.main.get_command(app)
    parts = COST_PARTS if name else PARTS
    commands = group.commands[name].commands if name else group.commands
    for part in parts:
        for command, sentence in part.sentences.items():
            assert commands[command].hidden is (sentence is None)
            assert sentence is None or commands[command].help.splitlines()[0] == sentence

"""Every command that a document shows can be given as it stands, and something runs it or says not.

Links to other hosts are listed here; nothing fetches them.
"""

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import typer

from agents.deciding.structured import check_schema
from hybrid.cli import app
from hybrid.config import load_settings
from schemas.codec import read_intent
from tests.documented import ROOT, Block, command_lines, command_pages, shown

TREE = typer.main.get_command(app)
BLOCKS = [block for page in command_pages() for block in shown(page) if block.has_commands]
#: Runs what is marked with it, all of it; other tests are asked whether they name the commands.
GUIDES = "tests/slow/test_guides.py"
WHERE = [f"{one.page.relative_to(ROOT)}:{one.line}" for one in BLOCKS]


@pytest.mark.parametrize("block", BLOCKS, ids=WHERE)
def test_a_block_of_commands_is_run_by_a_test_or_says_why_not(block: Block) -> None:
    assert block.mark is not None, "put `<!-- runs: tests/… -->` or `<!-- not run: … -->` before it"
    kind, told = block.mark
    if kind == "not run":
        assert len(told.split()) >= 3, "say why"
        return
    test = ROOT / told
    assert test.is_file()
    if told == GUIDES:
        return
    text = test.read_text()
    for line in block.hybrid_lines():
        words = [word for word in shlex.split(line)[1:] if re.fullmatch(r"-*[a-z-]+", word)]
        is_read = f'"{block.page.name}"' in text
        assert is_read or all(f'"{word}"' in text for word in words), f"{told} runs no `{line}`"


@pytest.mark.parametrize("block", BLOCKS, ids=WHERE)
def test_a_command_is_understood_by_the_command(block: Block) -> None:
    for line in block.hybrid_lines():
        words = shlex.split(re.split(r"\s(?:>|2>)", line)[0])[1:]
        assert _problem(words) is None, f"{line}: {_problem(words)}"


def _problem(words: list[str]) -> str | None:
    """Say what the command would, had it been given these words; None where it would run."""
    command: Any = TREE
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]
    if hasattr(command, "commands") and words == ["--install-completion"]:
        return None
    try:
        command.make_context("hybrid", list(words))
    except Exception as error:  # noqa: BLE001 - typer keeps its errors to itself
        return str(getattr(error, "message", error)) or type(error).__name__
    return None


def test_what_is_wrong_is_found() -> None:
    assert _problem(["costs", "report", "--by", "tenant"]) is None
    assert _problem(["costs", "report", "--format", "tabular"])
    assert _problem(["results", "--limit", "many"])
    assert _problem(["results", "--never"])
    assert _problem(["dlq", "show"])
    assert command_lines("A=1 hybrid up && echo x | hybrid publish - &") == [
        "hybrid up", "echo x", "hybrid publish -", "",
    ]  # fmt: skip


def test_blocks_are_found_with_their_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "text\n    no block\n\n<!-- runs: x -->\n\n    hybrid a  # why\n\n    hybrid b\n\nmore\n\n"
        "    hybrid ──► no command\n\n```sh\nhybrid c\n```\n"
    )
    found = [(one.mark, one.hybrid_lines()) for one in shown(page) if one.has_commands]
    assert found == [(("runs", "x"), ["hybrid a", "hybrid b"]), (None, ["hybrid c"])]


TABLES = [
    block
    for page in command_pages()
    for block in shown(page)
    if re.match(r"\[\[?[a-z_]+\]", block.lines[0])
]


@pytest.mark.parametrize("block", TABLES, ids=lambda one: f"{one.page.name}:{one.line}")
def test_a_table_of_hybrid_toml_is_accepted(block: Block, tmp_path: Path) -> None:
    text = "\n".join(block.lines)
    assert tomllib.loads(text)
    file = tmp_path / "hybrid.toml"
    file.write_text(text)
    load_settings(environment={"OPENAI_API_KEY": "key"}, file=file)


INTENTS = [
    block
    for page in command_pages()
    for block in shown(page)
    if block.lines[0].startswith("{") and '"type"' in block.lines[0] and "…" not in block.lines[0]
]


@pytest.mark.parametrize("block", INTENTS, ids=lambda one: f"{one.page.name}:{one.line}")
def test_an_intent_that_a_page_shows_is_taken_with_all_its_fields(block: Block) -> None:
    value = "\n".join(block.lines).encode()
    intent, _ = read_intent(value, max_bytes=100_000, refuse_unknown=True)
    assert check_schema(intent.response_schema or {}) is None


def test_there_are_tables_and_intents_among_the_blocks() -> None:
    assert len(TABLES) >= 2
    assert len(INTENTS) >= 3


#: Where documents link to. A new host is a decision: is it public, and will it stay?
HOSTS = {
    "docs.litellm.ai", "docs.temporal.io", "faststream.ag2.ai",
    "focus.finops.org", "github.com", "learn.microsoft.com", "pre-commit.com",
    "www.standardwebhooks.com",
}  # fmt: skip


def test_links_to_other_hosts_lead_to_known_ones_by_https() -> None:
    named: dict[str, set[str]] = {}
    for page in command_pages():
        for link in re.findall(r"\]\(((?:https?:)?//[^)\s]+)\)", page.read_text()):
            named.setdefault(urlsplit(link).netloc, set()).add(f"{page.name}: {link}")
            assert link.startswith("https://"), link
    assert len(named) >= 5
    assert {host: pages for host, pages in named.items() if host not in HOSTS} == {}

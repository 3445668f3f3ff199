"""The commands of README and guides, run as they stand against a running stack, page by page."""

import asyncio
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from streams.kafka.topics import ensure_topics
from tests.chaos.running import RunningStack
from tests.documented import ROOT, Block, command_pages, shown
from tests.integration.databases import address_of, migrated, with_database
from tests.integration.driving import Case, eventually
from tests.integration.forked import Forked

pytestmark = pytest.mark.integration

HERE = Path(__file__).relative_to(ROOT).as_posix()
PAGES = {
    page.relative_to(ROOT).as_posix(): [
        block for block in shown(page) if block.mark == ("runs", HERE)
    ]
    for page in command_pages()
}
#: What a provider's export looks like, by its name in the pages.
EXPORTS = {
    "usage.csv": "date,model,requests,cost\n2026-01-31,gpt-6-luna,4,0.020\n",
    "costs.json": '[{"date": "2026-01-31", "model": "gpt-6-luna", "cost": 0.020}]',
}
#: Commands that write to what other tests read get topics and tables of their own.
WRITES = re.compile(r"--yes|costs rebuild|topics ensure|migrate$")
#: They end with Ctrl-C only.
ENDLESS = re.compile(r"--follow(?!.*--limit)|--watch")


@pytest.fixture(scope="module")
def dead_letter(stack: RunningStack) -> str:
    """The id of an intent that a provider has refused, for the pages' `ID`; another has a result."""
    refused, served = Case(stack), Case(stack)
    stack.set_faults({"openai": {"always": "400"}, "azure": {}})
    refused.publish(refused.intent())
    letter = refused.dead_letter()
    stack.set_faults({"openai": {"latency_ms": 5}, "azure": {"latency_ms": 5}})
    served.publish(served.intent())
    assert served.result()
    return str(letter["intent_id"])


@pytest.fixture(scope="module")
def own(stack: RunningStack) -> dict[str, str]:
    """Variables that lead to topics and tables of these tests' own, both made."""
    prefix = {"hybrid_topic_prefix": "guides"}
    settings = with_database(stack.settings).model_copy(update=prefix)
    migrated(settings).close()
    asyncio.run(ensure_topics(settings))
    return {"HYBRID_TOPIC_PREFIX": "guides", "CLICKHOUSE_URL": address_of(settings)}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with the files that the pages name."""
    for name, text in EXPORTS.items():
        (tmp_path / name).write_text(text)
    shutil.copy(ROOT / "examples/intents.jsonl", tmp_path)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", [name for name, blocks in PAGES.items() if blocks])
def test_the_commands_of_a_page_run_as_they_stand(
    page: str, stack: RunningStack, dead_letter: str, own: dict[str, str], folder: Path
) -> None:
    stack.set_faults({"openai": {"latency_ms": 5}, "azure": {"latency_ms": 5}})
    done = []
    for line in _lines(PAGES[page]):
        command = re.sub(r"\bID\b", dead_letter, line)
        environment = stack.stack.environment() | {"OPENAI_API_KEY": "sk-none"}
        if WRITES.search(command):
            environment |= own
        done.append((line, *_ran(command, environment, folder)))
    assert done
    failed = [(line, said) for line, status, said in done if status != 0]
    assert failed == []


def _lines(blocks: list[Block]) -> list[str]:
    bare = [re.split(r"\s#\s", f"{line} ")[0].strip() for one in blocks for line in one.lines]
    return [line for line in bare if line]


def _ran(command: str, environment: dict[str, str], folder: Path) -> tuple[int, str]:
    """Run a line to its end; gives its status, and what it said."""
    if re.search(r"[|>&]", command):
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-ec", command], env={**environment, "PATH": path}, cwd=folder, timeout=90,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr
    running = Forked(*shlex.split(command)[1:], environment=environment, folder=folder)
    if not ENDLESS.search(command):
        return running.wait(90), running.said()
    eventually(lambda: running.stdout, bool, within_s=60)
    running.interrupt()
    status = running.wait(30)
    return status - 130, running.said()  # what a shell says of a program that Ctrl-C has ended

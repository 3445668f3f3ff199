"""The README's way onto somebody else's Kafka, run word for word by an installed `hybrid`."""

import os
import re
import signal
import socket
import subprocess
import sys
import sysconfig
from contextlib import suppress
from pathlib import Path

import pytest
from pydantic import SecretStr

from hybrid.config import load_settings
from hybrid.stack.process import free_port
from streams.store.clickhouse import ClickHouse, ClickHouseRefusedError, ClickHouseUnavailableError
from tests.chaos.running import RunningStack
from tests.integration.driving import eventually
from tests.integration.secure_kafka import SecureKafka

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
HEADING = "### Your own Kafka, ClickHouse and keys\n"


def page() -> tuple[list[str], str, str]:
    """The variables that the page asks for; how the simulator plays providers; the rest."""
    text = (ROOT / "README.md").read_text().partition(HEADING)[2].partition("\n#")[0]
    blocks = re.findall(r"(?m)(?:^    .*\n)+", text)
    asked, simulator, rest = (re.sub(r"(?m)^    ", "", block) for block in blocks)
    return re.findall(r"(?m)^export (\w+)=", asked), simulator, rest


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `hybrid` in it: the wheel, installed beside what the lock brings."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q"]
    subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], check=True, timeout=120)
    # Found after the wheel's own packages; the checkout is not on it.
    libraries = next(folder.glob("lib/python*/site-packages")) / "libraries.pth"
    libraries.write_text(sysconfig.get_paths()["purelib"] + "\n")
    where = [str(python), "-c", "import hybrid; print(hybrid.__file__)"]
    found = subprocess.run(where, capture_output=True, text=True, check=True, cwd=folder)
    assert found.stdout.startswith(str(folder))
    return folder / "bin"


def is_free(port: str) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", int(port)))
        except OSError:
            return False
    return True


def on_free_ports(script: str, environment: dict[str, str]) -> str:
    """The script as it stands; only a port that somebody on this machine has is another one."""
    for port in set(re.findall(r"\b(?:8089|9465)\b", script)):
        if not is_free(port):
            script = script.replace(port, str(free_port()))
    if not is_free("9464"):
        environment["HYBRID_METRICS_PORT"] = str(free_port())
    return script


def test_the_page_brings_a_stranger_to_a_result(
    installed: Path, secure: SecureKafka, clickhouse: str, tmp_path: Path
) -> None:
    asked, simulator, rest = page()
    url = f"http://user:password@{clickhouse}/hybrid"
    assert asked == ["KAFKA_BOOTSTRAP_SERVERS", "CLICKHOUSE_URL", "OPENAI_API_KEY"]
    environment = {
        "PATH": f"{installed}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "KAFKA_BOOTSTRAP_SERVERS": secure.at("PLAINTEXT"),
        "CLICKHOUSE_URL": url,
    }
    script = on_free_ports(simulator + rest, environment)
    until_here, ending = script[: script.index("kill ")], script[script.index("kill ") :]
    output = (tmp_path / "output").open("w+")
    # As at a terminal: line by line, and the last one when there is a row to be seen.
    shell = subprocess.Popen(
        ["bash", "-e"],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=tmp_path,
        env=environment,
        start_new_session=True,
    )
    assert shell.stdin is not None
    shell.stdin.write(until_here)
    shell.stdin.flush()

    def said() -> str:
        logs = {log.name: log.read_text()[-2000:] for log in tmp_path.glob("*.log")}
        return f"{(tmp_path / 'output').read_text()}\n{logs}"

    def recorded() -> bool:
        assert shell.poll() is None, said()
        try:
            store = ClickHouse(load_settings(environment={}, clickhouse_url=SecretStr(url)))
            query = "SELECT count() FROM workflow_outcomes WHERE intent_id = 'o-1'"
            return bool(store.rows(query)[1][0][0])
        except (ClickHouseRefusedError, ClickHouseUnavailableError):
            return False  # neither it nor its tables are there yet

    try:
        eventually(recorded, bool, within_s=90)
        shell.stdin.write(ending)
        shell.stdin.close()
        assert shell.wait(60) == 0, said()
    finally:
        with suppress(ProcessLookupError):  # all has ended, as it should
            os.killpg(shell.pid, signal.SIGKILL)
        output.close()
    shown = said()
    assert "published 1" in shown
    assert '"intent_id":"o-1"' in shown
    assert "broken" not in shown
    assert '"worker_stopped"' in (tmp_path / "worker.log").read_text()
    assert '"recorder_stopped"' in (tmp_path / "recorder.log").read_text()


def test_the_program_of_the_page_prints_a_result_and_what_it_cost(stack: RunningStack) -> None:
    section = (ROOT / "README.md").read_text().partition("### From your own program\n")[2]
    found = re.search(r"(?m)(?:^(?:    .*)?\n)+", section)
    assert found is not None
    program = re.sub(r"(?m)^    ", "", found[0])
    its = {  # the prefix is there where the stack's broker has other guests
        "KAFKA_BOOTSTRAP_SERVERS": stack.settings.kafka_bootstrap_servers or "",
        "HYBRID_TOPIC_PREFIX": stack.settings.hybrid_topic_prefix or "",
    }
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, timeout=90, check=False, cwd=ROOT,
        env={**os.environ, **its},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r" 0\.\d+\n$", done.stdout), done.stdout

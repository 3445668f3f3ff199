"""The tests' own processes: what was forked ends with who had it forked, however that ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hybrid.stack.ground import answers
from hybrid.stack.process import free_port
from tests.integration.driving import eventually

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
OWNER = """
import sys, time
from pathlib import Path
from tests.chaos.forking import ForkedChild
if __name__ == "__main__":
    port, log = sys.argv[1:]
    ForkedChild("it", "simulator", "--port", port, log_file=Path(log), environment={})
    time.sleep(600)
"""


def test_what_was_forked_ends_although_its_owner_is_killed(tmp_path: Path) -> None:
    port = free_port()
    owner = tmp_path / "owner.py"
    owner.write_text(OWNER)
    process = subprocess.Popen(
        [sys.executable, str(owner), str(port), str(tmp_path / "log")],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        eventually(lambda: answers(port, "/_sim/calls"), bool, within_s=120)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    eventually(lambda: answers(port, "/_sim/calls"), lambda up: not up, within_s=30)

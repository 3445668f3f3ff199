"""Debian's debootstrap: a root folder of packages, made as slowly as the machine is, in sight."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from tests.deploy.engine import EngineMissingError
from tests.deploy.janitor import unmount_below

__all__ = ["make_root"]

#: It takes 50 s of CPU: a minute on an idle machine, a quarter of an hour was seen on a busy one.
LIMIT_S = 3600
#: A line of what it does is shown so often.
SHOWN_EVERY_S = 10


def make_root(root: Path, suite: str, packages: Sequence[str], *, limit_s: float = LIMIT_S) -> None:
    """Fill a folder, as root; raises EngineMissingError. What it mounts there is unmounted again."""
    if shutil.which("debootstrap") is None:
        message = "debootstrap is missing: `apt-get install debootstrap`"
        raise EngineMissingError(message)
    log = root.with_name(f"{root.name}.log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["debootstrap", "--variant=minbase", f"--include={','.join(packages)}", suite, root],
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
    try:
        ended = _watch(process, log, limit_s)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        unmount_below(root)  # it leaves /proc there when it fails or is ended
    if not ended or process.returncode:
        why = "failed" if ended else f"did not end within {limit_s:.0f} s"
        message = f"debootstrap {why}; the last that it said: {_last(log)}"
        raise EngineMissingError(message)


def _watch(process: subprocess.Popen[bytes], log: Path, limit_s: float) -> bool:
    """Show how it goes on until it has ended; gives whether it has, within the limit."""
    began = time.monotonic()
    while (left := began + limit_s - time.monotonic()) > 0:
        try:
            process.wait(min(SHOWN_EVERY_S, left))
        except subprocess.TimeoutExpired:
            print(f"  {time.monotonic() - began:4.0f} s: {_last(log)}", flush=True)
        else:
            return True
    return False


def _last(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "nothing yet"

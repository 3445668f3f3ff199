"""What removes the rest of a test run from a container engine when the run is killed.

A program beside the tests, which reads from them until they end, however that is.
Nothing is left for it where the run says that it is done; else it removes the run's containers, by
their ids, and ends the engine that was started for the run, by its process id. Testcontainers has a
container for this (ryuk), whose image is not there where nothing can be pulled.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from testcontainers.core.labels import LABEL_SESSION_ID, SESSION_ID

__all__ = ["MINE", "Janitor", "remove_folder", "unmount_below"]

ROOT = Path(__file__).resolve().parents[2]
#: Which containers are of this run, as `docker ps --filter` takes it.
MINE = f"label={LABEL_SESSION_ID}={SESSION_ID}"
DONE = "done"
#: As long as an engine may take to stop its containers.
ENGINE_LIMIT_S = 120
LEAVING_S = 30


class Janitor:
    """The program, as long as the block runs; its input ends with this process, however it ends."""

    def __init__(self, host: str | None, folder: Path | None, *, keep: bool) -> None:
        """Watch over an engine at `host`, None for the machine's own.

        In the folder lie the data of one that was started for the run; `keep` leaves them there.
        """
        command = (sys.executable, "-m", __name__, MINE, host or "", str(folder or ""))
        self._process = subprocess.Popen(
            [*command, "keep" if keep else ""], cwd=ROOT, stdin=subprocess.PIPE, text=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the tests, which clean up by themselves
        )  # fmt: skip

    def dismiss(self) -> None:
        """Nothing is left to remove."""
        try:
            self._process.communicate(DONE, timeout=LEAVING_S)
        except subprocess.TimeoutExpired:  # where nobody gets a turn
            self._process.kill()


def unmount_below(folder: Path) -> None:
    """Unmount what is mounted in a folder, the innermost first: it could not be deleted, or worse."""
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for place in sorted(mounted, key=len, reverse=True):
        if place.startswith(f"{folder}/"):
            subprocess.run(["umount", place], check=False)


def remove_folder(folder: Path) -> None:
    """Delete the data of an engine; a name space that it leaves mounted would keep the folder."""
    unmount_below(folder)
    shutil.rmtree(folder, ignore_errors=True)


def _remove_containers(mine: str, host: str) -> None:
    environment = {**os.environ, **({"DOCKER_HOST": host} if host else {})}
    listed = subprocess.run(
        ["docker", "ps", "--all", "--quiet", "--no-trunc", "--filter", mine],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    ids = listed.stdout.split()
    if ids:
        remove = ["docker", "rm", "--force", "--volumes", *ids]
        subprocess.run(remove, env=environment, capture_output=True, check=False)


def _end_engine(folder: Path) -> None:
    """End the engine that notes its process id in its folder, and nobody else."""
    try:
        pid = int((folder / "pid").read_text())
        if f"{folder}/data" not in _command_of(pid):
            return
        os.kill(pid, signal.SIGTERM)
    except (OSError, ValueError):
        return  # it has ended, or never began
    deadline = time.monotonic() + ENGINE_LIMIT_S
    while f"{folder}/data" in _command_of(pid) and time.monotonic() < deadline:
        time.sleep(0.1)


def _command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def main() -> None:
    """Wait until the tests have ended; clean up if they did not say that they have."""
    mine, host, folder, keep = sys.argv[1:]
    if sys.stdin.read() == DONE:
        return
    _remove_containers(mine, host)
    if folder:
        _end_engine(Path(folder))
        if not keep:
            remove_folder(Path(folder))


if __name__ == "__main__":
    main()

"""The command `hybrid` without the second that its imports take: forked from a process that has them.

What runs is the command as it is installed, in a process, an environment, a folder and with
standard streams of its own; only the modules are there already. Tests start hundreds of commands.
How a fresh interpreter starts it is seen by the tests of the production install.
"""

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path

__all__ = ["run_forked", "starts_otherwise"]

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 90


#: What an interpreter reads when it starts: with these a command needs one of its own.
AT_START = ("PYTHON", "LC_", "LANG", "LD_", "MALLOC")


def starts_otherwise(environment: Iterable[str]) -> bool:
    """Whether a command with these variables needs an interpreter of its own."""
    return any(name.startswith(AT_START) for name in environment)


class _Server:
    """One for the session of a test process, started at its first command."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self.path = ""

    def ensure(self) -> str:
        """Give the address where it listens."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self.path = str(Path(tempfile.mkdtemp(prefix="hybrid-fork-")) / "s")
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "tests.integration.forked", self.path],
                    cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                )  # fmt: skip
                assert self._process.stdout is not None
                assert self._process.stdout.readline() == b"ready\n"
                atexit.register(self._process.terminate)
            return self.path


_SERVER = _Server()


def run_forked(
    arguments: tuple[str, ...], *, environment: dict[str, str], given: str | None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; raises subprocess.TimeoutExpired after 90 s."""
    with (
        tempfile.TemporaryFile() as stdin,
        tempfile.TemporaryFile() as stdout,
        tempfile.TemporaryFile() as stderr,
        socket.socket(socket.AF_UNIX) as asked,
    ):
        stdin.write((given or "").encode())
        stdin.seek(0)
        asked.connect(_SERVER.ensure())
        asked.settimeout(LIMIT_S)
        wanted = {"arguments": arguments, "environment": environment, "folder": str(Path.cwd())}
        body = json.dumps(wanted).encode()
        socket.send_fds(
            asked,
            [len(body).to_bytes(4, "big")],
            [stdin.fileno(), stdout.fileno(), stderr.fileno()],
        )
        asked.sendall(body)
        pid = int.from_bytes(_exactly(asked, 4), "big")
        try:
            status = int.from_bytes(_exactly(asked, 4), "big", signed=True)
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(arguments, LIMIT_S) from None
        texts = []
        for stream in (stdout, stderr):
            stream.seek(0)
            texts.append(stream.read().decode().replace("\r\n", "\n"))
        return subprocess.CompletedProcess(arguments, status, *texts)


def _exactly(source: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        more = source.recv(size - len(found))
        assert more, "the process that forks commands has gone"
        found += more
    return found


# ── the process that forks ──────────────────────────────────────────────────────────────────────


def _serve(path: str) -> None:
    """Import what commands import, then fork one for each connection."""
    import gc

    import hybrid.cli
    import hybrid.runtime  # noqa: F401 - what commands import only when they run

    gc.collect()
    gc.freeze()  # a child that collects would copy all of it
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # those who wait for commands end unheard
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(64)
        os.write(1, b"ready\n")
        while True:
            asked, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _attend(asked)
            asked.close()


def _attend(asked: socket.socket) -> None:
    """Fork the command, tell its pid, and how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    size, descriptors, _, _ = socket.recv_fds(asked, 4, 3)
    wanted = json.loads(_exactly(asked, int.from_bytes(size, "big")))
    pid = os.fork()
    if pid == 0:
        asked.close()
        _become(wanted, descriptors)
    asked.sendall(pid.to_bytes(4, "big"))
    _, ended = os.waitpid(pid, 0)
    asked.sendall(os.waitstatus_to_exitcode(ended).to_bytes(4, "big", signed=True))
    os._exit(0)


def _become(wanted: dict[str, object], descriptors: list[int]) -> None:
    """Be the command; never returns."""
    from hybrid.cli import main

    for target, source in enumerate(descriptors):
        os.dup2(source, target)
        os.close(source)
    os.environ.clear()
    os.environ.update(wanted["environment"])  # type: ignore[call-overload]
    time.tzset()
    os.chdir(str(wanted["folder"]))
    # As an interpreter opens them.
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(  # noqa: SIM115
        2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False
    )
    # Help and errors name the program by these two.
    sys.modules["__main__"].__package__ = "hybrid"
    sys.argv = [str(ROOT / "hybrid/__main__.py"), *wanted["arguments"]]  # type: ignore[misc]
    status = 0
    try:
        main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:  # noqa: BLE001 - it ends the command, and is shown, whatever it is
        import traceback

        traceback.print_exc()
        status = 1
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            status = status or 1
    os._exit(status)


if __name__ == "__main__":
    _serve(sys.argv[1])

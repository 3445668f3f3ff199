"""`hybrid` in processes of its own, without the second that each takes to load.

They are forked from one that has loaded everything, and are alone from then on: their own
connections, threads, files and death.
"""

import ctypes
import multiprocessing
import multiprocessing.forkserver
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from hybrid.stack.process import PR_SET_PDEATHSIG, Child

__all__ = ["ForkedChild", "fork", "starts_otherwise"]

PR_SET_NAME = 15
#: What an interpreter reads when it starts: with these a command needs one of its own.
AT_START = ("PYTHON", "LC_", "LANG", "LD_", "MALLOC")
#: What workers, recorders, servers and commands load, some of it only when it is used.
LOADED = (
    "__main__", "hybrid.cli", "hybrid.runtime", "hybrid.doctor", "hybrid.printing",
    "hybrid.commands.costs", "hybrid.commands.data", "hybrid.commands.letters",
    "hybrid.commands.operate", "hybrid.commands.stack", "hybrid.commands.status",
    "hybrid.commands.trace", "hybrid.stack.simulator",
    "concurrent.futures.thread", "encodings.idna", "rich._emoji_codes", "rich._unicode_data",
    "typer._adapters",
)  # fmt: skip

_forking = multiprocessing.get_context("forkserver")
_forking.set_forkserver_preload(list(LOADED))


def starts_otherwise(environment: Iterable[str]) -> bool:
    """Whether a command with these variables needs an interpreter of its own."""
    return any(name.startswith(AT_START) for name in environment)


def fork(
    arguments: tuple[str, ...],
    *,
    environment: Mapping[str, str],
    folder: Path,
    streams: tuple[Path, Path, Path],
) -> multiprocessing.process.BaseProcess:
    """Start `hybrid` with these arguments, which reads and writes these files."""
    process = _forking.Process(
        target=_run,
        args=(arguments, dict(environment), tuple(map(str, streams)), str(folder)),
        daemon=True,
    )
    process.start()
    return process


class ForkedChild(Child):
    """A part of a stack, forked."""

    def __init__(
        self, name: str, *arguments: str, log_file: Path, environment: Mapping[str, str]
    ) -> None:
        self.name = name
        self.log_file = log_file
        whole = {**os.environ, **environment}
        streams = (Path(os.devnull), log_file, log_file)
        self._process = _Process(  # type: ignore[assignment]
            fork(arguments, environment=whole, folder=Path.cwd(), streams=streams)
        )


class _Process:
    """What is asked of a subprocess.Popen, of one that was forked; any thread may ask."""

    def __init__(self, process: multiprocessing.process.BaseProcess) -> None:
        self._process = process
        self._asking = threading.Lock()  # what it ended with can be read only once
        assert process.pid is not None
        self.pid: int = process.pid

    def poll(self) -> int | None:
        with self._asking:
            return self._process.exitcode

    def wait(self, within_s: float) -> None:
        with self._asking:
            self._process.join(within_s)
            if self._process.exitcode is None:
                raise subprocess.TimeoutExpired(str(self.pid), within_s)

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()


def _run(
    arguments: tuple[str, ...], environment: dict[str, str], streams: tuple[str, ...], folder: str
) -> None:
    os.setpgid(0, 0)
    # Who runs the tests in the background ignores Ctrl-C, and leaves that to all that come of it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        libc.prctl(PR_SET_NAME, arguments[0].encode())  # which it is, for who looks at processes
    # The server ends when nobody holds this: one that was forked must not keep it, and so itself,
    # alive when the tests are killed. (Until here it does: then the server's end is told to it.)
    held = multiprocessing.forkserver._forkserver
    os.close(held._forkserver_alive_fd)  # type: ignore[attr-defined]
    held._forkserver_alive_fd = None  # type: ignore[attr-defined]
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.chdir(folder)
    written = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    for number, (file, flag) in enumerate(
        zip(streams, (os.O_RDONLY, written, written), strict=True)
    ):
        os.dup2(os.open(file, flag, 0o600), number)
    sys.stdin = os.fdopen(0)
    sys.argv = ["hybrid", *arguments]
    from hybrid.cli import main

    main()

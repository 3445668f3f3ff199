"""`hybrid` in a process of its own, without the second that it takes to load: forked, loaded once."""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

__all__ = ["Forked", "starts_otherwise"]

#: What an interpreter reads when it starts: with these a command needs one of its own.
AT_START = ("PYTHON", "LC_", "LANG", "LD_", "MALLOC")

_forking = multiprocessing.get_context("forkserver")
_forking.set_forkserver_preload(["__main__", "hybrid.cli", "hybrid.runtime", "hybrid.doctor"])


def starts_otherwise(environment: Iterable[str]) -> bool:
    """Whether a command with these variables needs an interpreter of its own."""
    return any(name.startswith(AT_START) for name in environment)


class Forked:
    """A running command; `wait` for its end."""

    def __init__(
        self, *arguments: str, environment: Mapping[str, str], folder: Path, given: str = ""
    ) -> None:
        name = f"{time.monotonic_ns()}-{arguments[0]}"
        self._given, self._out, self._err = (
            folder / f"{name}.{end}" for end in ("in", "out", "err")
        )
        self._given.write_text(given)
        self._out.touch()
        self._err.touch()
        kept = {
            name: os.environ[name]
            for name in ("PATH", "HOME", "XDG_STATE_HOME")
            if name in os.environ
        }
        files = tuple(map(str, (self._given, self._out, self._err)))
        self._process = _forking.Process(
            target=_run,
            args=(arguments, {**kept, **environment}, files, str(Path.cwd())),
            daemon=True,
        )
        self._process.start()

    def wait(self, within_s: float = 60) -> int:
        """Its exit status; it is ended when it takes too long."""
        self._process.join(within_s)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join(5)
            pytest.fail(f"it did not end within {within_s} s: {self.said()}")
        assert "Traceback" not in self.stderr, self.stderr
        return self._process.exitcode

    def interrupt(self) -> None:
        """What Ctrl-C does."""
        assert self._process.pid
        os.kill(self._process.pid, signal.SIGINT)

    def stop(self, within_s: float = 30) -> int:
        self._process.terminate()
        return self.wait(within_s)

    def kill(self) -> None:
        """Kill -9."""
        self._process.kill()
        self._process.join(10)

    @property
    def running(self) -> bool:
        return self._process.exitcode is None

    @property
    def stdout(self) -> str:
        return self._out.read_text()

    @property
    def stderr(self) -> str:
        return self._err.read_text()

    def said(self) -> str:
        return f"{self.stdout[-2000:]}\n{self.stderr[-2000:]}"


def _run(
    arguments: tuple[str, ...], environment: dict[str, str], files: tuple[str, ...], folder: str
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.chdir(folder)
    flags = (os.O_RDONLY, os.O_WRONLY | os.O_CREAT, os.O_WRONLY | os.O_CREAT)
    for number, (file, flag) in enumerate(zip(files, flags, strict=True)):
        os.dup2(os.open(file, flag, 0o600), number)
    sys.stdin = os.fdopen(0)
    sys.argv = ["hybrid", *arguments]
    from hybrid.cli import main

    main()

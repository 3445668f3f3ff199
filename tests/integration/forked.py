"""A command of `hybrid` that was forked: what it was given, what it said, how it ended."""

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.chaos.forking import fork, starts_otherwise

__all__ = ["Forked", "starts_otherwise"]


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
        self._process = fork(
            arguments,
            environment={**kept, **environment},
            folder=Path.cwd(),
            streams=(self._given, self._out, self._err),
        )

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

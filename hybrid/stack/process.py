"""One child process of the stack: it dies with its parent (Linux), and is ended by its id."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["Child", "free_port", "hybrid_command", "spelled"]

PR_SET_PDEATHSIG = 1


def hybrid_command(*arguments: str) -> list[str]:
    """Give the command line of one of our own commands in this very environment."""
    return [sys.executable, "-m", "hybrid", *arguments]


def spelled(**options: object) -> list[str]:
    """Give options as a command takes them: `data_dir=x` becomes `--data-dir`, `x`."""
    pairs = ((f"--{name.replace('_', '-')}", str(value)) for name, value in options.items())
    return [word for pair in pairs for word in pair]


def free_port() -> int:
    """Ask the system for a port that is free now."""
    import socket  # noqa: PLC0415 - only here

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _die_with_parent() -> None:
    """Have the kernel end this child when its parent dies (Linux); runs between fork and exec."""
    os.setpgid(0, 0)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Child:
    """A running process with its log file."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log_file: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start it; its output goes to `log_file`."""
        self.name = name
        self.log_file = log_file
        with log_file.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own commands
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - single-threaded at that point
            )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def exit_status(self) -> int | None:
        """Give the exit status, or None while it runs."""
        return self._process.poll()

    def ask_to_stop(self) -> None:
        """Send SIGTERM, if it still runs."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def stop(self, *, within_s: float) -> None:
        """Stop it: SIGTERM, then SIGKILL when it takes too long."""
        self.ask_to_stop()
        try:
            self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5)

    def tail(self, lines: int = 5) -> str:
        """Give the last lines of its output."""
        try:
            text = self.log_file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        return "\n".join(text.strip().splitlines()[-lines:])


def wait_until(condition: object, *, within_s: float, every_s: float = 0.05) -> bool:
    """Poll a callable until it gives something true; False when the time is over."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if condition():  # type: ignore[operator]
            return True
        time.sleep(every_s)
    return False


__all__ += ["wait_until"]

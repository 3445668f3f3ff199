"""Where a secret comes from: the configuration, a file, a command; blocking, and never shown."""

import re
import shlex
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Protocol

__all__ = [
    "SENDABLE",
    "Command",
    "Fixed",
    "KeyFile",
    "Mark",
    "Secret",
    "SecretError",
    "Source",
    "mark_of",
    "reason_of",
    "text_of_command",
    "text_of_file",
]

#: What a key may be made of: it goes into a header, and a client's own error for others is unclear.
SENDABLE = re.compile(r"[!-~]+")
#: How often a file is looked at, in seconds: a new key is used that soon, a 401 makes it at once.
LOOK_S = 5.0
#: A command that prints a token must be done in this time, in seconds.
COMMAND_LIMIT_S = 10


#: Tells a file from another one at its place, and from what it was at another time.
Mark = tuple[int, int, int]


class SecretError(ValueError):
    """Raised when a secret cannot be had; says where it was looked for, and never what was seen."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A key or a token; times in seconds from when it was read."""

    text: str = field(repr=False)
    #: After this long it is looked at again, beside the calls.
    fresh_s: float = inf
    #: After this long it is of no use; a key that nobody limits is used until it is refused.
    good_s: float = inf


class Source(Protocol):
    """Where one secret comes from."""

    @property
    def label(self) -> str:
        """What the log calls it: a variable, a file, a way; never the secret."""
        ...

    def read(self, *, anew: bool = False) -> Secret:
        """Give the secret of now; blocks; `anew` after a refusal. Raises SecretError."""
        ...


@dataclass(frozen=True, slots=True)
class Fixed:
    """A secret of the configuration; it stays as it is."""

    label: str
    text: str = field(repr=False)

    def read(self, *, anew: bool = False) -> Secret:  # noqa: ARG002 - there is no other
        """Give it."""
        return Secret(self.text)


class KeyFile:
    """A file that holds one key; read again when it changes."""

    def __init__(self, path: str, *, said: str = "") -> None:
        """Keep the path; `said` is how the configuration calls it, for sentences."""
        self.label = path
        self._said = said or path
        self._path = Path(path)
        self._seen: Mark | None = None
        self._secret: Secret | None = None

    def read(self, *, anew: bool = False) -> Secret:
        """Look whether it is another file than before, or another time, and read it then."""
        try:
            seen = mark_of(self._path)
        except OSError as error:
            self._seen = None
            raise _unreadable(self._said, error) from error
        if anew or self._secret is None or seen != self._seen:
            self._secret = Secret(
                _sendable(text_of_file(self._path, self._said), self._said), LOOK_S
            )
            self._seen = seen
        return self._secret


class Command:
    """A command that prints a token; run again when what it printed is old."""

    def __init__(self, command: str, *, label: str, lasts_s: float) -> None:
        """Keep the command and for how many seconds what it prints is taken for good."""
        self.label = label
        self._command = command
        self._lasts_s = lasts_s

    def read(self, *, anew: bool = False) -> Secret:  # noqa: ARG002 - each run is anew
        """Run it."""
        token = _sendable(text_of_command(self._command, self.label), self.label)
        return Secret(token, self._lasts_s)


def mark_of(path: Path) -> Mark:
    """Give what changes when a file does, without reading it; raises OSError."""
    state = path.stat()
    return state.st_mtime_ns, state.st_ino, state.st_size


def text_of_file(path: Path, said: str) -> str:
    """Read a file that holds one secret, without the space around it; raises SecretError."""
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(said, error) from error
    if not text:
        message = f"{said} is empty: it must hold the secret, and nothing else"
        raise SecretError(message)
    if len(text.splitlines()) > 1:
        message = f"{said} has several lines: it must hold one secret, and nothing else"
        raise SecretError(message)
    return text


def text_of_command(command: str, said: str) -> str:
    """Run a command, without a shell, and give the one word that it prints; raises SecretError."""
    import subprocess  # noqa: PLC0415 - only where a command is configured

    try:
        done = subprocess.run(  # noqa: S603 - the operator's own command, without a shell
            shlex.split(command),
            capture_output=True,
            text=True,
            timeout=COMMAND_LIMIT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        message = f"{said} cannot be run ({type(error).__name__})"
        raise SecretError(message) from None  # the cause of a time-out holds what was printed
    if done.returncode:
        message = f"{said} ended with status {done.returncode}"
        raise SecretError(message)
    words = done.stdout.split()
    if len(words) != 1:
        message = f"{said} printed no token: one word is expected"
        raise SecretError(message)
    return words[0]


def _sendable(text: str, said: str) -> str:
    if SENDABLE.fullmatch(text):
        return text
    message = f"{said} holds no key: that is printable ASCII without spaces"
    raise SecretError(message)


def _unreadable(said: str, error: Exception) -> SecretError:
    return SecretError(f"{said} cannot be read ({reason_of(error)})")


def reason_of(error: Exception) -> str:
    """Say in a few words why a file or a connection failed."""
    said = getattr(error, "strerror", None) or getattr(error, "reason", None) or str(error)
    return str(said).lower().replace("_", " ") or type(error).__name__

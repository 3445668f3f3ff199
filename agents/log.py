"""The log as modules see it: one named event of the closed vocabulary, with fields."""

from typing import Protocol

from schemas.vocabulary import LogEvent

__all__ = ["Log", "silent"]


class Log(Protocol):
    """Writes one log line; fields never hold content, prompts, keys or tokens."""

    def __call__(self, event: LogEvent, /, *, level: str = "info", **fields: object) -> None:
        """Write `event` at `level` (debug, info, warning, error)."""
        ...


def silent(event: LogEvent, /, *, level: str = "info", **fields: object) -> None:
    """Write nothing; for tests and tools."""

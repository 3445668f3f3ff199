"""What executing needs from whoever runs it: a journal, and permission to call."""

from typing import Protocol

from schemas.attempt import ProviderAttempt

__all__ = ["Journal", "LaneLostError", "Permit"]


class LaneLostError(Exception):
    """Raised before a call when the lane that ordered it belongs to another worker now."""


class Journal(Protocol):
    """Puts attempts on record outside the lane's transactions."""

    async def write(self, attempt: ProviderAttempt, traceparent: str | None) -> None:
        """Write and wait until the broker has it."""
        ...

    def post(self, attempt: ProviderAttempt, traceparent: str | None) -> None:
        """Write without waiting."""
        ...


class Permit(Protocol):
    """Whether paid calls may start; both raise LaneLostError when none may any more."""

    async def wait(self) -> None:
        """Wait until a new paid call may start."""
        ...

    async def confirm(self) -> None:
        """Ask once more, at the last moment before a call."""
        ...

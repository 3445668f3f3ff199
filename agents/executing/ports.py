"""What executing needs from whoever runs it: a journal, permission to call, and a memory."""

from typing import Protocol

from schemas.attempt import ProviderAttempt
from schemas.events import KeptCall

__all__ = ["NO_TAKER", "Journal", "LaneLostError", "Permit"]


#: Said to an execution that is cancelled because its intent has been decided elsewhere.
NO_TAKER = "no_taker"


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

    async def keep(self, call: KeptCall) -> None:
        """Have whoever executes the intent next know of an answer that a provider keeps.

        Returns once it is durable; raises LaneLostError.
        """
        ...

    def let_go(self, attempt_id: str) -> None:
        """Have them know that such a call has ended."""
        ...

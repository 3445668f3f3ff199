"""Answers that a provider keeps: where one is, who is told of it, who fetches it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from agents.providers.replies import ChatReply
    from agents.providers.requests import ChatRequest

__all__ = ["GONE", "Keeper", "Keeping", "NotKeptError", "Place"]


#: Code of an answer that its provider keeps no more.
GONE = "response_gone"


@dataclass(frozen=True, slots=True)
class Place:
    """Where an answer is: its id at the provider, and what the log calls the key it is seen by."""

    response_id: str
    key: str = ""


class NotKeptError(Exception):
    """Raised when an answer's place could not be put on record; the cause says why."""


class Keeper(Protocol):
    """Who puts on record what a provider keeps for a call."""

    async def kept(self, place: Place) -> None:
        """Return once it is durable; what this raises ends the call, and cancels nothing."""
        ...


class Keeping(Protocol):
    """The side of a provider on which its answers are kept."""

    @property
    def finds(self) -> bool:
        """Whether the same call, made again, finds the answer of which nothing was heard."""
        ...

    async def fetch(self, request: "ChatRequest", place: Place) -> "ChatReply":
        """Wait for an answer that was asked for before; raises ExecutionError."""
        ...

    async def cancel(self, place: Place) -> "ChatReply | None":
        """End an answer that nobody waits for; gives it where it says what it cost."""
        ...

"""Batches of a provider: what is asked of the side of it that makes them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from agents.providers.replies import ChatReply
    from agents.providers.requests import ChatRequest

__all__ = ["Batching", "SeenBatch"]


@dataclass(frozen=True, slots=True)
class SeenBatch:
    """A batch as its provider shows it."""

    batch_id: str
    status: str
    output_file_id: str = ""
    error_file_id: str = ""
    input_file_id: str = ""
    #: The first thing that it says is wrong, and its code.
    said: str = ""
    code: str = ""


class Batching(Protocol):
    """The side of a provider on which batches are made; all raise what its library raises."""

    def line(self, request: "ChatRequest") -> bytes:
        """Write a line of a batch's file; raises UnwritableRequestError."""
        ...

    async def submit(
        self, content: bytes, *, batch_id: str, key: str, embeds: bool = False
    ) -> SeenBatch:
        """Upload lines, all of embeddings or none, and make a batch with our id in its metadata."""
        ...

    async def found(self, batch_id: str, *, key: str) -> list[SeenBatch]:
        """Give the batches that have our id in their metadata, the newest first."""
        ...

    async def look(self, provider_batch_id: str, *, key: str) -> SeenBatch:
        """Show a batch as it is."""
        ...

    async def cancel(self, provider_batch_id: str, *, key: str) -> None:
        """Begin to cancel a batch."""
        ...

    async def read(self, file_id: str, *, key: str) -> bytes:
        """Give what is in a file."""
        ...

    async def delete(self, file_id: str, *, key: str) -> None:
        """Delete a file."""
        ...

    def reply(
        self, request: "ChatRequest", status: int, body: Mapping[str, Any], number: str
    ) -> "ChatReply":
        """Read what a line was answered; raises ExecutionError."""
        ...

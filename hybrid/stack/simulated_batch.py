"""One batch of a simulated provider, and how it is shown."""

import asyncio
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Batch", "begun", "expired"]


@dataclass(eq=False)
class Batch:
    """One batch, and what of it is answered."""

    provider: str
    document: dict[str, Any]
    #: What becomes of it: `ok`, `fails`, `expires`, `cancelled`, `never`.
    fate: str
    lines: list[dict[str, Any]] = field(default_factory=list)
    #: The model that its lines name, and the tokens of their prompts.
    model: str = ""
    tokens: int = 0
    output: list[dict[str, Any]] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    #: When it was made, in monotonic seconds.
    made: float = field(default_factory=time.monotonic)

    @property
    def status(self) -> str:
        """Where it stands."""
        return str(self.document["status"])

    async def go_on(self, seconds: float) -> None:
        """Wait so long, or until it is cancelled."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.stopped.wait(), seconds)

    def stop(self) -> None:
        """Begin to cancel it."""
        self.turn("cancelling")
        self.stopped.set()

    def turn(self, status: str) -> None:
        """Go on to a state, and note when."""
        self.document |= {"status": status, f"{status}_at": int(time.time())}


def begun(body: dict[str, Any]) -> dict[str, Any]:
    """Give the document of a batch that was just asked for."""
    now = int(time.time())
    return {
        "id": f"batch_{uuid.uuid4().hex}",
        "object": "batch",
        "endpoint": body.get("endpoint"),
        "errors": None,
        "input_file_id": body.get("input_file_id"),
        "completion_window": body.get("completion_window"),
        "status": "validating",
        "output_file_id": None,
        "error_file_id": None,
        "created_at": now,
        "expires_at": now + 86_400,
        "request_counts": {"total": 0, "completed": 0, "failed": 0},
        "metadata": body.get("metadata"),
    }


def expired(line: dict[str, Any]) -> dict[str, Any]:
    """Give what the error file says of a line that was not answered in time."""
    message = "This request could not be executed before the completion window expired."
    return {
        "id": f"batch_req_{uuid.uuid4().hex}",
        "custom_id": line["custom_id"],
        "response": None,
        "error": {"code": "batch_expired", "message": message},
    }

"""Whether topics are there at all: without one a client waits for it, and never names it."""

from collections.abc import Sequence

from schemas.settings import Settings
from streams.kafka.clients import admin_client
from streams.kafka.metadata import see_topics

__all__ = ["SOURCE_HINT", "TopicsError", "refuse_missing", "require_there"]

SOURCE_HINT = "run `hybrid topics ensure` first"


class TopicsError(Exception):
    """Raised when topics are missing or are not what the lanes need."""


async def require_there(settings: Settings, names: Sequence[str]) -> None:
    """Return when topics are there, or may not be seen; raises TopicsError."""
    async with admin_client(settings) as admin:
        seen = await see_topics(admin, list(names))
    refuse_missing([name for name, one in seen.items() if not one.hidden and not one.partitions])


def refuse_missing(names: list[str]) -> None:
    """Return where no topic is missing; raises TopicsError."""
    if names:
        message = f"topics are missing: {', '.join(names)}; {SOURCE_HINT}"
        raise TopicsError(message)

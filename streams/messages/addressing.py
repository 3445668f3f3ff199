"""Where an intent is published, and under which key; pure."""

from schemas.intent import WorkflowIntent
from schemas.topics import Topics
from schemas.vocabulary import Priority

__all__ = ["addressed"]


def addressed(topics: Topics, intent: WorkflowIntent) -> tuple[str, bytes | None]:
    """Give topic and key, as upstream systems choose them; the key is None without any id."""
    urgent = intent.priority in {Priority.HIGH, Priority.CRITICAL}
    key = intent.deduplication_id or intent.intent_id
    return topics.urgent if urgent else topics.intents, key.encode() if key else None

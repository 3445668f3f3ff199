"""The event that makes a repeated intent visible; pure."""

from datetime import datetime

from schemas.events import WorkflowEvent
from schemas.topics import Topics
from schemas.vocabulary import EventName
from streams.messages.records import Identity, Incoming, OutRecord

__all__ = ["duplicate_records"]


def duplicate_records(
    topics: Topics, incoming: Incoming, who: Identity, *, event_id: str, worker: str, now: datetime
) -> OutRecord:
    """Build the event that makes a repeated intent visible."""
    event = WorkflowEvent(
        event_id=event_id,
        name=EventName.DUPLICATE_IGNORED,
        intent_id=who.intent_id,
        tenant=who.intent.tenant if who.intent else "default",
        type=who.intent.type if who.intent else None,
        worker=worker,
        details={
            "deduplication_id": who.stated_key,
            "topic": incoming.topic,
            "partition": incoming.partition,
            "offset": incoming.offset,
        },
        trace_context=who.trace_context,
        occurred_at=now,
    )
    return OutRecord(topics.events, who.intent_id.encode(), event.to_json())

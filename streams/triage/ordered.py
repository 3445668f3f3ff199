"""What operators have ordered, as the topic says it, for people who ask."""

from contextlib import suppress
from datetime import datetime

from pydantic import ValidationError

from schemas.operations import HoldRecord, OperationRecord
from schemas.settings import Settings
from schemas.vocabulary import Held
from streams.kafka.reading import read_topic
from streams.kafka.rights import read_rights, require_rights
from streams.messages.orders import Orders

__all__ = ["named", "read_orders"]


async def read_orders(settings: Settings, now: datetime) -> Orders:
    """Read what holds now.

    Raises RightsError, BrokerUnavailableError, TopicsError, TopicStalledError.
    """
    orders, topic = Orders(), settings.topics.operations
    await require_rights(settings, read_rights(topic))
    async for record in read_topic(settings, topic, needed=True):
        with suppress(ValidationError):  # somebody else's
            match OperationRecord.model_validate_json(record.value or b"").root:
                case HoldRecord() as hold:
                    orders.take(hold)
    orders.forget(now)
    return orders


def named(hold: HoldRecord) -> str:
    """Say what a pause holds: `tenant acme`, `calls to openai`, `all work`."""
    match hold.what:
        case Held.ALL:
            return "all work"
        case Held.PROVIDER:
            return f"calls to {hold.name}"
        case what:
            return f"{what.value} {hold.name}"

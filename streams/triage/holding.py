"""Pausing work and letting it go on: the order as it is written, and what held before it."""

from datetime import datetime

from schemas.operations import HoldRecord
from schemas.settings import Settings
from streams.kafka.rights import order_rights, require_rights
from streams.messages.orders import Orders
from streams.triage.journal import write_operations
from streams.triage.ordered import read_orders

__all__ = ["give_order"]


async def give_order(settings: Settings, hold: HoldRecord, *, now: datetime) -> Orders:
    """Write what is ordered; gives what held before.

    Raises RightsError, BrokerUnavailableError, TopicsError, KafkaError.
    """
    await require_rights(settings, order_rights(settings))
    before = await read_orders(settings, now)
    await write_operations(settings, [hold])
    return before

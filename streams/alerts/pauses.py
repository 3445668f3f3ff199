"""Pauses that last: work that somebody held, and may have forgotten."""

from contextlib import suppress
from datetime import datetime, timedelta

from pydantic import ValidationError

from schemas.base import format_time
from schemas.operations import HoldRecord, OperationRecord
from schemas.settings import Settings
from schemas.vocabulary import Held
from streams.kafka.reading import read_topic
from streams.messages.orders import Orders

__all__ = ["Pauses", "lasting"]

#: So far back a topic is read again that was read to its end: producers' clocks differ.
OVERLAP = timedelta(minutes=10)
ALL = "all"


class Pauses:
    """What is paused, as the topic says it; read from where it was read before."""

    def __init__(self, settings: Settings) -> None:
        """Begin without any."""
        self._settings = settings
        self._orders = Orders()
        self._read_at: datetime | None = None

    async def read(self, now: datetime) -> Orders:
        """Give what holds now; raises BrokerUnavailableError, RightsError, TopicStalledError."""
        since = None if self._read_at is None else self._read_at - OVERLAP
        async for record in read_topic(
            self._settings, self._settings.topics.operations, since=since
        ):
            with suppress(ValidationError):  # somebody else's
                match OperationRecord.model_validate_json(record.value or b"").root:
                    case HoldRecord() as hold:
                        self._orders.take(hold)
        self._read_at = now
        self._orders.forget(now)
        return self._orders


def lasting(orders: Orders, now: datetime, longest_s: float) -> list[tuple[str, str, float, str]]:
    """Give the pauses that have lasted longer: subject, tenant, seconds, and a sentence; pure."""
    found = []
    for hold in orders:
        seconds = (now - hold.at).total_seconds()
        if seconds <= longest_s:
            continue
        named = hold.what is not Held.ALL
        option = f" --{hold.what.value} {hold.name}" if named else ""
        what = f"{hold.what.value} {hold.name}" if named else "all work"
        why = f" ({hold.why})" if hold.why else ""
        message = (
            f"{what} is paused since {format_time(hold.at)}, by {hold.by or 'nobody named'}{why}: "
            f"what waits for it goes on waiting, and deadlines pass; hybrid resume{option} lets it "
            "go on"
        )
        subject = f"{hold.what.value}/{hold.name}" if named else ALL
        tenant = hold.name if hold.what is Held.TENANT else "default"
        found.append((subject, tenant, seconds, message))
    return found

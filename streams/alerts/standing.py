"""Alerts as they stand: the newest word of each cause, of what the topic remembers."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from pydantic import ValidationError

from schemas.events import Alert
from schemas.settings import Settings
from streams.kafka.reading import read_topic

__all__ = ["AlertStanding", "read_alerts", "standing_alerts"]


@dataclass(frozen=True, slots=True)
class AlertStanding:
    """A cause, with its newest word."""

    alert: Alert
    #: When it came up, and when it was over; None = it is on.
    since: datetime
    until: datetime | None
    #: How often it came up.
    times: int


def standing_alerts(said: Iterable[tuple[datetime, Alert]]) -> list[AlertStanding]:
    """Put alerts, in any order, together by cause: those that are on first, the newest first; pure.

    Each comes with when it was said: that it is over says when it was raised, and not when it was
    over. Several processes raise one cause.
    """
    found: dict[tuple[str, str], AlertStanding] = {}
    for at, alert in sorted(said, key=lambda one: one[0]):
        key = alert.name, alert.subject
        known = found.get(key)
        if alert.resolved:
            if known is not None and known.until is None:
                found[key] = replace(known, until=at)
        elif known is None:
            found[key] = AlertStanding(alert, alert.raised_at, None, 1)
        elif known.until is None:
            found[key] = replace(known, alert=alert)
        else:
            found[key] = AlertStanding(alert, alert.raised_at, None, known.times + 1)
    by_age = sorted(found.values(), key=lambda one: one.since, reverse=True)
    return sorted(by_age, key=lambda one: one.until is not None)


async def read_alerts(settings: Settings, *, since: datetime) -> list[AlertStanding]:
    """Read them from a moment on; raises BrokerUnavailableError, RightsError, KafkaError."""
    found = []
    async for record in read_topic(settings, settings.topics.alerts, since=since):
        try:
            alert = Alert.model_validate_json(record.value or b"")
        except ValidationError:
            continue  # somebody else's
        found.append((datetime.fromtimestamp(max(0, record.timestamp) / 1000, UTC), alert))
    return standing_alerts(found)

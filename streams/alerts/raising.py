"""Alerts: on `workflow.alerts` and in the log, once for each cause, and once more when it is over.

Every process sees for itself. The id of an alert is made of cause and hour, so that several
that see the same write the same id.
"""

from collections.abc import Callable

from agents.clock import Clock
from agents.log import Log
from schemas.events import Alert
from schemas.topics import Topics
from schemas.vocabulary import AlertName, LogEvent
from streams.messages.records import OutRecord

__all__ = ["Alerts"]

HOUR_MS = 3_600_000


class Alerts:
    """What is raised now; `raised` and `over` may be called as often as a cause is seen."""

    def __init__(
        self, topics: Topics, *, post: Callable[[OutRecord], None], clock: Clock, log: Log
    ) -> None:
        """Begin with nothing raised; `post` writes an alert's record."""
        self._topic = topics.alerts
        self._post_record = post
        self._clock = clock
        self._log = log
        self._raised: dict[tuple[str, str], Alert] = {}

    def raised(
        self,
        name: AlertName,
        subject: str,
        message: str,
        *,
        tenant: str = "default",
        severity: str = "critical",
    ) -> None:
        """Raise an alert about a subject, unless it is raised already."""
        if (name, subject) in self._raised:
            return
        now_ms = self._clock.now_ms()
        alert = Alert(
            alert_id=f"{name.value}/{subject}/{now_ms // HOUR_MS}",
            name=name.value,
            subject=subject,
            tenant=tenant,
            severity=severity,
            message=message,
            raised_at=self._clock.now(),
        )
        self._raised[name, subject] = alert
        self._log(LogEvent.ALERT_RAISED, level="error", alert=name.value, message=message)
        self._post(alert)

    def over(self, name: AlertName, subject: str) -> None:
        """Say that what was raised is over; nothing to say when it was not raised."""
        alert = self._raised.pop((name, subject), None)
        if alert is None:
            return
        self._log(LogEvent.ALERT_OVER, level="warning", alert=name.value, subject=subject)
        self._post(alert.model_copy(update={"resolved": True}))

    def subjects(self, name: AlertName) -> list[str]:
        """Give what an alert is raised about now."""
        return [subject for raised, subject in self._raised if raised == name]

    def recall(self, alert: Alert) -> None:
        """Take over what an earlier process has said, oldest first."""
        if alert.resolved:
            self._raised.pop((alert.name, alert.subject), None)
        else:
            self._raised[alert.name, alert.subject] = alert

    def forget(self) -> None:
        """Begin anew, without a word."""
        self._raised.clear()

    def _post(self, alert: Alert) -> None:
        self._post_record(OutRecord(self._topic, alert.tenant.encode(), alert.to_json()))

"""A test of the webhook: posted raised, then over, with what it answered; nothing is recorded."""

from collections.abc import AsyncIterator

import httpx

from agents.clock import Clock
from schemas.events import Alert
from schemas.settings import Settings
from streams.alerts.webhook import TIMEOUT_S, post

__all__ = ["NoWebhookError", "WebhookTestError", "send_test"]

#: Signs of an answer that are repeated.
MOST_SAID = 200
SUCCESS = range(200, 300)


class WebhookTestError(Exception):
    """Raised when the webhook did not take a test: says what it answered, or why it could not."""


class NoWebhookError(WebhookTestError):
    """Raised when no webhook is set."""


async def send_test(settings: Settings, *, by: str, clock: Clock) -> AsyncIterator[str]:
    """Post a test and its end; gives a sentence for each that was taken.

    Raises NoWebhookError, WebhookTestError.
    """
    now = clock.now()
    raised = Alert(
        alert_id=f"test/{by}/{now.isoformat()}",
        name="test",
        subject=by,
        severity="info",
        message=f"a test of the webhook by {by}: nothing is wrong",
        raised_at=now,
    )
    for alert in (raised, raised.model_copy(update={"resolved": True})):
        yield await _posted(settings, alert, clock)


async def _posted(settings: Settings, alert: Alert, clock: Clock) -> str:
    """Post one and say what came back; raises WebhookTestError where it was not taken."""
    what, secret = "its end" if alert.resolved else "a test", settings.hybrid_alert_secret
    url, began = settings.hybrid_alert_webhook, clock.monotonic()
    if url is None:
        message = "HYBRID_ALERT_WEBHOOK is not set here: there is nobody to send a test to"
        raise NoWebhookError(message)
    try:
        async with httpx.AsyncClient(timeout=TIMEOUT_S) as session:
            answer = await post(
                session,
                alert,
                url=url.get_secret_value(),
                secret=secret.get_secret_value() if secret else None,
                now_s=clock.now_ms() // 1000,
            )
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        message = (
            f"HYBRID_ALERT_WEBHOOK cannot be reached ({type(error).__name__}): see the address, "
            "and whether this machine may go there"
        )
        raise WebhookTestError(message) from None
    took = round((clock.monotonic() - began) * 1000)
    said = " ".join(answer.text.split())[:MOST_SAID]
    if answer.status_code not in SUCCESS:
        text = f": {said}" if said else ""
        message = f"{what} was not taken: HTTP {answer.status_code} after {took} ms{text}"
        raise WebhookTestError(message)
    signed = "signed" if secret else "not signed (HYBRID_ALERT_SECRET is not set)"
    return f"{what} was taken: HTTP {answer.status_code} after {took} ms; {signed}"

"""Alerts: `hybrid alerts`, and a test of their webhook."""

import asyncio
import time
from datetime import timedelta
from typing import Annotated

import typer

from agents.clock import SystemClock
from hybrid.commands.common import (
    ColumnsOption,
    FormatOption,
    SinceOption,
    WideOption,
    parse_moment,
)
from hybrid.config import load_settings, need_kafka
from hybrid.errors import HybridError, UsageError
from hybrid.printing import Format, View, console, print_table
from hybrid.whoami import who_am_i
from schemas.base import format_time
from schemas.events import Alert
from schemas.settings import Settings
from streams.alerts.standing import AlertStanding, read_alerts
from streams.kafka.rights import read_rights, require_rights

__all__ = ["register"]

COLUMNS = (
    "state", "severity", "alert", "subject", "tenant", "since", "until", "times", "message",
)  # fmt: skip
RANK = ("alert", "subject", "state", "since", "message", "severity", "until", "tenant", "times")
#: As long as the topic keeps them.
KEPT = timedelta(days=31)
#: Signs of an answer that are repeated.
MOST_SAID = 200
SUCCESS = range(200, 300)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(invoke_without_command=True)
    group.callback()(alerts)
    group.command("test")(test)
    app.add_typer(group, name="alerts")


def alerts(
    ctx: typer.Context,
    every: Annotated[bool, typer.Option("--all", help="also those that are over")] = False,
    since: SinceOption = None,
    wide: WideOption = False,
    columns: ColumnsOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Show the alerts that are on, the newest first.

    Example: `hybrid alerts --all --since 24h`
    """
    if ctx.invoked_subcommand is not None:
        return
    view = View(wide, columns, RANK)
    view.chosen(COLUMNS)
    settings, first = need_kafka(load_settings()), parse_moment(since)

    async def read() -> list[AlertStanding]:
        await require_rights(settings, read_rights(settings.topics.alerts))
        return await read_alerts(settings, since=SystemClock().now() - KEPT)

    found = [
        one
        for one in asyncio.run(read())
        if (every or one.until is None) and (first is None or (one.until or one.since) >= first)
    ]
    if not found and form is Format.TABLE:
        more = "" if every else "; `--all` shows those that are over"
        console.print(f"no alert is on{more}" if not every else "no alert", highlight=False)
        return
    print_table(COLUMNS, [_line(one) for one in found], form, view=view)


def _line(one: AlertStanding) -> tuple[object, ...]:
    return (
        "on" if one.until is None else "over",
        one.alert.severity,
        one.alert.name,
        one.alert.subject,
        one.alert.tenant,
        format_time(one.since),
        None if one.until is None else format_time(one.until),
        one.times,
        one.alert.message,
    )


def test() -> None:
    """Send a test to the webhook, raised and over, and say what came back; nothing is recorded.

    Example: `hybrid alerts test`
    """
    settings = load_settings()
    if settings.hybrid_alert_webhook is None:
        message = "HYBRID_ALERT_WEBHOOK is not set here: there is nobody to send a test to"
        raise UsageError(message)
    now = SystemClock().now()
    raised = Alert(
        alert_id=f"test/{who_am_i()}/{now.isoformat()}",
        name="test",
        subject=who_am_i(),
        severity="info",
        message=f"a test of the webhook by {who_am_i()}: nothing is wrong",
        raised_at=now,
    )
    for alert in (raised, raised.model_copy(update={"resolved": True})):
        asyncio.run(_post(settings, alert))


async def _post(settings: Settings, alert: Alert) -> None:
    """Post one and say what came back; raises HybridError where it was not taken."""
    import httpx  # noqa: PLC0415 - no other command of these needs it

    from streams.alerts.webhook import TIMEOUT_S, post  # noqa: PLC0415

    what, secret = "its end" if alert.resolved else "a test", settings.hybrid_alert_secret
    url, began = settings.hybrid_alert_webhook, time.monotonic()
    try:
        async with httpx.AsyncClient(timeout=TIMEOUT_S) as session:
            answer: httpx.Response = await post(
                session,
                alert,
                url=url.get_secret_value() if url else "",
                secret=secret.get_secret_value() if secret else None,
                now_s=SystemClock().now_ms() // 1000,
            )
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        message = (
            f"HYBRID_ALERT_WEBHOOK cannot be reached ({type(error).__name__}): see the address, "
            "and whether this machine may go there"
        )
        raise HybridError(message) from None
    took = round((time.monotonic() - began) * 1000)
    said = " ".join(answer.text.split())[:MOST_SAID]
    if answer.status_code not in SUCCESS:
        text = f": {said}" if said else ""
        message = f"{what} was not taken: HTTP {answer.status_code} after {took} ms{text}"
        raise HybridError(message)
    signed = "signed" if secret else "not signed (HYBRID_ALERT_SECRET is not set)"
    typer.echo(f"{what} was taken: HTTP {answer.status_code} after {took} ms; {signed}")

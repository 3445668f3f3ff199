"""Alerts: `hybrid alerts`, and a test of their webhook."""

import asyncio
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
from streams.alerts.standing import AlertStanding, read_alerts
from streams.kafka.rights import read_rights, require_rights

__all__ = ["register"]

COLUMNS = (
    "state", "severity", "alert", "subject", "tenant", "since", "until", "times", "message",
)  # fmt: skip
RANK = ("alert", "subject", "state", "since", "message", "severity", "until", "tenant", "times")
#: As long as the topic keeps them.
KEPT = timedelta(days=31)


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
    from streams.alerts.proving import (  # noqa: PLC0415 - loads httpx, which no other needs
        NoWebhookError,
        WebhookTestError,
        send_test,
    )

    async def send() -> None:
        async for sentence in send_test(load_settings(), by=who_am_i(), clock=SystemClock()):
            typer.echo(sentence)

    try:
        asyncio.run(send())
    except NoWebhookError as error:
        raise UsageError(str(error)) from None
    except WebhookTestError as error:
        raise HybridError(str(error)) from None

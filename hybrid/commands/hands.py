"""Hands on the work: `hybrid pause|resume`."""

import asyncio
from datetime import timedelta
from typing import Annotated

import typer

from agents.clock import SystemClock
from hybrid.config import load_settings, need_kafka
from hybrid.errors import UsageError
from hybrid.printing import console
from hybrid.text import cell, visible
from hybrid.whoami import who_am_i
from schemas.operations import HoldRecord
from schemas.settings import Settings
from schemas.vocabulary import Held
from streams.kafka.rights import order_rights, require_rights
from streams.messages.orders import Orders, ends_at
from streams.stories.words import duration
from streams.triage.journal import write_operations
from streams.triage.ordered import named, read_orders

__all__ = ["MOST_WORDS", "Why", "register", "say", "usable_why"]

#: Names and reasons stand in logs and on one line of a screen.
MOST_WORDS = 512

Tenant = Annotated[str | None, typer.Option(help="the work of this tenant")]
Type = Annotated[str | None, typer.Option("--type", help="intents of this type")]
Provider = Annotated[
    str | None, typer.Option(help="calls to this provider; others of a route are asked")
]
Why = Annotated[str, typer.Option(help="for the log and for `hybrid status`")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(pause)
    app.command()(resume)


def pause(
    tenant: Tenant = None, type_: Type = None, provider: Provider = None, why: Why = ""
) -> None:
    """Hold work until it is resumed: all of it, a tenant's, a type's, or a provider's calls.

    Nothing of it is started within seconds; calls in flight end, deadlines go on. It holds over
    restarts, and ends by itself after 30 days.

    Example: `hybrid pause --tenant acme --why "asked for by their support"`
    """
    settings = need_kafka(load_settings())
    what, name = _meant(settings, tenant, type_, provider)
    hold, before = _order(settings, what, name, held=True, why=why)
    already = any((one.what, one.name) == (what, name) for one in before)
    again = "was paused already, and is" if already else "is"
    options = f" --{what.value} {name}" if name else ""
    say(
        f"{named(hold)} {again} paused until {ends_at(hold):%Y-%m-%d %H:%M} UTC at the latest; "
        f"go on with: hybrid resume{options}"
    )


def resume(
    tenant: Tenant = None, type_: Type = None, provider: Provider = None, why: Why = ""
) -> None:
    """Let work go on that was paused.

    Without an option this ends the pause of all work, and none of a tenant, a type or a provider.

    Example: `hybrid resume --tenant acme`
    """
    settings = need_kafka(load_settings())
    what, name = _meant(settings, tenant, type_, provider)
    hold, before = _order(settings, what, name, held=False, why=why)
    now = SystemClock().now()
    mine = [one for one in before if (one.what, one.name) == (what, name)]
    rest = [named(one) for one in before if one not in mine]
    said = f"{named(hold)} was not paused"
    if mine:
        said = f"{named(hold)} goes on, after {duration(max(timedelta(), now - mine[0].at))}"
    say(said + (f"; still paused: {', '.join(rest)}" if rest else ""))


def _meant(
    settings: Settings, tenant: str | None, type_: str | None, provider: str | None
) -> tuple[Held, str]:
    """Say what was named; raises UsageError for more than one, or for what nobody has."""
    chosen = {Held.TENANT: tenant, Held.TYPE: type_, Held.PROVIDER: provider}
    given = [(what, name) for what, name in chosen.items() if name is not None]
    if len(given) > 1:
        options = " and ".join(f"--{what.value}" for what, _ in given)
        message = f"{options}: each pause is of one of them; say them one after the other"
        raise UsageError(message)
    if not given:
        return Held.ALL, ""
    what, name = given[0]
    if not 0 < len(name) <= MOST_WORDS:
        message = f"--{what.value}: give a name of 1 to {MOST_WORDS} signs"
        raise UsageError(message)
    known = [one.name for one in settings.provider_specs]
    if what is Held.PROVIDER and name not in known:
        message = f"--provider {visible(name)}: no such provider; there are {', '.join(known)}"
        raise UsageError(message)
    return what, name


def _order(
    settings: Settings, what: Held, name: str, *, held: bool, why: str
) -> tuple[HoldRecord, Orders]:
    """Write what is ordered; gives it, and what held before."""
    now = SystemClock().now()
    hold = HoldRecord(what=what, name=name, held=held, why=usable_why(why), by=who_am_i(), at=now)

    async def write() -> Orders:
        await require_rights(settings, order_rights(settings))
        before = await read_orders(settings, now)
        await write_operations(settings, [hold])
        return before

    return hold, asyncio.run(write())


def usable_why(why: str) -> str:
    """Give a reason that is short enough for a screen; raises UsageError for any other."""
    if len(why) > MOST_WORDS:
        message = f"--why: give at most {MOST_WORDS} signs"
        raise UsageError(message)
    return why


def say(sentence: str) -> None:
    """Print a sentence on a line of its own, whatever its length."""
    console.print(cell(sentence), soft_wrap=True, highlight=False)

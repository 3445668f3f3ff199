"""Hands on the work: `hybrid pause|resume`."""

import asyncio
from collections.abc import Mapping
from typing import Annotated

import typer

from agents.clock import SystemClock
from hybrid.config import load_settings, need_kafka
from hybrid.hands import going_on_sentence, held_sentence, meant, usable_why
from hybrid.printing import console
from hybrid.text import cell
from hybrid.whoami import who_am_i
from schemas.operations import HoldRecord
from schemas.settings import Settings
from schemas.vocabulary import Held
from streams.messages.orders import Orders
from streams.triage.holding import give_order

__all__ = ["Why", "register", "say"]

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
    chosen = {Held.TENANT: tenant, Held.TYPE: type_, Held.PROVIDER: provider}
    say(held_sentence(*_order(settings, chosen, held=True, why=why)))


def resume(
    tenant: Tenant = None, type_: Type = None, provider: Provider = None, why: Why = ""
) -> None:
    """Let work go on that was paused.

    Without an option this ends the pause of all work, and none of a tenant, a type or a provider.

    Example: `hybrid resume --tenant acme`
    """
    settings = need_kafka(load_settings())
    chosen = {Held.TENANT: tenant, Held.TYPE: type_, Held.PROVIDER: provider}
    order = _order(settings, chosen, held=False, why=why)
    say(going_on_sentence(*order, now=SystemClock().now()))


def _order(
    settings: Settings, chosen: Mapping[Held, str | None], *, held: bool, why: str
) -> tuple[HoldRecord, Orders]:
    """Write what is ordered; gives it, and what held before."""
    what, name = meant(settings, chosen)
    now = SystemClock().now()
    hold = HoldRecord(what=what, name=name, held=held, why=usable_why(why), by=who_am_i(), at=now)
    return hold, asyncio.run(give_order(settings, hold, now=now))


def say(sentence: str) -> None:
    """Print a sentence on a line of its own, whatever its length."""
    console.print(cell(sentence), soft_wrap=True, highlight=False)

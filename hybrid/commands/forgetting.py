"""A person's content made unreadable: `hybrid forget`."""

import asyncio
from typing import Annotated

import typer

from agents.clock import SystemClock, SystemDice, uuid7
from hybrid.commands.common import confirm
from hybrid.commands.hands import say
from hybrid.config import load_settings, need_kafka
from hybrid.errors import HybridError, UsageError
from hybrid.hands import MOST_WORDS
from hybrid.text import visible
from hybrid.whoami import who_am_i
from schemas.operations import CancelRecord
from streams.triage.forgetting import NothingSealedError, Person, carry_out, open_work

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(forget)


def forget(
    user: Annotated[str, typer.Option(help="whose content: the `user_id` of intents")],
    tenant: Annotated[
        str | None, typer.Option(help="of this tenant only; without it, of all")
    ] = None,
    wait: Annotated[
        float, typer.Option(min=0, help="seconds in which open work is waited for")
    ] = 15.0,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
) -> None:
    """Make a person's content at rest unreadable, for ever; the bill stays.

    Open work of the person is cancelled, then the keys are destroyed with which dead letters,
    put-off intents, lines of batches and cached answers are encrypted (HYBRID_CONTENT_KEYS). What
    stands on the topics of intents and results goes by itself, with their retention.

    Example: `hybrid forget --user u-4711 --tenant acme`
    """
    for option, name in (("--user", user), ("--tenant", tenant)):
        if name is not None and not 0 < len(name) <= MOST_WORDS:
            message = f"{option}: give a name of 1 to {MOST_WORDS} signs"
            raise UsageError(message)
    settings, now = need_kafka(load_settings()), SystemClock().now()
    person = Person(user, tenant)
    order = CancelRecord(
        cancel_id=uuid7(SystemClock().now_ms(), SystemDice()),
        tenant=tenant,
        until=now,
        why="forgotten",
        by=who_am_i(),
        at=now,
    )
    try:
        wanted = asyncio.run(open_work(settings, person, order))
    except NothingSealedError as error:
        raise UsageError(str(error)) from None
    of = f" of tenant {visible(tenant)}" if tenant else ""
    whose = f"user {visible(user)}{of}"
    confirm(
        f"Make the content of {whose} unreadable for ever, and end {len(wanted)} open intents?",
        yes=yes,
        otherwise=f"nothing was done; {len(wanted)} intents of {whose} are open",
    )
    done = asyncio.run(carry_out(settings, person, order, wanted, wait_s=wait))
    say(
        f"{whose}: {done.ended} open intents ended, {done.keys} keys destroyed; Kafka takes them "
        f"from its disks when it compacts {settings.topics.keys}, an hour after the next record "
        "there; intents and results go with the retention of their topics"
    )
    if done.left:
        message = (
            f"{len(done.left)} intents of {whose} have not ended yet, and may be written under a "
            "new key: say it again when they have"
        )
        raise HybridError(message)

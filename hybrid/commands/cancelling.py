"""Intents that are to end without a result: `hybrid cancel`."""

import asyncio
from typing import Annotated

import typer

from agents.clock import SystemClock, SystemDice, uuid7
from hybrid.commands.common import TenantOption, TypeOption, confirm, parse_moment
from hybrid.commands.hands import Why, say
from hybrid.config import load_settings, need_kafka
from hybrid.errors import UsageError
from hybrid.hands import (
    LOOK_LIMIT_S,
    ended_sentence,
    standing_sentences,
    usable_ids,
    usable_why,
)
from hybrid.text import visible
from hybrid.whoami import who_am_i
from schemas.operations import CancelRecord
from schemas.settings import Settings
from streams.kafka.rights import cancel_rights, require_rights
from streams.triage.cancelling import Standing, carry_out, look_up

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(cancel)


def cancel(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="intents, by their ids")
    ] = None,
    tenant: TenantOption = None,
    type_: TypeOption = None,
    until: Annotated[
        str | None, typer.Option(help="what came in by then, a moment or an age; without it, now")
    ] = None,
    why: Why = "",
    wait: Annotated[
        float, typer.Option(min=0, help="seconds in which their ends are waited for")
    ] = 15.0,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
) -> None:
    """End intents that have no outcome yet: waiting, put off or running.

    Each ends once, as a dead letter of reason `cancelled`; its calls in flight are cancelled, and
    what they may have cost is on record. What has its outcome keeps it.

    Example: `hybrid cancel order-4711 --why "ordered twice"`
    """
    chosen = list(dict.fromkeys(ids or []))
    if not chosen and tenant is None and type_ is None and until is None:
        message = "say which: ids, or --tenant, --type, --until"
        raise UsageError(message)
    settings, now = need_kafka(load_settings()), SystemClock().now()
    order = CancelRecord(
        cancel_id=uuid7(SystemClock().now_ms(), SystemDice()),
        intent_ids=usable_ids(chosen),
        tenant=tenant,
        type=type_,
        until=min(now, parse_moment(until, option="--until") or now),
        why=visible(usable_why(why)),  # it stands in dead letters and on a screen
        by=who_am_i(),
        at=now,
    )
    found = asyncio.run(_look_up(settings, order))
    for sentence in standing_sentences(order, found):
        say(sentence)
    wanted = sorted(found.open)
    if not chosen:
        if not wanted and found.whole:
            say("nothing like that waits or runs: nothing was ordered")
            return
        least = "" if found.whole else "at least "
        question = f"End {least}{len(wanted)} intents that wait or run?"
        confirm(question, yes=yes, otherwise=f"{least}{len(wanted)} intents wait or run")
    elif found.over and not wanted and not found.unknown:
        return
    named = [*wanted, *found.unknown]
    order = order.model_copy(update={"intent_ids": named if chosen else []})
    ended = asyncio.run(carry_out(settings, order, wanted, wait_s=wait))
    if ended.left and not chosen:  # some may have ended before, and nobody had committed that yet
        ended.left &= asyncio.run(_look_up(settings, order)).open
    say(ended_sentence(ended))


async def _look_up(settings: Settings, order: CancelRecord) -> Standing:
    await require_rights(settings, cancel_rights(settings))
    return await look_up(settings, order, limit_s=LOOK_LIMIT_S)

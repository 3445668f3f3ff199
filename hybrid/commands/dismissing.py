"""Dead letters that will not be replayed: `hybrid dlq dismiss|reopen`."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Annotated

import typer

from agents.clock import SystemClock
from hybrid.commands.common import confirm
from hybrid.commands.plans import who_am_i
from hybrid.commands.selecting import none_like, selecting
from hybrid.config import load_settings, need_kafka
from hybrid.errors import UsageError
from schemas.operations import DismissalRecord
from schemas.settings import Settings
from schemas.vocabulary import LetterState
from streams.kafka.rights import dismissal_rights, require_rights
from streams.publishing.dead_letters import Selection
from streams.triage.book import read_book
from streams.triage.journal import write_operations
from streams.triage.places import Places, packed
from streams.triage.stands import standing_letters

__all__ = ["register"]

#: Offsets in one record.
PART = 5_000

Yes = Annotated[bool, typer.Option("--yes", help="do not ask")]


def register(dlq: typer.Typer) -> None:
    """Add the commands."""
    dlq.command("dismiss")(dlq_dismiss)
    dlq.command("reopen")(dlq_reopen)


@selecting
def dlq_dismiss(
    selection: Selection,
    why: Annotated[str, typer.Option(help="why they will not be replayed")],
    yes: Yes = False,
) -> None:
    """Say that dead letters will not be replayed; `dlq reopen` takes it back.

    Those that are open are meant. They stay where they are until their time is over.

    Example: `hybrid dlq dismiss --reason rejected --until 7d --why "campaign is over"`
    """
    if not why.strip():
        message = "--why: say why they will not be replayed"
        raise UsageError(message)
    _change(selection, LetterState.OPEN, why=why, yes=yes)


@selecting
def dlq_reopen(selection: Selection, yes: Yes = False) -> None:
    """Take back that dead letters were dismissed.

    Example: `hybrid dlq reopen --tenant acme`
    """
    _change(selection, LetterState.DISMISSED, why="", yes=yes)


def _change(selection: Selection, wanted: LetterState, *, why: str, yes: bool) -> None:
    if selection == Selection(limit=selection.limit):
        message = "which ones? Give a filter, such as --reason or --id"
        raise UsageError(message)
    settings = need_kafka(load_settings())
    places = asyncio.run(_chosen(settings, selection, wanted))
    dismissed = wanted is LetterState.OPEN
    word = "dismissed" if dismissed else "reopened"
    if not places:
        typer.echo(f"{none_like(selection)}; nothing was {word}")
        return
    question = f"{'Dismiss' if dismissed else 'Reopen'} {len(places)} dead letters?"
    confirm(question, yes=yes, otherwise=f"nothing was {word}")
    records = list(_records(places, dismissed=dismissed, why=why))
    asyncio.run(write_operations(settings, records))
    typer.echo(f"{word} {len(places)}")


async def _chosen(settings: Settings, selection: Selection, wanted: LetterState) -> Places:
    if selection.state not in {None, wanted}:
        return Places()
    await require_rights(settings, dismissal_rights(settings))
    book, places = await read_book(settings), Places()
    chosen = replace(selection, state=wanted)
    async for place, _, _ in standing_letters(settings, chosen, book):
        places.add(place)
    return places


def _records(places: Places, *, dismissed: bool, why: str) -> Iterator[DismissalRecord]:
    now = SystemClock().now()
    for partition in places.partitions():
        offsets = places.offsets(partition)
        while some := list(islice(offsets, PART)):
            yield DismissalRecord(
                dismissed=dismissed,
                why=why,
                by=who_am_i(),
                at=now,
                partition=partition,
                offsets=packed(some),
            )

"""Dead letters that will not be replayed: `hybrid dlq dismiss|reopen`."""

import asyncio
from typing import Annotated

import typer

from agents.clock import SystemClock
from hybrid.commands.common import confirm
from hybrid.commands.selecting import none_like, selecting
from hybrid.config import load_settings, need_kafka
from hybrid.errors import UsageError
from hybrid.whoami import who_am_i
from schemas.vocabulary import LetterState
from streams.publishing.dead_letters import Selection
from streams.triage.dismissing import dismissals, places_that
from streams.triage.journal import write_operations

__all__ = ["register"]

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
    places = asyncio.run(places_that(settings, selection, wanted))
    dismissed = wanted is LetterState.OPEN
    word = "dismissed" if dismissed else "reopened"
    if not places:
        typer.echo(f"{none_like(selection)}; nothing was {word}")
        return
    question = f"{'Dismiss' if dismissed else 'Reopen'} {len(places)} dead letters?"
    confirm(question, yes=yes, otherwise=f"nothing was {word}")
    now = SystemClock().now()
    records = list(dismissals(places, dismissed=dismissed, why=why, by=who_am_i(), now=now))
    asyncio.run(write_operations(settings, records))
    typer.echo(f"{word} {len(places)}")

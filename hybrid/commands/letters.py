"""The dead letters: `hybrid dlq list|show`, and the others of `dlq`."""

import asyncio
from typing import Annotated

import typer

from hybrid.commands import dismissing, letter_files, plans, runs
from hybrid.commands.causes import dlq_causes
from hybrid.commands.common import ColumnsOption, FormatOption, WideOption
from hybrid.commands.selecting import none_like, selecting
from hybrid.config import load_settings, need_kafka
from hybrid.errors import HybridError
from hybrid.letter_text import letter_document
from hybrid.printing import Format, View, console, print_table
from hybrid.text import json_text, visible
from schemas.base import format_time, format_usd
from schemas.outcome import DeadLetter
from schemas.settings import Settings
from schemas.vocabulary import LetterState
from streams.publishing.dead_letters import Selection
from streams.triage.book import read_book
from streams.triage.stands import standing_letters

__all__ = ["register"]

COLUMNS = (
    "failed_at", "state", "dead_letter_id", "intent_id", "tenant", "type", "reason", "error_code",
    "provider", "calls", "spent_usd",
)  # fmt: skip
#: What is shown first where there is little room: what it is, whose, and why.
RANK = (
    "dead_letter_id", "state", "reason", "tenant", "type", "error_code", "failed_at", "provider",
    "spent_usd", "calls", "intent_id",
)  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add the commands for dead letters."""
    dlq = typer.Typer(help="The dead letters.", no_args_is_help=True)
    dlq.command("list")(dlq_list)
    dlq.command("causes")(dlq_causes)
    dlq.command("show")(dlq_show)
    plans.register(dlq)
    runs.register(dlq)
    dismissing.register(dlq)
    letter_files.register(dlq)
    app.add_typer(dlq, name="dlq")


@selecting
def dlq_list(
    selection: Selection,
    wide: WideOption = False,
    columns: ColumnsOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """List dead letters, in the order in which they ended.

    Example: `hybrid dlq list --reason rejected --since 24h`
    """
    view = View(wide, columns, RANK)
    view.chosen(COLUMNS)  # a wrong one is said before anything is read
    settings = need_kafka(load_settings())

    async def rows() -> list[tuple[object, ...]]:
        """Keep a line of each letter, and not the letter."""
        book = await read_book(settings)
        return [
            _line(letter, state)
            async for _, letter, state in standing_letters(settings, selection, book)
        ]

    found = sorted(asyncio.run(rows()), key=lambda row: (str(row[0]), str(row[1])))
    if not found and form is Format.TABLE:
        console.print(none_like(selection), highlight=False, markup=False)
        return
    print_table(COLUMNS, found, form, view=view)


def _line(letter: DeadLetter, state: LetterState) -> tuple[object, ...]:
    return (
        format_time(letter.failed_at),
        state.value,
        letter.dead_letter_id,
        letter.intent_id,
        letter.tenant,
        letter.type or "",
        letter.reason.value,
        letter.error_code,
        letter.attempts[-1].provider if letter.attempts else "",
        len(letter.attempts),
        None if letter.spent_usd is None else format_usd(letter.spent_usd),
    )


def dlq_show(
    identifier: Annotated[str, typer.Argument(metavar="ID", help="dead letter or intent id")],
    content: Annotated[
        bool, typer.Option("--content", help="with the prompt's data, and the original bytes")
    ] = False,
) -> None:
    """Print one dead letter as JSON, with its intent decoded.

    Example: `hybrid dlq show 0190a1b2-…`
    """
    settings = need_kafka(load_settings())
    letters = asyncio.run(_collect(settings, Selection(id=identifier)))
    if not letters:
        message = (
            f"no dead letter has the id {visible(identifier)}; `hybrid trace "
            f"{visible(identifier)}` says what is on record of it"
        )
        raise HybridError(message)
    for letter, state in letters:
        document = {"state": state.value} | letter_document(settings, letter, content=content)
        typer.echo(json_text(document, indent=2))


async def _collect(
    settings: Settings, selection: Selection
) -> list[tuple[DeadLetter, LetterState]]:
    book = await read_book(settings)
    found = standing_letters(settings, selection, book, sources=True)
    return [(letter, state) async for _, letter, state in found]

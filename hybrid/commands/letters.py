"""The dead letters: `hybrid dlq list|causes|show|replay`."""

import asyncio
from typing import Annotated, Any

import typer

from hybrid.commands.causes import dlq_causes
from hybrid.commands.common import (
    ColumnsOption,
    FormatOption,
    WideOption,
    confirm,
    progress_on_stderr,
)
from hybrid.commands.selecting import none_like, selecting
from hybrid.config import load_settings, need_kafka
from hybrid.errors import HybridError, UsageError
from hybrid.printing import Format, View, console, print_table
from hybrid.text import json_text, visible
from schemas.base import format_time, format_usd
from schemas.codec import IntentError, decode_intent
from schemas.outcome import DeadLetter
from schemas.settings import Settings
from streams.publishing.dead_letters import (
    Selection,
    dead_letters,
    letters_at,
    original_value,
    to_replay,
)
from streams.publishing.dead_letters import replay as replay_letters

__all__ = ["register"]

COLUMNS = (
    "failed_at", "dead_letter_id", "intent_id", "tenant", "type", "reason", "error_code",
    "provider", "calls", "spent_usd",
)  # fmt: skip
#: What is shown first where there is little room: what it is, whose, and why.
RANK = (
    "dead_letter_id", "reason", "tenant", "type", "error_code", "failed_at", "provider",
    "spent_usd", "calls", "intent_id",
)  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add the commands for dead letters."""
    dlq = typer.Typer(help="The dead letters.", no_args_is_help=True)
    dlq.command("list")(dlq_list)
    dlq.command("causes")(dlq_causes)
    dlq.command("show")(dlq_show)
    dlq.command("replay")(dlq_replay)
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
        return [_line(letter) async for letter in dead_letters(settings, selection)]

    found = sorted(asyncio.run(rows()), key=lambda row: (str(row[0]), str(row[1])))
    if not found and form is Format.TABLE:
        console.print(none_like(selection), highlight=False, markup=False)
        return
    print_table(COLUMNS, found, form, view=view)


def _line(letter: DeadLetter) -> tuple[object, ...]:
    return (
        format_time(letter.failed_at),
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
    for letter in letters:
        document = _document(settings, letter, content=content)
        typer.echo(json_text(document, indent=2))


def _document(settings: Settings, letter: DeadLetter, *, content: bool) -> dict[str, Any]:
    """Give a letter with its intent; content is replaced by its size unless it is asked for."""
    document, value = letter.to_dict(), original_value(letter)
    document["intent"], document["intent_problem"] = None, None
    try:
        intent = decode_intent(value, max_bytes=settings.hybrid_max_intent_bytes)
        document["intent"] = intent.to_dict()
    except IntentError as error:
        document["intent_problem"] = error.message
    if content:
        return document
    if value is not None:
        document["original"]["value"] = f"({len(value)} bytes; --content shows them)"
    if document["refusal"] is not None:
        document["refusal"] = "(--content shows it)"
    if document["intent"] is not None:
        named = ", ".join(sorted(document["intent"]["data"]))
        document["intent"]["data"] = f"(fields {named}; --content shows them)"
    return document


@selecting
def dlq_replay(
    selection: Selection,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="count and estimate only")] = False,
    rate: Annotated[float | None, typer.Option(min=0.01, help="records a second")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
) -> None:
    """Publish dead letters again as the intents they were; each replay runs once.

    Example: `hybrid dlq replay --reason exhausted --since 2h --dry-run`
    """
    from streams.publishing.estimates import estimate  # noqa: PLC0415 - loads the prices

    settings = need_kafka(load_settings())
    places = asyncio.run(to_replay(settings, selection))
    try:
        cost = asyncio.run(estimate(settings, letters_at(settings, selection, places)))
    except ValueError as error:  # a list of prices that cannot be read
        raise UsageError(str(error)) from None
    usd = "an unknown price" if cost.usd is None else f"at most {format_usd(cost.usd)} USD"
    typer.echo(f"{cost.count} dead letters, about {cost.tokens} input tokens, {usd}")
    if dry_run or not places:
        return
    confirm("Replay them?", yes=yes, otherwise="nothing was replayed")
    with progress_on_stderr() as progress:
        task = progress.add_task("replaying", total=len(places))
        count = asyncio.run(
            replay_letters(
                settings,
                letters_at(settings, selection, places),
                rate=rate,
                on_replayed=lambda _letter: progress.advance(task),
            )
        )
    typer.echo(f"replayed {count}")


async def _collect(settings: Settings, selection: Selection) -> list[DeadLetter]:
    return [letter async for letter in dead_letters(settings, selection)]

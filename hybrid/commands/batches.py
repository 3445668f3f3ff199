"""What waits in batches: `hybrid batches list|show|cancel`."""

import asyncio
from typing import Annotated

import typer

from agents.clock import SystemClock
from hybrid.commands.common import ColumnsOption, FormatOption, WideOption
from hybrid.config import load_settings, need_kafka
from hybrid.errors import HybridError, UsageError
from hybrid.printing import Format, View, console, print_table
from hybrid.text import visible
from hybrid.whoami import who_am_i
from schemas.base import format_time
from schemas.batches import BatchCancel, BatchRecord
from streams.batching.book import LIVE, Book
from streams.batching.looking import ask_to_cancel, read_batches

__all__ = ["register"]

BatchId = Annotated[str, typer.Argument(metavar="BATCH", help="as `hybrid batches list` names it")]

BATCHES = (
    "batch", "provider", "model", "state", "lines", "waiting", "answered", "failed", "created_at",
    "ended_at", "provider_batch_id", "said",
)  # fmt: skip
RANK = ("batch", "state", "lines", "waiting", "answered", "failed", "said", "provider", "model")
LINES = ("intent_id", "tenant", "type", "attempt_id", "deadline_ms", "since", "bound_usd")
#: The name of those that are in no batch yet.
GATHERING = "gathering"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    batches = typer.Typer(help="Work that waits in a provider's batches.", no_args_is_help=True)
    batches.command("list")(list_batches)
    batches.command("show")(show_batch)
    batches.command("cancel")(cancel_batch)
    app.add_typer(batches, name="batches")


def list_batches(
    wide: WideOption = False, columns: ColumnsOption = None, form: FormatOption = Format.TABLE
) -> None:
    """List batches, the newest first, and how many intents are still being gathered for one.

    Example: `hybrid batches list`
    """
    view = View(wide, columns, RANK)
    view.chosen(BATCHES)
    book = asyncio.run(read_batches(need_kafka(load_settings())))
    rows = _gathering(book)
    newest = sorted(book.batches.values(), key=lambda one: one.created_at, reverse=True)
    rows += [_line(book, one) for one in newest]
    if not rows and form is Format.TABLE:
        console.print("nothing waits in a batch, and none was made lately", highlight=False)
        return
    print_table(BATCHES, rows, form, view=view)


def show_batch(
    batch: BatchId,
    wide: WideOption = False,
    columns: ColumnsOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Show the intents that wait in a batch, or, with `gathering`, for one.

    Example: `hybrid batches show gathering`
    """
    view = View(wide, columns, LINES)
    view.chosen(LINES)
    book = asyncio.run(read_batches(need_kafka(load_settings())))
    waiting = book.free() if batch == GATHERING else book.of(_one(book, batch).lines)
    rows = [
        (
            one.line.attempt.intent_id,
            one.line.attempt.tenant,
            one.line.attempt.type,
            one.line_id,
            one.intent.deadline_ms,
            format_time(one.line.attempt.started_at),
            one.line.attempt.cost_upper_usd,
        )
        for one in waiting
    ]
    print_table(LINES, rows, form, view=view)


def cancel_batch(batch: BatchId) -> None:
    """Have a batch cancelled: what it has not answered is called for at once, at the full price.

    Example: `hybrid batches cancel 01a2b3c4-5d6e-7f80-91a2-b3c4d5e6f708`
    """
    settings = need_kafka(load_settings())
    record = _one(asyncio.run(read_batches(settings)), batch)
    if record.state not in LIVE:
        message = f"batch {batch} is {record.state}: there is nothing to cancel"
        raise HybridError(message)
    wanted = BatchCancel(batch_id=batch, by=who_am_i(), at=SystemClock().now())
    asyncio.run(ask_to_cancel(settings, wanted))
    typer.echo(f"batch {batch} is being cancelled; see: hybrid batches list")


def _one(book: Book, batch: str) -> BatchRecord:
    record = book.batches.get(batch)
    if record is None:
        message = f"there is no batch {visible(batch)}: see hybrid batches list"
        raise UsageError(message)
    return record


def _gathering(book: Book) -> list[tuple[object, ...]]:
    """Give a row for each model whose lines are in no batch yet."""
    counts: dict[tuple[str, str], int] = {}
    for one in book.free():
        key = (one.planned.provider, one.planned.model)
        counts[key] = counts.get(key, 0) + 1
    return [
        (GATHERING, *key, GATHERING, count, count, 0, 0, None, None, "", "")
        for key, count in sorted(counts.items())
    ]


def _line(book: Book, one: BatchRecord) -> tuple[object, ...]:
    return (
        one.batch_id,
        one.provider,
        one.model,
        one.state,
        one.count,
        len(book.of(one.lines)),
        one.answered,
        one.failed,
        format_time(one.created_at),
        format_time(one.ended_at) if one.ended_at else None,
        one.provider_batch_id,
        one.said,
    )

"""Commands for data in and out: publish, results, dead letters."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from hybrid.commands.common import (
    FormatOption,
    SinceOption,
    confirm,
    parse_moment,
    progress_on_stderr,
)
from hybrid.config import load_settings, need_kafka
from hybrid.errors import HybridError, UsageError
from hybrid.printing import Format, print_table
from hybrid.text import json_text, visible
from schemas.base import format_time, format_usd
from schemas.outcome import DeadLetter
from schemas.settings import Settings
from schemas.vocabulary import DeadLetterReason, ErrorClass
from streams.kafka.reading import read_topic
from streams.publishing.dead_letters import Selection, dead_letters, letters_at, to_replay
from streams.publishing.dead_letters import replay as replay_letters
from streams.publishing.intents import BadLine, publish_lines

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands for publish, results and dead letters."""
    app.command()(publish)
    app.command()(results)
    dlq = typer.Typer(help="The dead letters.", no_args_is_help=True)
    dlq.command("list")(dlq_list)
    dlq.command("show")(dlq_show)
    dlq.command("replay")(dlq_replay)
    app.add_typer(dlq, name="dlq")


def publish(
    file: Annotated[str, typer.Argument(help="JSON Lines, `-` for standard input")],
) -> None:
    """Publish intents from JSON Lines; a bad line is reported and stops nothing else.

    Example: `hybrid publish intents.jsonl`
    """
    settings = need_kafka(load_settings())
    if file == "-":
        if sys.stdin is None:
            message = "standard input is closed: name a file"
            raise UsageError(message)
        source: BinaryIO = sys.stdin.buffer
        size = None
    else:
        try:
            source = Path(file).open("rb")  # noqa: SIM115 - closed below
            size = os.fstat(source.fileno()).st_size
        except OSError as error:
            message = f"{file} cannot be read: {error.strerror}"
            raise UsageError(message) from error
    errors: list[BadLine] = []

    def on_bad(line: BadLine) -> None:
        errors.append(line)
        typer.echo(f"line {line.number}: {visible(line.problem)}", err=True)

    with source, progress_on_stderr() as progress:
        task = progress.add_task("publishing", total=size)
        done = asyncio.run(
            publish_lines(
                settings,
                source,
                on_bad=on_bad,
                on_progress=lambda count: progress.advance(task, count),
            )
        )
    typer.echo(f"published {done.published}")
    if done.bad:
        message = f"{done.bad} of {done.bad + done.published} lines were not published; see above"
        raise HybridError(message)


def results(
    follow: Annotated[bool, typer.Option("--follow", help="wait for more")] = False,
    since: SinceOption = None,
    limit: Annotated[int | None, typer.Option(min=1, help="end after so many")] = None,
    intent_id: Annotated[str | None, typer.Option(help="of this intent only")] = None,
) -> None:
    """Print results as JSON Lines.

    Example: `hybrid results --since 1h --limit 10`
    """
    settings = need_kafka(load_settings())
    moment = parse_moment(since)

    async def read() -> None:
        count = 0
        records = read_topic(
            settings, settings.topics.results, since=moment, follow=follow, needed=True
        )
        async for record in records:
            document = _document(record.value)
            if document is None:
                place = f"{record.topic}, partition {record.partition}, offset {record.offset}"
                typer.echo(f"{place}: not a JSON object, passed over", err=True)
                continue
            if intent_id is not None and document.get("intent_id") != intent_id:
                continue
            sys.stdout.write(json_text(document, separators=(",", ":")) + "\n")
            sys.stdout.flush()
            count += 1
            if limit is not None and count >= limit:
                return

    asyncio.run(read())


def _document(value: bytes | None) -> dict[str, object] | None:
    """Read a record's value; None where it is no JSON object: then we have not written it."""
    try:
        document = json.loads(value or b"")
        json.dumps(document, ensure_ascii=False).encode()  # half surrogates cannot be printed
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


Reason = Annotated[DeadLetterReason | None, typer.Option(help="why they ended")]
Class = Annotated[ErrorClass | None, typer.Option(help="what went wrong with the last call")]
Type = Annotated[str | None, typer.Option("--type", help="type of the intent")]
Tenant = Annotated[str | None, typer.Option(help="for whom the work was")]
Limit = Annotated[int | None, typer.Option(min=1, help="at most so many")]


def dlq_list(
    reason: Reason = None,
    error_class: Class = None,
    type_: Type = None,
    tenant: Tenant = None,
    since: SinceOption = None,
    until: SinceOption = None,
    limit: Limit = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """List dead letters.

    Example: `hybrid dlq list --reason rejected --since 24h`
    """
    selection = _selection(reason, error_class, type_, tenant, since, until, None, limit)
    settings = need_kafka(load_settings())
    columns = [
        "failed_at",
        "dead_letter_id",
        "intent_id",
        "tenant",
        "type",
        "reason",
        "error_code",
        "calls",
        "spent_usd",
    ]

    async def rows() -> list[tuple[object, ...]]:
        """Keep a line of each letter, and not the letter."""
        return [_line(letter) async for letter in dead_letters(settings, selection)]

    print_table(columns, asyncio.run(rows()), form)


def _line(letter: DeadLetter) -> tuple[object, ...]:
    return (
        format_time(letter.failed_at),
        letter.dead_letter_id,
        letter.intent_id,
        letter.tenant,
        letter.type or "",
        letter.reason.value,
        letter.error_code,
        len(letter.attempts),
        None if letter.spent_usd is None else format_usd(letter.spent_usd),
    )


def dlq_show(
    identifier: Annotated[str, typer.Argument(metavar="ID", help="dead letter or intent id")],
) -> None:
    """Print one dead letter whole, as JSON.

    Example: `hybrid dlq show 0190a1b2-…`
    """
    letters = asyncio.run(_collect(need_kafka(load_settings()), Selection(id=identifier)))
    if not letters:
        message = f"no dead letter has the id {identifier}"
        raise HybridError(message)
    for letter in letters:
        typer.echo(json_text(letter.to_dict(), indent=2))


def dlq_replay(
    reason: Reason = None,
    error_class: Class = None,
    type_: Type = None,
    tenant: Tenant = None,
    since: SinceOption = None,
    until: SinceOption = None,
    id_: Annotated[str | None, typer.Option("--id", help="dead letter or intent")] = None,
    limit: Limit = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="count and estimate only")] = False,
    rate: Annotated[float | None, typer.Option(min=0.01, help="records a second")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
) -> None:
    """Publish dead letters again as the intents they were; each replay runs once.

    Example: `hybrid dlq replay --reason exhausted --since 2h --dry-run`
    """
    from streams.publishing.estimates import estimate  # noqa: PLC0415 - loads the prices

    settings = need_kafka(load_settings())
    selection = _selection(reason, error_class, type_, tenant, since, until, id_, limit)
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


def _selection(
    reason: DeadLetterReason | None,
    error_class: ErrorClass | None,
    type_: str | None,
    tenant: str | None,
    since: str | None,
    until: str | None,
    identifier: str | None,
    limit: int | None,
) -> Selection:
    return Selection(
        reason=reason.value if reason else None,
        error_class=error_class.value if error_class else None,
        type=type_,
        tenant=tenant,
        since=parse_moment(since),
        until=parse_moment(until, option="--until"),
        id=identifier,
        limit=limit,
    )


async def _collect(settings: Settings, selection: Selection) -> list[DeadLetter]:
    return [letter async for letter in dead_letters(settings, selection)]

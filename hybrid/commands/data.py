"""Commands for data in and out: publish, results."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from hybrid.commands.common import (
    ModelOption,
    ProviderOption,
    SinceOption,
    TenantOption,
    TypeOption,
    UntilOption,
    parse_moment,
    progress_on_stderr,
)
from hybrid.config import load_settings, need_kafka
from hybrid.errors import HybridError, UsageError
from hybrid.text import json_text, visible
from schemas.settings import Settings
from streams.kafka.reading import read_topic

if TYPE_CHECKING:
    from streams.publishing.intents import BadLine

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands for publish and results."""
    app.command()(publish)
    app.command()(results)


def publish(
    file: Annotated[str, typer.Argument(help="JSON Lines, `-` for standard input")],
) -> None:
    """Publish intents from JSON Lines; a bad line is reported and stops nothing else.

    Example: `hybrid publish intents.jsonl`
    """
    from streams.publishing.intents import publish_lines  # noqa: PLC0415 - `results` needs it not

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

    def on_bad(line: "BadLine") -> None:
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
    until: UntilOption = None,
    limit: Annotated[int | None, typer.Option(min=1, help="end after so many")] = None,
    intent_id: Annotated[str | None, typer.Option(help="of this intent only")] = None,
    tenant: TenantOption = None,
    type_: TypeOption = None,
    provider: ProviderOption = None,
    model: ModelOption = None,
) -> None:
    """Print results as JSON Lines.

    Example: `hybrid results --since 1h --limit 10`
    """
    settings = need_kafka(load_settings())
    asked = {
        "intent_id": intent_id, "tenant": tenant, "type": type_, "provider": provider,
        "model": model,
    }  # fmt: skip
    wanted = {name: value for name, value in asked.items() if value is not None}
    moments = parse_moment(since), parse_moment(until, option="--until")

    async def read() -> int:
        count = 0
        records = read_topic(
            settings,
            settings.topics.results,
            since=moments[0],
            until=moments[1],
            follow=follow,
            needed=True,
        )
        async for record in records:
            document = _document(record.value)
            if document is None:
                place = f"{record.topic}, partition {record.partition}, offset {record.offset}"
                typer.echo(f"{place}: not a JSON object, passed over", err=True)
                continue
            if any(document.get(name) != value for name, value in wanted.items()):
                continue
            sys.stdout.write(json_text(document, separators=(",", ":")) + "\n")
            sys.stdout.flush()
            count += 1
            if limit is not None and count >= limit:
                break
        return count

    if not asyncio.run(read()):
        typer.echo(asyncio.run(_why_none(settings, intent_id, wanted)), err=True)


async def _why_none(settings: Settings, intent_id: str | None, wanted: dict[str, str]) -> str:
    """Say why no result was printed, and what to try."""
    if intent_id is None:
        fewer = "leave out a filter, or " if wanted else ""
        return f"no result: {fewer}look further back with --since, or at `hybrid dlq list`"
    from streams.publishing.dead_letters import Selection, dead_letters  # noqa: PLC0415

    found = dead_letters(settings, Selection(id=intent_id))
    letters = [letter async for letter in found]
    if letters:
        last = max(letters, key=lambda one: one.failed_at)
        return (
            f"intent {visible(intent_id)} has no result: it ended as a dead letter "
            f"({last.reason.value}, {visible(last.error_code)}); see `hybrid dlq show "
            f"{last.dead_letter_id}`"
        )
    return (
        f"intent {visible(intent_id)} has no result here; `hybrid trace {visible(intent_id)}` says "
        "where it stands"
    )


def _document(value: bytes | None) -> dict[str, object] | None:
    """Read a record's value; None where it is no JSON object: then we have not written it."""
    try:
        document = json.loads(value or b"")
        json.dumps(document, ensure_ascii=False).encode()  # half surrogates cannot be printed
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None

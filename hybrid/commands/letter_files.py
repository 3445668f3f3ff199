"""Dead letters in files: `hybrid dlq export|import`."""

import asyncio
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer
from aiokafka.errors import ProducerFenced

from agents.clock import SystemClock, SystemDice
from hybrid.commands.common import confirm, progress_on_stderr
from hybrid.commands.selecting import none_like, selecting
from hybrid.config import load_settings, need_kafka
from hybrid.errors import HybridError, UsageError
from hybrid.moneys import usd_of
from hybrid.plan_text import lines_of_import
from hybrid.text import visible
from hybrid.whoami import who_am_i
from streams.publishing.dead_letters import Selection
from streams.triage.exporting import Exported, exported
from streams.triage.outgoing import Sending

if TYPE_CHECKING:
    from streams.triage.importing import BadLine, Import, Importer

__all__ = ["register"]


def register(dlq: typer.Typer) -> None:
    """Add the commands."""
    dlq.command("export")(dlq_export)
    dlq.command("import")(dlq_import)


@selecting
def dlq_export(
    selection: Selection,
    out: Annotated[
        str, typer.Option(help="file, written whole or not at all; `-` is standard output")
    ] = "-",
    intents: Annotated[
        bool, typer.Option("--intents", help="with the intent as JSON beside it, to be edited")
    ] = False,
) -> None:
    """Write dead letters as JSON Lines, each as it stands on Kafka, to keep or to import them.

    They hold what people wrote, in base64 (`original.value`): keep the file as you keep the topic.

    Example: `hybrid dlq export --reason exhausted --since 2h --out letters.jsonl`
    """
    settings = need_kafka(load_settings())
    done = Exported()
    lines = exported(settings, selection, done, intents=intents)
    if out == "-":
        asyncio.run(_write(lines, sys.stdout.buffer, done))
    else:
        _write_file(Path(out), lines, done)
    said = f"exported {done.count}"
    if not done.count:
        said = f"{none_like(selection)}; nothing was exported"
    if done.sealed:
        said += f"; {done.sealed} are encrypted, as they stand: importing them takes their keys"
    if done.by_reference:
        said += f"; {done.by_reference} say only where their intent stands"
    if done.without_intent:
        said += f"; {done.without_intent} have no intent that is JSON and can be read"
    typer.echo(said, err=True)


async def _write(lines: AsyncIterator[bytes], file: BinaryIO, done: Exported) -> None:
    with progress_on_stderr() as bar:
        task = bar.add_task("exporting", total=None)
        async for line in lines:
            file.write(line)
            if done.count % 1_000 == 0:
                bar.update(task, completed=done.count)
        file.flush()


def _write_file(to: Path, lines: AsyncIterator[bytes], done: Exported) -> None:
    """Write a file whole or not at all, for its owner's eyes only; raises HybridError."""
    beside = to.with_name(f"{to.name}.part")
    try:
        beside.touch(mode=0o600)
        with beside.open("wb") as file:
            asyncio.run(_write(lines, file, done))
        beside.replace(to)
    except OSError as error:
        message = f"{to} cannot be written ({error.strerror})"
        raise HybridError(message) from None
    finally:
        beside.unlink(missing_ok=True)


def dlq_import(
    file: Annotated[str, typer.Argument(help="as `dlq export` writes it; `-` for standard input")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="check and price only")] = False,
    again: Annotated[
        bool,
        typer.Option(
            "--again",
            help="also those that were replayed and have no outcome, or are too old to say",
        ),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="also those that came back 3 times or more")
    ] = False,
    rate: Annotated[float | None, typer.Option(min=0.01, help="records a second")] = None,
    max_usd: Annotated[
        str | None, typer.Option(help="refuse it all where they may cost more than this together")
    ] = None,
    why: Annotated[str, typer.Option(help="what it is done for; kept with the records of it")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
) -> None:
    """Publish the dead letters of a file again as the intents they were, each once.

    Where a line's `intent` was edited, that is published. A bad line is reported with its number
    and stops nothing else; the exit status is 2 then.

    Example: `hybrid dlq import letters.jsonl --dry-run`
    """
    from streams.triage.importing import Importer  # noqa: PLC0415 - loads the prices

    settings, limit = need_kafka(load_settings()), usd_of(max_usd)
    with _kept(file) as path:
        importer = Importer(
            settings, lambda: _lines(path), clock=SystemClock(), again=again, force=force
        )

        def on_bad(line: "BadLine") -> None:
            typer.echo(f"line {line.number}: {visible(line.problem)}", err=True)

        try:
            found = asyncio.run(importer.look(on_bad))
        except (ValueError, OSError) as error:  # prices, or prompts, that cannot be read
            raise UsageError(str(error)) from None
        for line in lines_of_import(found):
            typer.echo(visible(line))
        if limit is not None and (found.without_most or found.most_usd > limit):
            message = f"--max-usd {max_usd}: they may cost more, or nobody knows; nothing was sent"
            raise UsageError(message)
        if found.count and not dry_run:
            confirm("Publish them?", yes=yes, otherwise="nothing was published")
            _send(importer, found, rate=rate, why=why)
    if found.bad:
        message = f"{found.bad} of {found.lines} lines are bad; see above"
        raise UsageError(message)


def _send(importer: "Importer", found: "Import", *, rate: float | None, why: str) -> None:
    with progress_on_stderr() as bar:
        task = bar.add_task("publishing", total=found.count)
        sending = importer.send(
            found,
            Sending(who_am_i(), why, rate),
            dice=SystemDice(),
            on_sent=lambda sent: bar.update(task, completed=sent),
        )
        try:
            passed = asyncio.run(sending)
        except ProducerFenced:
            message = "another import has begun, and this one has ended: see it through, then this"
            raise HybridError(message) from None
    more = f", passed over {passed.total()} that were dealt with meanwhile" if passed else ""
    typer.echo(f"published {found.sent}{more}")


@contextmanager
def _kept(file: str) -> Iterator[Path]:
    """Give a file that can be read twice; what comes on standard input is kept until the end."""
    if file != "-":
        path = Path(file)
        try:
            path.open("rb").close()
        except OSError as error:
            message = f"{file} cannot be read: {error.strerror}"
            raise UsageError(message) from error
        yield path
        return
    if sys.stdin is None:
        message = "standard input is closed: name a file"
        raise UsageError(message)
    with tempfile.NamedTemporaryFile() as kept:
        shutil.copyfileobj(sys.stdin.buffer, kept)
        kept.flush()
        yield Path(kept.name)


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as source:
        yield from source

"""Commands for operators: topics, migrations, schemas, doctor."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from hybrid.commands.common import FormatOption
from hybrid.config import load_settings, need_clickhouse, need_kafka
from hybrid.errors import HybridError
from hybrid.printing import Format, console, print_table
from schemas.export import write_all
from streams.kafka.partitions import PartitionsError, grow_topics, lane_topics, uneven
from streams.kafka.topics import ensure_topics, require_seen
from streams.store.clickhouse import ClickHouse
from streams.store.migrations import Layout, load_migrations, placed
from streams.store.migrations import migrate as apply_migrations

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands for topics, migrations, schemas and the doctor."""
    topics = typer.Typer(help="The topics.", no_args_is_help=True)
    topics.command("ensure")(ensure)
    app.add_typer(topics, name="topics")
    app.command()(migrate)
    schemas = typer.Typer(help="The messages' schemas.", no_args_is_help=True)
    schemas.command("export")(export)
    app.add_typer(schemas, name="schemas")
    app.command()(doctor)


def ensure(
    grow: Annotated[
        bool, typer.Option("--grow", help="raise topics to HYBRID_PARTITIONS; no worker may run")
    ] = False,
    form: FormatOption = Format.TABLE,
) -> None:
    """Create or check every topic (partitions, retention, compaction); never shrinks or deletes.

    Example: `hybrid topics ensure`
    """
    settings = need_kafka(load_settings())
    if grow:
        try:
            before = asyncio.run(grow_topics(settings))
        except PartitionsError as error:
            raise HybridError(str(error)) from error
        for name, count in before.items():
            typer.echo(f"{name}: {count} → {settings.hybrid_partitions} partitions", err=True)
    reports = asyncio.run(ensure_topics(settings))
    print_table(
        ["topic", "partitions", "state", "detail"],
        [(report.name, report.partitions, report.state, report.detail) for report in reports],
        form,
    )
    require_seen(settings, reports)
    lanes = lane_topics(settings)
    problem = uneven(settings, {one.name: one.partitions for one in reports if one.name in lanes})
    if problem is not None:
        raise HybridError(problem)
    wrong = [report.name for report in reports if report.state == "differs"]
    if wrong:
        message = f"topics differ from what is wanted: {', '.join(wrong)}; alter them by hand"
        raise HybridError(message)


def migrate(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the SQL only")] = False,
) -> None:
    """Apply the ClickHouse migrations and the retention; idempotent.

    Example: `hybrid migrate --dry-run`
    """
    settings = load_settings()
    layout = Layout.of(settings)
    if dry_run:
        for step in load_migrations():
            typer.echo(f"-- {step.label}")
            for statement in step.statements:
                typer.echo(f"{placed(statement, layout.cluster)};\n")
        return
    store = ClickHouse(need_clickhouse(settings))
    try:
        done = apply_migrations(store, layout)
    finally:
        store.close()
    names = ", ".join(step.label for step in done)
    console.print(f"applied: {names}" if names else "nothing to apply", highlight=False)


def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="where the files go")],
) -> None:
    """Write the JSON Schemas of every message and the AsyncAPI document.

    Example: `hybrid schemas export ./schemas-out`
    """
    try:
        written = write_all(folder, load_settings().topics)
    except OSError as error:
        message = f"{folder} cannot be written: {error.strerror}"
        raise HybridError(message) from error
    console.print(f"wrote {len(written)} files to {folder}", highlight=False)


def doctor(form: FormatOption = Format.TABLE) -> None:
    """Check configuration, connections, topics, tables, providers and clock.

    Each check is ok (1 point), a warning (half of one), broken, or unknown for want of another; the
    score is what they come to, 100 % where all is well. Ends with 1 when something is broken.

    Example: `hybrid doctor`
    """
    from hybrid import doctor as diagnosis  # noqa: PLC0415 - loads an HTTP client

    checks = asyncio.run(diagnosis.examine(load_settings()))
    print_table(
        ["check", "state", "detail", "advice"],
        [(one.name, one.state, one.detail, one.advice) for one in checks],
        form,
    )
    # Beside the data for programs, not in it.
    typer.echo(f"score: {diagnosis.score_of(checks)} %", err=form is not Format.TABLE)
    if any(one.state == "broken" for one in checks):
        raise typer.Exit(1)

"""One intent's story: `hybrid trace ID`."""

import asyncio
import sys
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.live import Live

from hybrid.commands.common import FormatOption
from hybrid.config import load_settings, need_clickhouse, need_kafka
from hybrid.errors import HybridError, UsageError
from hybrid.printing import Format, console, print_table
from hybrid.text import json_text
from hybrid.waterfall import draw_story
from schemas.settings import Settings
from streams.stories.document import SPAN_FIELDS, document_of, span_of
from streams.stories.finding import AmbiguousIdError, Source, UnknownIdError, find_story
from streams.stories.story import Story

__all__ = ["register"]

#: With `--follow` it is looked at again after so many seconds.
LOOK_AGAIN_S = 1.0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(trace)


def trace(
    identifier: Annotated[
        str,
        typer.Argument(
            metavar="ID", help="an intent, a call, a provider's request, topic:partition:offset …"
        ),
    ],
    follow: Annotated[bool, typer.Option("--follow", help="until it has its outcome")] = False,
    tenant: Annotated[str | None, typer.Option(help="where several have an intent of it")] = None,
    source: Annotated[Source, typer.Option(help="where it is read")] = Source.AUTO,
    form: FormatOption = Format.TABLE,
) -> None:
    """Tell one intent's story, while it runs and after: what it waited for, and why.

    Example: `hybrid trace 0190a1b2-… --follow`
    """
    settings = _settings(source)
    if follow:
        asyncio.run(_follow(settings, identifier, tenant, source, form))
        return
    _show(asyncio.run(_find(settings, identifier, tenant, source)), form)


def _settings(source: Source) -> Settings:
    """Connect to what is asked for: Kafka, and ClickHouse where it is configured or local."""
    settings = load_settings()
    if source is Source.CLICKHOUSE:
        return need_clickhouse(settings)
    return need_kafka(settings)


async def _find(settings: Settings, identifier: str, tenant: str | None, source: Source) -> Story:
    try:
        return await find_story(
            settings, identifier, now=datetime.now(UTC), source=source, tenant=tenant
        )
    except UnknownIdError as error:
        raise HybridError(str(error)) from None
    except AmbiguousIdError as error:
        raise UsageError(str(error)) from None


async def _follow(
    settings: Settings, identifier: str, tenant: str | None, source: Source, form: Format
) -> None:
    """Show it again whenever something has happened; ends with its outcome."""
    alive = form is Format.TABLE and console.is_terminal
    told: tuple[object, ...] = ()
    with Live(console=console, auto_refresh=False) if alive else _Silent() as live:
        while True:
            story = await _find(settings, identifier, tenant, source)
            if isinstance(live, Live):
                live.update(draw_story(story, width=console.width), refresh=True)
            elif (said := _said(story)) != told:
                told = said
                _show(story, form, many=True)
            if story.is_over:
                return
            await asyncio.sleep(LOOK_AGAIN_S)


class _Silent:
    """Stands for a live display where none can be."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


def _said(story: Story) -> tuple[object, ...]:
    """Give what makes a story another one; that time passes does not."""
    return (story.status, *((span.kind, span.begin, span.end) for span in story.spans))


def _show(story: Story, form: Format, *, many: bool = False) -> None:
    match form:
        case Format.JSON:
            document = document_of(story)
            text = (
                json_text(document, separators=(",", ":"))
                if many
                else json_text(document, indent=2)
            )
            sys.stdout.write(text + "\n")
            sys.stdout.flush()
        case Format.CSV:
            rows = [tuple(span_of(span, story.now).values()) for span in story.spans]
            print_table(SPAN_FIELDS, rows, form)
        case Format.TABLE:
            console.print(draw_story(story, width=console.width))

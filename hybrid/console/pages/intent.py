"""One intent's story, by any id: what `hybrid trace` tells."""

import shlex
from datetime import timedelta
from typing import Any

from aiohttp import web

from hybrid.console.ground import GROUND
from hybrid.text import json_text
from hybrid.waterfall import facts_of, look_of, words_of
from streams.stories.document import document_of
from streams.stories.finding import AmbiguousIdError, UnknownIdError, find_story
from streams.stories.story import Span, Status, Story
from streams.stories.words import duration

__all__ = ["intent"]

#: Kafka is read so long for one question; then what was found is shown, and said to be a part.
READ_LIMIT_S = 15.0
#: An id is not longer than this.
MOST_SIGNS = 300
#: Width of the drawing, height of a row, in its own units.
WIDTH, ROW = 1000, 22


async def intent(request: web.Request) -> web.Response:
    """Show the story of what an id names; without one, where to write it."""
    identifier = request.query.get("id", "").strip()[:MOST_SIGNS]
    tenant = request.query.get("tenant", "").strip()[:MOST_SIGNS] or None
    story, problem, status = None, "", 200
    if identifier:
        ground = request.app[GROUND]
        try:
            story = await find_story(
                ground.settings, identifier, now=ground.clock.now(), tenant=tenant,
                limit_s=READ_LIMIT_S,
            )  # fmt: skip
        except UnknownIdError as error:
            problem, status = str(error), 404
        except AmbiguousIdError as error:
            problem, status = str(error), 409
    return _page(request, identifier, tenant, story, problem, status)


def _page(
    request: web.Request,
    identifier: str,
    tenant: str | None,
    story: Story | None,
    problem: str,
    status: int,
) -> web.Response:
    is_over = story is None or story.is_over
    whose = f" --tenant {shlex.quote(tenant)}" if tenant else ""
    return request.app[GROUND].views.page(
        request,
        "intent.html",
        title=f"Intent {identifier}" if identifier else "An intent's story",
        status=status,
        command=f"hybrid trace {shlex.quote(identifier)}{whose}"
        if identifier
        else "hybrid trace ID",
        again_s=0 if is_over else 2,
        identifier=identifier,
        tenant=tenant or "",
        reveals=request.app[GROUND].settings.hybrid_console_content,
        problem=problem,
        story=story,
        failed=story is not None and story.status in {Status.FAILED, Status.LOST},
        facts=facts_of(story) if story else [],
        rows=_rows(story) if story else [],
        width=WIDTH,
        json=json_text(document_of(story), indent=2) if story else "",
    )


def _rows(story: Story) -> list[dict[str, Any]]:
    """Give each part of the time with where it lies in the whole."""
    if not story.spans:
        return []
    begin = min(span.begin for span in story.spans)
    ends = [story.now if span.end is None else span.end for span in story.spans]
    whole = max(max(ends) - begin, timedelta(milliseconds=1))
    return [
        {
            "after": duration(span.begin - begin),
            "kind": span.kind.value,
            "lasts": _lasts(span, story),
            "words": words_of(span),
            "look": look_of(span),
            "x": round((span.begin - begin) / whole * (WIDTH - 4), 1),
            "width": max(3, round(span.length(story.now) / whole * (WIDTH - 4), 1)),
            "y": number * ROW,
        }
        for number, span in enumerate(story.spans)
    ]


def _lasts(span: Span, story: Story) -> str:
    length = span.length(story.now)
    if span.end is None:
        return f"{duration(length)}, and goes on"
    return duration(length) if length else ""

"""Dead letters: causes first, then rows, then one; dismissing them, and taking that back."""

import shlex
from dataclasses import replace

from aiohttp import web

from hybrid.console.filters import Filters
from hybrid.console.fresh import Seen
from hybrid.console.ground import GROUND, Action, Ground, acted, who_asks
from hybrid.console.pages.asking import form_of, limited
from hybrid.console.views import link
from hybrid.errors import UsageError
from hybrid.letter_text import letter_document
from hybrid.text import json_text
from schemas.base import format_time
from schemas.vocabulary import DeadLetterReason, LetterState
from streams.publishing.dead_letters import Selection
from streams.triage.causes import Cause
from streams.triage.dismissing import dismissals, places_that
from streams.triage.journal import write_operations
from streams.triage.overview import Key, Overview, overview

__all__ = ["change", "changing", "letter", "letters", "rows"]

#: Rows of one page.
MOST = 50
#: So long a page waits for what others have asked for.
WAIT_S = 8.0
#: Causes of one page: beyond them are causes of single letters.
MOST_CAUSES = 200


async def letters(request: web.Request) -> web.Response:
    """Show the causes of what matches."""
    ground = request.app[GROUND]
    filters = Filters.read(request.query, now=ground.clock.now(), state=LetterState.OPEN)
    if filters.selection == Selection(state=LetterState.OPEN):
        seen = await ground.sources.open_letters.get(wait_s=WAIT_S)
    else:
        found = await limited(_read(ground, filters.selection, causes=True))
        seen = Seen(found, ground.clock.now())
    causes = seen.value.causes.sorted() if seen.value else []
    return ground.views.page(
        request,
        "letters.html",
        title="Dead letters",
        command=f"hybrid dlq causes{filters.arguments()}",
        again_s=3 if seen.value is None else 0,
        seen=seen,
        filters=filters,
        causes=[_shown(one, filters) for one in causes[:MOST_CAUSES]],
        more_causes=max(0, len(causes) - MOST_CAUSES),
        can_succeed=sum(one.count for one in causes if one.retriable),
        states=_states(seen.value, filters, "/letters"),
        reasons=[one.value for one in DeadLetterReason],
        at=ground.clock.now(),
    )


async def _read(
    ground: Ground,
    selection: Selection,
    *,
    most: int = 0,
    before: Key | None = None,
    causes: bool = False,
) -> Overview:
    """Read what matches, with what was known a moment ago of what has been done about it."""
    book = (await ground.sources.book.get(wait_s=WAIT_S)).value
    return await overview(
        ground.settings, selection, most=most, before=before, book=book, causes=causes
    )


def _shown(cause: Cause, filters: Filters) -> dict[str, object]:
    """Give a cause with the words that select its letters; of the rest of all there are none."""
    return {"cause": cause, "words": filters.words | cause.words()}


def _states(found: Overview | None, filters: Filters, path: str) -> list[dict[str, object]]:
    """Give the links to what stands otherwise, with how many do."""
    here = filters.selection.state
    words = filters.without_state()
    shown: list[dict[str, object]] = [
        {
            "name": state.value.replace("_", " "),
            "count": found.by_state[state] if found else None,
            "href": link(path, words, state=state.value),
            "is_here": state is here,
        }
        for state in LetterState
    ]
    whole = sum(found.by_state.values()) if found else None
    every = {"name": "all", "count": whole, "href": link(path, words, state="all")}
    return [*shown, {**every, "is_here": here is None}]


async def rows(request: web.Request) -> web.Response:
    """Show the newest of what matches, 50 a page."""
    ground = request.app[GROUND]
    filters = Filters.read(request.query, now=ground.clock.now(), state=LetterState.OPEN)
    before = _key(request.query.get("before", ""))
    found = await limited(_read(ground, filters.selection, most=MOST, before=before))
    older = found.rows[-1].key if found.rows and found.more else None
    return ground.views.page(
        request,
        "rows.html",
        title="Dead letters",
        command=f"hybrid dlq list{filters.arguments()}",
        found=found,
        filters=filters,
        states=_states(found, filters, "/letters/rows"),
        older=link("/letters/rows", filters.words, before=_text(older)) if older else "",
        newest=link("/letters/rows", filters.words) if before else "",
        reasons=[one.value for one in DeadLetterReason],
    )


def _text(key: Key) -> str:
    return f"{key[0]!r}~{key[1]}~{key[2]}"


def _key(text: str) -> Key | None:
    """Read where the page before ended; raises UsageError."""
    if not text:
        return None
    try:
        at, partition, offset = text.split("~")
        return float(at), int(partition), int(offset)
    except ValueError:
        message = "before: follow the link to older ones; this address was changed"
        raise UsageError(message) from None


async def letter(request: web.Request) -> web.Response:
    """Show one dead letter, without the content of its prompt."""
    ground = request.app[GROUND]
    identifier = request.match_info["id"]
    found = await limited(_read(ground, Selection(id=identifier), most=MOST))
    if not found.rows:
        raise web.HTTPNotFound(
            text=f"no dead letter has the id {identifier}: Kafka keeps them for 30 days\n"
        )
    shown = [
        {
            "row": row,
            "json": json_text(letter_document(ground.settings, row.letter), indent=2),
            "words": {"id": row.letter.dead_letter_id},
        }
        for row in found.rows
    ]
    return ground.views.page(
        request,
        "letter.html",
        title=f"Dead letter {identifier}",
        command=f"hybrid dlq show {shlex.quote(identifier)}",
        letters=shown,
        reveals=ground.settings.hybrid_console_content,
    )


async def changing(request: web.Request) -> web.Response:
    """Show what would be dismissed, or reopened; nothing that comes later is meant."""
    ground, now = request.app[GROUND], request.app[GROUND].clock.now()
    reopens = request.path.endswith("/reopen")
    wanted = LetterState.DISMISSED if reopens else LetterState.OPEN
    filters = _chosen(Filters.read(request.query, now=now))
    selection = replace(filters.selection, state=wanted)
    found = await limited(overview(ground.settings, selection))
    words = {**filters.without_state(), "until": filters.words.get("until") or format_time(now)}
    return ground.views.page(
        request,
        "dismiss.html",
        title="Reopen dead letters" if reopens else "Dismiss dead letters",
        command=f"hybrid dlq {'reopen' if reopens else 'dismiss'}{filters.arguments(state=False)}",
        found=found,
        words=words,
        reopens=reopens,
        problem="",
    )


async def change(request: web.Request) -> web.Response:
    """Dismiss, or reopen, what the page before has shown."""
    ground, form = request.app[GROUND], await form_of(request)
    reopens = request.path.endswith("/reopen")
    now, why = ground.clock.now(), form.get("why", "").strip()
    filters = _chosen(Filters.read(form, now=now))
    if not reopens and not why:
        message = "say why they will not be replayed: go back and fill it in"
        raise UsageError(message)
    wanted = LetterState.DISMISSED if reopens else LetterState.OPEN
    selection = replace(filters.selection, state=wanted)
    places = await limited(places_that(ground.settings, selection, wanted))
    records = list(
        dismissals(places, dismissed=not reopens, why=why, by=who_asks(request), now=now)
    )
    if records:
        await write_operations(ground.settings, records)
    ground.sources.changed()
    action = Action.REOPENED if reopens else Action.DISMISSED
    acted(request, action, f"{len(places)} dead letters:{filters.arguments(state=False)}")
    raise web.HTTPSeeOther(link("/letters", state="open" if reopens else "dismissed"))


def _chosen(filters: Filters) -> Filters:
    """Refuse a change of all there is; raises UsageError."""
    if not set(filters.words) - {"state", "until"}:
        message = "which ones? Choose a cause, or a filter, first"
        raise UsageError(message)
    return filters

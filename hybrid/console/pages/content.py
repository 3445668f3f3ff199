"""What prompts and answers contain: only where it is configured, to operators, and on record."""

import shlex
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from hybrid.console.ground import GROUND, Action, acted, who_asks
from hybrid.console.pages.asking import form_of, limited
from hybrid.letter_text import letter_document
from hybrid.text import json_text
from schemas.operations import RevealRecord
from streams.publishing.dead_letters import Selection
from streams.triage.book import read_book
from streams.triage.journal import write_operations
from streams.triage.revealing import results_of
from streams.triage.stands import standing_letters

__all__ = ["letter_content", "result_content"]

READ_LIMIT_S = 30.0


async def letter_content(request: web.Request) -> web.Response:
    """Show a dead letter with its prompt."""
    ground, identifier = request.app[GROUND], request.match_info["id"]
    await _note(request, "dead letter", identifier)

    async def read() -> list[dict[str, Any]]:
        book, chosen = await read_book(ground.settings), Selection(id=identifier)
        found = standing_letters(ground.settings, chosen, book, sources=True)
        return [
            letter_document(ground.settings, letter, content=True) async for _, letter, _ in found
        ]

    command = f"hybrid dlq show {shlex.quote(identifier)} --content"
    return _page(request, f"dead letter {identifier}", await limited(read()), command)


async def result_content(request: web.Request) -> web.Response:
    """Show the results of an intent, with the answer."""
    ground, form = request.app[GROUND], await form_of(request)
    identifier, tenant = form.get("id", "").strip(), form.get("tenant", "").strip() or None
    await _note(request, "result", identifier)
    reading = results_of(ground.settings, identifier, tenant=tenant, limit_s=READ_LIMIT_S)
    command = f"hybrid results --intent-id {shlex.quote(identifier)}"
    return _page(request, f"result of {identifier}", await limited(reading), command)


async def _note(request: web.Request, what: str, identifier: str) -> None:
    """Put on record that it is shown, before it is; raises HTTPForbidden where it is hidden."""
    ground = request.app[GROUND]
    if not ground.settings.hybrid_console_content:
        raise web.HTTPForbidden(
            text="content is hidden on this console: HYBRID_CONSOLE_CONTENT=true lets operators see"
            " it\n"
        )
    record = RevealRecord(what=what, id=identifier, by=who_asks(request), at=ground.clock.now())
    await limited(write_operations(ground.settings, [record]))
    ground.sources.deeds.forget()
    acted(request, Action.REVEALED, f"{what} {identifier}")


def _page(
    request: web.Request, what: str, documents: Sequence[dict[str, Any]], command: str
) -> web.Response:
    return request.app[GROUND].views.page(
        request,
        "content.html",
        title=f"Content: {what}",
        command=command,
        documents=[json_text(one, indent=2) for one in documents],
    )

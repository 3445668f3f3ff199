"""Hands on the work: what is paused, pausing it and letting it go on, ending intents."""

import shlex
from collections.abc import Mapping
from urllib.parse import quote

from aiohttp import web

from agents.clock import SystemDice, uuid7
from hybrid.console.ground import GROUND, Action, Ground, acted, who_asks
from hybrid.console.pages.asking import form_of, limited
from hybrid.errors import UsageError
from hybrid.hands import (
    LOOK_LIMIT_S,
    ended_sentence,
    going_on_sentence,
    held_sentence,
    meant,
    standing_sentences,
    usable_ids,
    usable_why,
)
from hybrid.moments import moment_of
from hybrid.text import visible
from schemas.operations import CancelRecord, HoldRecord
from schemas.vocabulary import Held
from streams.kafka.rights import cancel_rights, require_rights
from streams.triage.cancelling import Standing, carry_out, look_up
from streams.triage.holding import give_order
from streams.triage.ordered import named

__all__ = ["cancel", "cancelling", "hold", "work"]

WAIT_S = 8.0
#: So long the ends of what is cancelled are waited for; the rest end as workers come to them.
ENDS_S = 5.0
#: The words that say which intents are meant.
WORDS = ("id", "tenant", "type", "until")


async def work(request: web.Request) -> web.Response:
    """Show what waits and what is paused, with the hands on it."""
    ground = request.app[GROUND]
    seen = await ground.sources.standing.get(wait_s=WAIT_S)
    paused = (seen.value.paused or ()) if seen.value else ()
    return ground.views.page(
        request,
        "work.html",
        title="Work",
        command="hybrid status",
        again_s=3 if seen.value is None else 0,
        seen=seen,
        paused=[{"hold": one, "named": named(one)} for one in paused],
        said=ground.said.get(request.query.get("said", "")),
        providers=[one.name for one in ground.settings.provider_specs],
        types=list(ground.settings.hybrid_types),
    )


async def hold(request: web.Request) -> web.Response:
    """Pause work, or let it go on; raises UsageError."""
    ground, form = request.app[GROUND], await form_of(request)
    held, now = request.path.endswith("/pause"), ground.clock.now()
    what, name = meant(ground.settings, _chosen(form))
    order = HoldRecord(
        what=what,
        name=name,
        held=held,
        why=visible(usable_why(form.get("why", "").strip())),
        by=who_asks(request),
        at=now,
    )
    before = await limited(give_order(ground.settings, order, now=now))
    ground.sources.standing.forget()
    acted(request, Action.HELD if held else Action.LET_GO, named(order))
    said = held_sentence(order, before) if held else going_on_sentence(order, before, now=now)
    raise _back(ground, said)


def _chosen(form: Mapping[str, str]) -> dict[Held, str | None]:
    """Read what is to be held; raises UsageError for a word that is none."""
    try:
        what = Held(form.get("what", ""))
    except ValueError:
        message = f"what: choose any of {', '.join(Held)}"
        raise UsageError(message) from None
    return {} if what is Held.ALL else {what: form.get("name", "").strip()}


async def cancelling(request: web.Request) -> web.Response:
    """Show how many would end; what comes in later is not meant. Raises UsageError."""
    ground = request.app[GROUND]
    order = _order(request, request.query)
    found = await limited(_look_up(ground, order))
    words = {**_words(request.query), "until": order.until.isoformat()}
    shown = {name: one for name, one in _words(request.query).items() if name != "id"}
    options = "".join(f" --{name} {shlex.quote(one)}" for name, one in shown.items())
    named_ids = "".join(f" {shlex.quote(one)}" for one in order.intent_ids)
    return ground.views.page(
        request,
        "cancel.html",
        title="Cancel intents",
        command=f"hybrid cancel{named_ids}{options}",
        words=words,
        found=found,
        sentences=list(standing_sentences(order, found)),
        can_end=bool(found.open) or bool(order.intent_ids and found.unknown) or not found.whole,
    )


async def cancel(request: web.Request) -> web.Response:
    """End what the page before has shown; raises UsageError."""
    ground, form = request.app[GROUND], await form_of(request)
    order = _order(request, form)
    if not order.why:
        message = "say why they end without a result: go back and fill it in"
        raise UsageError(message)
    found = await limited(_look_up(ground, order))
    if not found.open and found.whole and not (order.intent_ids and found.unknown):
        raise _back(ground, "nothing like that waits or runs any more: nothing was ordered")
    ended = await carry_out(ground.settings, order, found.open, wait_s=ENDS_S)
    ground.sources.standing.forget()
    acted(request, Action.CANCELLED, " ".join(f"{k}={v}" for k, v in _words(form).items()))
    raise _back(ground, ended_sentence(ended))


async def _look_up(ground: Ground, order: CancelRecord) -> Standing:
    await require_rights(ground.settings, cancel_rights(ground.settings))
    return await look_up(ground.settings, order, limit_s=LOOK_LIMIT_S)


def _words(given: Mapping[str, str]) -> dict[str, str]:
    return {name: given[name].strip() for name in WORDS if given.get(name, "").strip()}


def _order(request: web.Request, given: Mapping[str, str]) -> CancelRecord:
    """Read which intents are to end; raises UsageError where nothing says it."""
    ground, words = request.app[GROUND], _words(given)
    now = ground.clock.now()
    if not set(words) - {"until"}:
        message = "which ones? Name an intent, a tenant or a type first"
        raise UsageError(message)
    return CancelRecord(
        cancel_id=uuid7(ground.clock.now_ms(), SystemDice()),
        intent_ids=usable_ids([words["id"]] if "id" in words else []),
        tenant=words.get("tenant"),
        type=words.get("type"),
        until=min(now, moment_of(words.get("until"), now=now, option="until") or now),
        why=visible(usable_why(given.get("why", "").strip())),
        by=who_asks(request),
        at=now,
    )


def _back(ground: Ground, sentence: str) -> web.HTTPSeeOther:
    """Lead to where the work is seen, with what came of it."""
    return web.HTTPSeeOther(f"/work?said={quote(ground.said.keep(sentence), safe='')}")

"""The providers: how workers see them now and saw them before, limits in use, what comes next."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aiohttp import web

from hybrid.console.foreseeing import Question, Said, asked
from hybrid.console.fresh import WORLD, sentence_of
from hybrid.console.ground import GROUND, Ground
from hybrid.console.swimlanes import ROW, WIDTH, lanes_of
from hybrid.console.views import link
from hybrid.errors import UsageError
from hybrid.moments import moment_of
from hybrid.standing import Standing, providers_of
from hybrid.text import visible
from schemas.vocabulary import Priority
from streams.bill.health import Change, Used, health_changes, stretches, used_last_minute
from streams.store.clickhouse import ClickHouse

__all__ = ["providers"]

WAIT_S = 8.0
RANGES = ("1h", "6h", "24h", "7d")
MOST_SIGNS = 200
#: So many of the newest changes are listed.
MOST_CHANGES = 100


@dataclass(frozen=True, slots=True)
class _Past:
    """What the record says; `problem` where it could not be asked."""

    changes: list[Change]
    used: dict[str, Used] | None
    problem: str = ""


async def providers(request: web.Request) -> web.Response:
    """Show each provider now and through a time, and what would happen to a new intent."""
    ground, now = request.app[GROUND], request.app[GROUND].clock.now()
    words = {
        name: request.query[name].strip()[:MOST_SIGNS]
        for name in ("since", "type", "tenant", "priority")
        if request.query.get(name, "").strip()
    }
    since = moment_of(words.get("since", "24h"), now=now, option="since") or now
    standing = await ground.sources.standing.get(wait_s=WAIT_S)
    hour = await ground.sources.provider_hour.get(wait_s=WAIT_S)
    past = await _past(ground, since, now)
    known = {one.name: one for one in providers_of(standing.value)}
    ended = _by_provider(hour.value.reliability) if hour.value else {}
    took = _by_provider(hour.value.latency, only="provider") if hour.value else {}
    specs = {one.name: one for one in ground.settings.provider_specs}
    names = list(dict.fromkeys([*known, *specs, *ended]))
    notes, said = _foreseen(ground, standing.value, words)
    return ground.views.page(
        request,
        "providers.html",
        title="Providers",
        command="hybrid costs reliability --by provider --since 1h",
        rows=[
            {"name": one, "now": known.get(one), "ended": ended.get(one), "took": took.get(one)}
            for one in names
        ],
        limits=[
            {
                "name": one,
                "spec": specs[one],
                "now": known.get(one),
                "used": past.used.get(one, Used(0, 0)) if past.used is not None else None,
                "views": _views(standing.value, one),
            }
            for one in names
            if one in specs
        ],
        standing=standing,
        hour=hour,
        past=past,
        lanes=lanes_of(stretches(past.changes, since=since, until=now), since=since, until=now),
        changes=past.changes[::-1][:MOST_CHANGES],
        since=since,
        row=ROW,
        width=WIDTH,
        words=words,
        ranges=[(one, link("/providers", words, since=one)) for one in RANGES],
        chosen=words.get("since", "24h"),
        priorities=[one.value for one in Priority],
        notes=notes,
        said=said,
        shut=[one.name for one in known.values() if one.open_to < one.workers],
    )


async def _past(ground: Ground, since: datetime, now: datetime) -> _Past:
    """Ask the record; where it is away the page says so, and shows the rest."""

    def ask(store: ClickHouse) -> _Past:
        return _Past(
            health_changes(store, since=since, until=now), used_last_minute(store, now=now)
        )

    try:
        return await ground.sources.asked(ask)
    except WORLD as error:
        return _Past([], None, sentence_of(error))


def _foreseen(
    ground: Ground, standing: Standing | None, words: Mapping[str, str]
) -> tuple[list[str], list[Said]]:
    """Ask the policy, where a type is named; raises UsageError for a priority that is none."""
    if "type" not in words or standing is None:
        return [], []
    priority = words.get("priority", Priority.MEDIUM.value)
    if priority not in {*Priority}:
        message = f"priority = {visible(priority)}: choose any of {', '.join(Priority)}"
        raise UsageError(message)
    question = Question(words["type"], words.get("tenant", "default"), Priority(priority))
    return asked(ground.settings, standing, question, now_ms=ground.clock.now_ms())


def _views(standing: Standing | None, name: str) -> list[Any]:
    """Give how each worker sees a provider."""
    workers = standing.workers if standing else ()
    return [one for worker in workers for one in worker.providers if one.name == name]


def _by_provider(table: Any, *, only: str = "") -> dict[str, dict[str, Any]]:  # noqa: ANN401
    """Give the rows of a table by their provider; `only`: those of one phase."""
    return {one["provider"]: one for one in table.named() if not only or one["phase"] == only}

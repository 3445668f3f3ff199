"""Hands on the work, as commands and pages have them: what may be named, and what is said of it."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from hybrid.errors import UsageError
from hybrid.text import visible
from schemas.operations import CancelRecord, HoldRecord
from schemas.settings import Settings
from schemas.vocabulary import Held
from streams.messages.orders import ID_REACHES, Orders, ends_at
from streams.stories.words import duration
from streams.triage.cancelling import Ended, Standing
from streams.triage.ordered import named

__all__ = [
    "LOOK_LIMIT_S",
    "MOST_WORDS",
    "ended_sentence",
    "going_on_sentence",
    "held_sentence",
    "meant",
    "standing_sentences",
    "usable_ids",
    "usable_why",
]

#: Names and reasons stand in logs and on one line of a screen.
MOST_WORDS = 512
#: What waits or runs is read for so long.
LOOK_LIMIT_S = 30.0
#: So many ids are named in one sentence.
MOST_NAMED = 10


def meant(settings: Settings, chosen: Mapping[Held, str | None]) -> tuple[Held, str]:
    """Say what is paused or goes on; raises UsageError for more than one, or for what is not."""
    given = [(what, name) for what, name in chosen.items() if name is not None]
    if len(given) > 1:
        options = " and ".join(f"--{what.value}" for what, _ in given)
        message = f"{options}: each pause is of one of them; say them one after the other"
        raise UsageError(message)
    if not given:
        return Held.ALL, ""
    what, name = given[0]
    if not 0 < len(name) <= MOST_WORDS:
        message = f"--{what.value}: give a name of 1 to {MOST_WORDS} signs"
        raise UsageError(message)
    known = [one.name for one in settings.provider_specs]
    if what is Held.PROVIDER and name not in known:
        message = f"--provider {visible(name)}: no such provider; there are {', '.join(known)}"
        raise UsageError(message)
    return what, name


def usable_why(why: str) -> str:
    """Give a reason that is short enough for a screen; raises UsageError for any other."""
    if len(why) > MOST_WORDS:
        message = f"--why: give at most {MOST_WORDS} signs"
        raise UsageError(message)
    return why


def usable_ids(ids: list[str]) -> list[str]:
    """Give ids that intents may have; raises UsageError for any other."""
    if any(not 0 < len(one) <= MOST_WORDS for one in ids):
        message = f"an intent's id has 1 to {MOST_WORDS} signs"
        raise UsageError(message)
    return ids


def held_sentence(hold: HoldRecord, before: Orders) -> str:
    """Say that something is paused now, and how it goes on."""
    already = any((one.what, one.name) == (hold.what, hold.name) for one in before)
    again = "was paused already, and is" if already else "is"
    options = f" --{hold.what.value} {hold.name}" if hold.name else ""
    return (
        f"{named(hold)} {again} paused until {ends_at(hold):%Y-%m-%d %H:%M} UTC at the latest; "
        f"go on with: hybrid resume{options}"
    )


def going_on_sentence(hold: HoldRecord, before: Orders, *, now: datetime) -> str:
    """Say that something goes on, after how long, and what does not."""
    mine = [one for one in before if (one.what, one.name) == (hold.what, hold.name)]
    rest = [named(one) for one in before if one not in mine]
    said = f"{named(hold)} was not paused"
    if mine:
        said = f"{named(hold)} goes on, after {duration(max(timedelta(), now - mine[0].at))}"
    return said + (f"; still paused: {', '.join(rest)}" if rest else "")


def standing_sentences(order: CancelRecord, found: Standing) -> Iterator[str]:
    """Say what of an order's ids has ended, and what is not there."""
    for how, said in (("completed", "has its result"), ("failed", "has ended as a dead letter")):
        ended = [one for one, status in found.over.items() if status == how]
        if ended:
            yield f"{_listed(ended)} {said} already: nothing is changed"
    if found.unknown and order.intent_ids:
        whole = "" if found.whole else " as far as Kafka was read,"
        reach = duration(ID_REACHES)
        yield (
            f"{_listed(found.unknown)}:{whole} nothing waits, runs or has ended under that id; "
            f"where it comes in within {reach} it ends as well"
        )


def ended_sentence(ended: Ended) -> str:
    """Say what came of an order to end intents."""
    parts = [f"cancelled {len(ended.cancelled)}"]
    results = [one for one, how in ended.otherwise.items() if how == "completed"]
    others = len(ended.otherwise) - len(results)
    parts += [f"{len(results)} had their result first"] if results else []
    parts += [f"{others} ended as dead letters of other reasons first"] if others else []
    if ended.left:
        parts.append(
            f"{len(ended.left)} have not ended yet: each does as a worker comes to it, what is put "
            "off when its deferred topic is read on (hybrid status)"
        )
    return "; ".join(parts)


def _listed(ids: list[str]) -> str:
    more = f" and {len(ids) - MOST_NAMED} more" if len(ids) > MOST_NAMED else ""
    return ", ".join(ids[:MOST_NAMED]) + more

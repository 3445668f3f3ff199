"""How providers' breakers moved, and what of their limits was used, as the record has it."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from streams.store.clickhouse import ClickHouse

__all__ = ["Change", "Stretch", "Used", "health_changes", "stretches", "used_last_minute"]

#: So many changes are read at the most, the newest of them.
MOST = 2_000
CLOSED = "closed"
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Change:
    """A worker's breaker of a provider moved."""

    at: datetime
    worker: str
    provider: str
    before: str
    after: str
    #: The failure for which it moved; empty = it closed, or was probed.
    cause: str


@dataclass(frozen=True, slots=True)
class Stretch:
    """How a provider stood for a while, at one worker."""

    worker: str
    state: str
    begin: datetime
    end: datetime
    cause: str


@dataclass(frozen=True, slots=True)
class Used:
    """What was asked of a provider within a minute."""

    requests: int
    tokens: int


def health_changes(store: ClickHouse, *, since: datetime, until: datetime) -> list[Change]:
    """Read how breakers moved in a time, the oldest first; the newest 2,000 of them."""
    _, rows = store.rows(
        "SELECT occurred_at, worker, details FROM workflow_events FINAL "
        "WHERE name = 'provider_health_changed' "
        "AND occurred_at >= fromUnixTimestamp64Milli({since:Int64}) "
        "AND occurred_at <= fromUnixTimestamp64Milli({until:Int64}) "
        "ORDER BY occurred_at DESC LIMIT {most:UInt32}",
        {"since": _ms(since), "until": _ms(until), "most": MOST},
    )
    found = []
    for at, worker, text in rows:
        with suppress(ValueError, AttributeError):  # somebody else's
            said = json.loads(text)
            found.append(
                Change(
                    at.replace(tzinfo=since.tzinfo),
                    worker,
                    str(said.get("provider") or ""),
                    str(said.get("before") or ""),
                    str(said.get("after") or ""),
                    str(said.get("cause") or ""),
                )
            )
    return sorted((one for one in found if one.provider), key=lambda one: one.at)


def stretches(
    changes: Iterable[Change], *, since: datetime, until: datetime
) -> Mapping[str, list[Stretch]]:
    """Give how each provider stood at each worker through a time; pure.

    Before its first change a breaker stood as that says. A worker that ended while it was open
    says nothing of it: the stretch goes on to the end of the time.
    """
    lines: dict[tuple[str, str], list[Change]] = defaultdict(list)
    for one in changes:
        lines[one.provider, one.worker].append(one)
    found: dict[str, list[Stretch]] = defaultdict(list)
    for (provider, worker), moved in sorted(lines.items()):
        begin, state, cause = since, moved[0].before, ""
        for one in moved:
            if one.at > begin:
                found[provider].append(Stretch(worker, state, begin, one.at, cause))
            begin, state = one.at, one.after
            cause = "" if one.after == CLOSED else one.cause or cause
        found[provider].append(Stretch(worker, state, begin, max(begin, until), cause))
    return found


def used_last_minute(store: ClickHouse, *, now: datetime) -> dict[str, Used]:
    """Count what was asked of each provider in the minute before, as far as it is recorded."""
    _, rows = store.rows(
        "SELECT provider, count(), sum(uncached_input_tokens + cached_input_tokens "
        "+ visible_output_tokens + reasoning_tokens) FROM provider_attempts FINAL "
        "WHERE started_at >= fromUnixTimestamp64Milli({since:Int64}) GROUP BY provider",
        {"since": _ms(now - MINUTE)},
    )
    return {str(provider): Used(int(calls), int(tokens)) for provider, calls, tokens in rows}


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)

"""What pages about calls are asked for: read from an address, written into links and commands."""

import csv
import io
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web

from hybrid.console.views import link
from hybrid.errors import UsageError
from hybrid.moments import moment_of
from hybrid.text import visible
from schemas.base import format_time
from streams.bill.costs import Table
from streams.bill.dimensions import DIMENSIONS, Which

__all__ = ["FILTERS", "RANGES", "Asked", "as_csv", "read"]

FILTERS = ("tenant", "type", "provider", "model")
RANGES = ("1h", "24h", "7d", "30d")
#: By what the rows of one grouping are looked into further.
THEN = {
    "provider": "model", "model": "tenant", "tenant": "type", "type": "provider", "day": "hour",
}  # fmt: skip
MOST_SIGNS = 200
#: What is longer is drawn by day.
BY_HOUR = timedelta(days=4)
STEPS = {"hour": timedelta(hours=1), "day": timedelta(days=1)}


@dataclass(frozen=True, slots=True)
class Asked:
    """What an address asks for."""

    path: str
    by: tuple[str, ...]
    #: As they stand in the address; `since` always does.
    words: dict[str, str]
    since: datetime
    until: datetime

    @property
    def which(self) -> Which:
        """Give the calls that are asked about."""
        only = {name: self.words[name] for name in FILTERS if name in self.words}
        until = self.until if "until" in self.words else None
        return {"since": self.since, "until": until, "only": only}

    @property
    def before(self) -> Which:
        """Give the calls of the time before, which is as long."""
        return {**self.which, "since": self.since - (self.until - self.since), "until": self.since}

    @property
    def step(self) -> str:
        """Say by what it is drawn over time."""
        return "hour" if self.until - self.since <= BY_HOUR else "day"

    @property
    def options(self) -> str:
        """Give it as a command of `hybrid costs` takes it."""
        return "".join(f" --{name} {shlex.quote(value)}" for name, value in self.words.items())

    def link(self, path: str = "", **changes: str | None) -> str:
        """Give the address of the same, or of another page, with changes."""
        return link(path or self.path, self.words, **{"by": ",".join(self.by), **changes})

    def permalink(self) -> str:
        """Give the address that will show the same calls for ever."""
        return self.link(since=format_time(self.since), until=format_time(self.until))

    def ranges(self) -> list[tuple[str, str]]:
        """Give the links to the last hour and what is longer."""
        return [(one, self.link(since=one, until=None)) for one in RANGES]

    def further(self, row: Mapping[str, Any]) -> str:
        """Give the address of a row's own calls, by something else; none where there is none."""
        words = {**self.words, **{
            name: str(row[name]) for name in self.by if name in FILTERS and row[name]
        }}  # fmt: skip
        within = next((one for one in self.by if one in STEPS), None)
        if within is not None and row[within] is not None:
            words |= self._within(row[within], within)
        if words == self.words:
            return ""
        then = THEN.get(self.by[-1], "outcome")
        return link(self.path, words, by=then if then not in words else "outcome")

    def part(self, begin: datetime, **more: str) -> str:
        """Give the address of one step of the time that is drawn."""
        words = {**self.words, **self._within(begin, self.step), **more}
        return link(self.path, words, by=",".join(self.by))

    def begins(self, first: datetime) -> list[datetime]:
        """Give where the steps of the time begin, from the first of which something is known."""
        step, found, at = STEPS[self.step], [], first
        while at < self.until:
            found.append(at)
            at += step
        return found

    def _within(self, begin: Any, step: str) -> dict[str, str]:  # noqa: ANN401 - a date or moment
        first = moment(begin)
        return {"since": format_time(first), "until": format_time(first + STEPS[step])}


def moment(begin: Any) -> datetime:  # noqa: ANN401 - ClickHouse gives a date or a moment
    """Give a date or a moment of ClickHouse's as a moment."""
    if not isinstance(begin, datetime):
        return datetime(begin.year, begin.month, begin.day, tzinfo=UTC)
    return begin if begin.tzinfo else begin.replace(tzinfo=UTC)


__all__ += ["moment"]


def read(path: str, query: Mapping[str, str], *, now: datetime, by: str) -> Asked:
    """Read an address; `by` where it says none. Raises UsageError."""
    named = [*(query.get("by") or by).split(","), query.get("then", "")]
    chosen = tuple(dict.fromkeys(one.strip() for one in named if one.strip()))
    unknown = [one for one in chosen if one not in DIMENSIONS]
    if unknown or not chosen or len(chosen) > 2:  # noqa: PLR2004 - more is no table to read
        message = f"by = {visible(','.join(chosen))}: choose one or two of {', '.join(DIMENSIONS)}"
        raise UsageError(message)
    words = {
        name: query[name].strip()[:MOST_SIGNS]
        for name in (*FILTERS, "since", "until")
        if query.get(name, "").strip()
    }
    words.setdefault("since", "24h")
    since = moment_of(words["since"], now=now, option="since") or now
    # A chart has a step for each day: up to now, and not to the year 2199.
    until = min(now, moment_of(words.get("until"), now=now, option="until") or now)
    if until <= since:
        message = f"until = {visible(words.get('until', 'now'))}: choose a moment after since"
        raise UsageError(message)
    return Asked(path, chosen, words, since, until)


def as_csv(name: str, table: Table) -> web.Response:
    """Give a table as a file, as the command writes it."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows(["" if one is None else _cell(one) for one in row] for row in table.rows)
    return web.Response(
        text=out.getvalue(),
        content_type="text/csv",
        headers={"Content-Disposition": f'attachment; filename="{name}.csv"'},
    )


def _cell(value: object) -> str:
    """Keep a spreadsheet from taking somebody's text for a formula."""
    text = str(value)
    return f"'{text}" if text[:1] in {"=", "+", "-", "@", "\t", "\r"} else text

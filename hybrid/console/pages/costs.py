"""What it cost, by what one groups it: a table, drawn, to be drilled into, and as CSV."""

import csv
import io
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from aiohttp import web

from hybrid.console.ground import GROUND
from hybrid.console.views import link
from hybrid.errors import UsageError
from hybrid.moments import moment_of
from hybrid.text import visible
from streams.bill import costs as questions
from streams.bill.costs import DIMENSIONS, Table
from streams.bill.dimensions import Which
from streams.store.clickhouse import ClickHouse

__all__ = ["costs", "costs_csv"]

FILTERS = ("tenant", "type", "provider", "model")
#: By what the rows of one grouping are looked into further.
THEN = {
    "provider": "model", "model": "tenant", "tenant": "type", "type": "provider", "day": "hour",
}  # fmt: skip
RANGES = ("1h", "24h", "7d", "30d")
#: Rows of the page; the CSV has all of them.
MOST = 200
MOST_SIGNS = 200
WIDTH = 300


@dataclass(frozen=True, slots=True)
class Asked:
    """What the address asks for."""

    by: tuple[str, ...]
    words: dict[str, str]
    which: Which


@dataclass(frozen=True, slots=True)
class Spent:
    """What the page shows, and no more: it is kept for a while."""

    total: dict[str, Any]
    rows: list[dict[str, Any]]
    more: int
    unpriced: Table
    wasted: Table


def read(query: Mapping[str, str], request: web.Request) -> Asked:
    """Read an address; raises UsageError."""
    now = request.app[GROUND].clock.now()
    by = tuple(dict.fromkeys(one for one in query.get("by", "provider,model").split(",") if one))
    unknown = [one for one in by if one not in DIMENSIONS]
    if unknown or not by or len(by) > 2:  # noqa: PLR2004 - more is no table to read
        message = f"by = {visible(','.join(by))}: choose one or two of {', '.join(DIMENSIONS)}"
        raise UsageError(message)
    words = {
        name: query[name].strip()[:MOST_SIGNS]
        for name in (*FILTERS, "since", "until")
        if query.get(name, "").strip()
    }
    words.setdefault("since", "24h")
    which: Which = {
        "since": moment_of(words["since"], now=now, option="since"),
        "until": moment_of(words.get("until"), now=now, option="until"),
        "only": {name: words[name] for name in FILTERS if name in words},
    }
    return Asked(by, words, which)


async def costs(request: web.Request) -> web.Response:
    """Show what was spent, by what it is grouped."""
    ground, asked = request.app[GROUND], read(request.query, request)

    def ask(store: ClickHouse) -> Spent:
        """Ask what there is to ask: a query over all calls takes its time."""
        table, whole = questions.spent(store, by=asked.by, **asked.which)
        total, none = whole.named()[0], Table([], [])
        return Spent(
            total,
            _rows(table, asked),
            max(0, len(table.rows) - MOST),
            questions.unpriced(store, **asked.which) if total["unpriced"] else none,
            questions.wasted(store, **asked.which) if total["calls"] else none,
        )

    answer = await ground.sources.kept.get(
        link("/costs", asked.words, by=",".join(asked.by)), lambda: ground.sources.asked(ask)
    )
    spent = answer.value
    options = "".join(f" --{name} {shlex.quote(value)}" for name, value in asked.words.items())
    return ground.views.page(
        request,
        "costs.html",
        title="Costs",
        command=f"hybrid costs report --by {','.join(asked.by)}{options}",
        by=asked.by,
        words=asked.words,
        dimensions=list(DIMENSIONS),
        ranges=[(one, link("/costs", asked.words, since=one, by=",".join(asked.by)))
                for one in RANGES],
        total=spent.total,
        rows=spent.rows,
        more=spent.more,
        unpriced=spent.unpriced.named(),
        wasted=spent.wasted.named(),
        as_of=answer.as_of,
        csv=link("/costs.csv", asked.words, by=",".join(asked.by)),
        width=WIDTH,
    )  # fmt: skip


def _rows(table: Table, asked: Asked) -> list[dict[str, Any]]:
    """Give the rows with their bars, and where each leads to."""
    rows = Table(table.columns, table.rows[:MOST]).named()
    dearest = max((Decimal(one["cost_usd"]) for one in rows if one["cost_usd"]), default=Decimal(0))
    return [
        {
            **row,
            "keys": [str(row[name]) for name in asked.by],
            "href": _further(row, asked),
            "bar": int(WIDTH * Decimal(row["cost_usd"] or 0) / dearest) if dearest else 0,
        }
        for row in rows
    ]


def _further(row: Mapping[str, Any], asked: Asked) -> str:
    """Give the address of a row's own calls, by something else; none where that is not asked."""
    words = {**asked.words, **{name: str(row[name]) for name in asked.by if name in FILTERS}}
    if words == asked.words:
        return ""
    then = THEN.get(asked.by[-1], "outcome")
    return link("/costs", words, by=then if then not in words else "outcome")


async def costs_csv(request: web.Request) -> web.Response:
    """Give the same as CSV, as the command writes it."""
    asked = read(request.query, request)
    table = await request.app[GROUND].sources.asked(
        lambda store: questions.report(store, by=asked.by, **asked.which)
    )
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows(["" if one is None else _cell(one) for one in row] for row in table.rows)
    return web.Response(
        text=out.getvalue(),
        content_type="text/csv",
        headers={"Content-Disposition": 'attachment; filename="costs.csv"'},
    )


def _cell(value: object) -> str:
    """Keep a spreadsheet from taking somebody's text for a formula."""
    text = str(value)
    return f"'{text}" if text[:1] in {"=", "+", "-", "@", "\t", "\r"} else text

"""The questions of `hybrid costs`, as SQL over tables and views."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Unpack

from schemas.base import format_usd
from streams.bill.dimensions import DIMENSIONS, OF_OUTCOMES, TIMES, Which, grouped, period
from streams.bill.savings import OF_BATCHES
from streams.store.clickhouse import ClickHouse

__all__ = [
    "DIMENSIONS",
    "FAILED",
    "PHASES",
    "TIMES",
    "UNCERTAIN",
    "WHOLE",
    "ZERO",
    "Table",
    "daily",
    "latency",
    "period",
    "reliability",
    "report",
    "spent",
    "top",
    "total",
    "unpriced",
    "wasted",
]

#: Where the time goes, and the calls that know it: a first call has waited in the queue, a later
#: one has not.
PHASES = {
    "queue": ("queue_ms", "attempt = 1 AND provider_sequence = 0 AND NOT hedge"),
    "limiter": ("limiter_ms", "1"),
    "backoff": ("backoff_ms", "1"),
    # A line of a batch is no call, and takes none of its time.
    "provider": ("call_ms", f"NOT {OF_BATCHES}"),
}
#: The phase that is all of them together, of a completed intent.
WHOLE = "total"
#: The same where a column of the answer has a dimension's name: that of the table is meant.
OF_CALLS = {
    **{name: f"a.{name}" for name in ("tenant", "type", "provider")},
    "model": "if(a.served_model = '', a.requested_model, a.served_model)",
}
#: The view of wasted spend has its dimensions as columns.
OF_WASTE = {name: f"w.{name}" for name in ("tenant", "type", "provider", "model")}
LEVELS = (0.5, 0.95, 0.99)
QUANTILES = ", ".join(map(str, LEVELS))
ZERO = "toDecimal128(0, 12)"
#: What a call may have cost beyond what is on record: no answer was read, or its worker died.
UNCERTAIN = f"""if(status = 'finished' OR deadline_at < now64(3),
    greatest(ifNull(a.cost_upper_usd, {ZERO}) - ifNull(a.cost_usd, {ZERO}), {ZERO}), {ZERO})"""
#: Outcomes of calls that failed: not refused for limits (429), nor for what was asked (400).
FAILED = "('timeout', 'connection', 'server_error', 'auth', 'unknown')"


@dataclass(frozen=True, slots=True)
class Table:
    """Column names and rows, in the order of the question."""

    columns: list[str]
    rows: list[tuple[Any, ...]]

    def named(self) -> list[dict[str, Any]]:
        """Give each row by its column names."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


def _run(store: ClickHouse, statement: str, parameters: dict[str, Any]) -> Table:
    return Table(*store.rows(statement, parameters))


def report(
    store: ClickHouse,
    *,
    by: tuple[str, ...],
    **which: Unpack[Which],
) -> Table:
    """Spend by the chosen dimensions; the sum of its rows is the sum of all attempts."""
    return spent(store, by=by, **which)[0]


def spent(store: ClickHouse, *, by: tuple[str, ...], **which: Unpack[Which]) -> tuple[Table, Table]:
    """Spend by the chosen dimensions, and its total as `total` gives it, from one reading."""
    condition, parameters = period(**which)
    names, keys = grouped(by)
    statement = f"""
        SELECT {names},
            count() AS calls,
            countIf(outcome = 'success') AS successes,
            sum(toUInt64(uncached_input_tokens + cached_input_tokens)) AS input_tokens,
            sum(toUInt64(visible_output_tokens + reasoning_tokens)) AS output_tokens,
            toString(sum(a.cost_usd)) AS cost_usd,
            toString(sumIf(ifNull(a.cost_usd, {ZERO}), NOT used_result)) AS wasted_usd,
            toString(sum({UNCERTAIN})) AS uncertain_usd,
            countIf(status = 'finished' AND a.cost_usd IS NULL) AS unpriced,
            countIf(status = 'started' AND deadline_at < now64(3)) AS orphaned
        FROM provider_attempts AS a FINAL WHERE {condition}
        GROUP BY {keys} ORDER BY sum(a.cost_usd) DESC NULLS LAST, {keys}
        """  # noqa: S608 - dimensions come from a fixed table
    found = _run(store, statement, parameters)
    rows = found.named()
    known = [Decimal(row["cost_usd"]) for row in rows if row["cost_usd"] is not None]
    whole = {
        "calls": sum(row["calls"] for row in rows),
        "cost_usd": format_usd(sum(known, Decimal(0))) if known else None,
        "unpriced": sum(row["unpriced"] for row in rows),
        "orphaned": sum(row["orphaned"] for row in rows),
        "uncertain_usd": format_usd(
            sum((Decimal(row["uncertain_usd"]) for row in rows), Decimal(0))
        ),
    }
    table = Table(found.columns[:-1], [row[:-1] for row in found.rows])
    return table, Table([*whole], [(*whole.values(),)])


def total(
    store: ClickHouse,
    **which: Unpack[Which],
) -> Table:
    """The sum of everything: calls, dollars, unpriced calls, orphans and their upper bound."""
    condition, parameters = period(**which)
    statement = f"""
        SELECT count() AS calls,
            toString(sum(a.cost_usd)) AS cost_usd,
            countIf(status = 'finished' AND a.cost_usd IS NULL) AS unpriced,
            countIf(status = 'started' AND deadline_at < now64(3)) AS orphaned,
            toString(sum({UNCERTAIN})) AS uncertain_usd
        FROM provider_attempts AS a FINAL WHERE {condition}
        """  # noqa: S608 - the condition is ours
    return _run(store, statement, parameters)


def unpriced(
    store: ClickHouse,
    **which: Unpack[Which],
) -> Table:
    """Name the models whose calls are in no sum, because no price is known."""
    condition, parameters = period(**which)
    statement = f"""
        SELECT {DIMENSIONS["model"]} AS model, provider, count() AS calls
        FROM provider_attempts AS a FINAL
        WHERE {condition} AND status = 'finished' AND a.cost_usd IS NULL
        GROUP BY model, provider ORDER BY calls DESC, model, provider
        """  # noqa: S608 - the condition is ours
    return _run(store, statement, parameters)


def top(
    store: ClickHouse,
    *,
    limit: int,
    **which: Unpack[Which],
) -> Table:
    """The intents that cost most, dearest first."""
    condition, parameters = period(**which, known=OF_CALLS)
    statement = f"""
        SELECT intent_id, any(a.tenant) AS tenant, any(a.type) AS type, count() AS calls,
            toString(sum(a.cost_usd)) AS cost_usd
        FROM provider_attempts AS a FINAL WHERE {condition}
        GROUP BY intent_id ORDER BY sum(a.cost_usd) DESC NULLS LAST, intent_id
        LIMIT {{limit:UInt32}}
        """  # noqa: S608 - the condition is ours
    return _run(store, statement, {**parameters, "limit": limit})


def daily(store: ClickHouse, *, first: date) -> dict[str, dict[date, float]]:
    """What each day from the first on has cost, in dollars, by provider."""
    _, rows = store.rows(
        "SELECT provider, day, toString(sum(ifNull(c.cost_usd, 0))) FROM costs_daily AS c "
        "WHERE day >= {first:Date} GROUP BY provider, day",
        {"first": first},
    )
    found: dict[str, dict[date, float]] = {}
    for provider, day, usd in rows:
        found.setdefault(str(provider), {})[day] = float(usd)
    return found


def latency(
    store: ClickHouse,
    *,
    by: tuple[str, ...],
    phases: tuple[str, ...] = (*PHASES, WHOLE),
    **which: Unpack[Which],
) -> Table:
    """Where the time goes, in milliseconds: a row for each phase of the calls, and the whole.

    `total` is of completed intents, from the record's timestamp to the result; it is left out where
    a dimension is not one of an intent's. `by` may be nothing: then it is of all calls.
    """
    found: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
    chosen = [one for one in PHASES if one in phases]
    if chosen:
        rows = _phases(store, by, chosen, period(**which)).rows
        found = {row[: len(by)]: list(zip(chosen, row[len(by) :], strict=True)) for row in rows}
    if WHOLE in phases and set(by) <= set(OF_OUTCOMES):
        totals = _totals(store, by, period(**which, known=OF_OUTCOMES))
        for row in totals.rows:
            if row[: len(by)] in found or not chosen:
                found.setdefault(row[: len(by)], []).append((WHOLE, row[-1]))
    columns = [*by, "phase", "count", *(f"p{level * 100:g}_ms" for level in LEVELS)]
    return Table(columns, [
        (*key, phase, count, *quantiles)
        for key, parts in found.items() for phase, (count, quantiles) in parts if count
    ])  # fmt: skip


def _phases(
    store: ClickHouse,
    by: tuple[str, ...],
    phases: list[str],
    within: tuple[str, dict[str, Any]],
) -> Table:
    condition, parameters = within
    asked = [
        f"(countIf({which}), quantilesExactIf({QUANTILES})({column}, {which}))"
        for column, which in (PHASES[one] for one in phases)
    ]
    names, keys = grouped(by)
    statement = f"""
        SELECT {", ".join([*filter(None, [names]), *asked])}
        FROM provider_attempts AS a FINAL WHERE {condition} AND status = 'finished'
        {f"GROUP BY {keys} ORDER BY {keys}" if by else ""}
        """  # noqa: S608 - dimensions come from a fixed table
    return _run(store, statement, parameters)


def _totals(store: ClickHouse, by: tuple[str, ...], within: tuple[str, dict[str, Any]]) -> Table:
    condition, parameters = within
    names, keys = grouped(by, OF_OUTCOMES)
    asked = [*filter(None, [names]), f"(count(), quantilesExact({QUANTILES})(total_ms))"]
    statement = f"""
        SELECT {", ".join(asked)}
        FROM workflow_outcomes AS o FINAL
        WHERE {condition.replace("started_at", "completed_at")} AND status = 'completed'
        {f"GROUP BY {keys} ORDER BY {keys}" if by else ""}
        """  # noqa: S608 - dimensions come from a fixed table
    return _run(store, statement, parameters)


def reliability(
    store: ClickHouse,
    *,
    by: tuple[str, ...],
    **which: Unpack[Which],
) -> Table:
    """How calls end, as shares from 0 to 1.

    Of all calls: answered, refused for limits (429), failed (time limit, connection, 5xx, key). Of
    the answers that became results: those after a retry, and those of a provider that was not the
    first.
    """
    condition, parameters = period(**which)
    names, keys = grouped(by)
    served = "greatest(countIf(used_result), 1)"
    statement = f"""
        SELECT {names}, count() AS calls,
            round(countIf(outcome = 'success') / calls, 4) AS success_share,
            round(countIf(http_status = 429) / calls, 4) AS share_429,
            round(countIf(outcome IN {FAILED}) / calls, 4) AS error_share,
            countIf(used_result) AS results,
            round(countIf(used_result AND attempt > 1) / {served}, 4) AS after_retry_share,
            round(countIf(used_result AND provider_sequence > 0 AND NOT hedge) / {served}, 4)
                AS fallback_share
        FROM provider_attempts AS a FINAL WHERE {condition} AND status = 'finished'
        GROUP BY {keys} ORDER BY {keys}
        """  # noqa: S608 - dimensions come from a fixed table
    return _run(store, statement, parameters)


def wasted(
    store: ClickHouse,
    **which: Unpack[Which],
) -> Table:
    """Spend that served nobody, by its cause."""
    condition, parameters = period(**which, known=OF_WASTE)
    statement = f"""
        SELECT cause, provider, count() AS calls, toString(sum(w.cost_usd)) AS cost_usd,
            toString(sum(w.cost_upper_usd)) AS upper_usd
        FROM wasted_spend AS w WHERE {condition}
        GROUP BY cause, provider ORDER BY sum(w.cost_usd) DESC NULLS LAST, cause, provider
        """  # noqa: S608 - the condition is ours
    return _run(store, statement, parameters)

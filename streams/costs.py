"""The cost questions, as SQL over the tables of the contract."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from streams.clickhouse import ClickHouse

__all__ = ["DIMENSIONS", "Table", "latency", "report", "top", "wasted"]

#: What `--by` may name, and the expression behind it.
DIMENSIONS = {
    "provider": "provider",
    "deployment": "deployment",
    "model": "if(served_model = '', requested_model, served_model)",
    "tenant": "tenant",
    "user": "user_id",
    "type": "type",
    "priority": "priority",
    "outcome": "outcome",
    "day": "toDate(started_at)",
    "hour": "toStartOfHour(started_at)",
}

ZERO = "toDecimal128(0, 12)"


@dataclass(frozen=True, slots=True)
class Table:
    """Column names and rows, in the order of the question."""

    columns: list[str]
    rows: list[tuple[Any, ...]]


def _run(store: ClickHouse, statement: str, parameters: dict[str, Any]) -> Table:
    return Table(*store.rows(statement, parameters))


def _since(since: datetime | None) -> tuple[str, dict[str, Any]]:
    if since is None:
        return "1", {}
    return "started_at >= fromUnixTimestamp64Milli({since:Int64})", {
        "since": int(since.timestamp() * 1000)
    }


def report(store: ClickHouse, *, by: tuple[str, ...], since: datetime | None) -> Table:
    """Spend by the chosen dimensions; the sum of its rows is the sum of all attempts."""
    condition, parameters = _since(since)
    names = ", ".join(f"{DIMENSIONS[name]} AS `{name}`" for name in by)
    keys = ", ".join(f"`{name}`" for name in by)
    statement = f"""
        SELECT {names},
            count() AS calls,
            countIf(outcome = 'success') AS successes,
            sum(toUInt64(uncached_input_tokens + cached_input_tokens)) AS input_tokens,
            sum(toUInt64(visible_output_tokens + reasoning_tokens)) AS output_tokens,
            toString(sum(ifNull(a.cost_usd, {ZERO}))) AS cost_usd,
            toString(sumIf(ifNull(a.cost_usd, {ZERO}), NOT used_result)) AS wasted_usd,
            countIf(status = 'finished' AND a.cost_usd IS NULL) AS unpriced
        FROM provider_attempts AS a FINAL WHERE {condition}
        GROUP BY {keys} ORDER BY sum(ifNull(a.cost_usd, {ZERO})) DESC, {keys}
        """  # noqa: S608 - dimensions come from a fixed table
    return _run(store, statement, parameters)


def total(store: ClickHouse, *, since: datetime | None) -> Table:
    """The sum of everything: calls, dollars, unpriced calls, orphans and their upper bound."""
    condition, parameters = _since(since)
    statement = f"""
        SELECT count() AS calls,
            toString(sum(ifNull(a.cost_usd, {ZERO}))) AS cost_usd,
            countIf(status = 'finished' AND a.cost_usd IS NULL) AS unpriced,
            countIf(status = 'started' AND deadline_at < now64(3)) AS orphaned,
            toString(sumIf(ifNull(a.cost_upper_usd, {ZERO}),
                outcome IN ('timeout', 'cancelled', 'connection', 'unknown'))) AS uncertain_usd
        FROM provider_attempts AS a FINAL WHERE {condition}
        """  # noqa: S608 - the condition is ours
    return _run(store, statement, parameters)


def top(store: ClickHouse, *, since: datetime | None, limit: int) -> Table:
    """The dearest intents."""
    condition, parameters = _since(since)
    statement = f"""
        SELECT intent_id, any(a.tenant) AS tenant, any(a.type) AS type, count() AS calls,
            toString(sum(ifNull(a.cost_usd, {ZERO}))) AS cost_usd
        FROM provider_attempts AS a FINAL WHERE {condition}
        GROUP BY intent_id ORDER BY sum(ifNull(a.cost_usd, {ZERO})) DESC, intent_id
        LIMIT {{limit:UInt32}}
        """  # noqa: S608 - the condition is ours
    return _run(store, statement, {**parameters, "limit": limit})


def latency(store: ClickHouse, *, by: tuple[str, ...], since: datetime | None) -> Table:
    """Where the time of the calls goes, in milliseconds."""
    condition, parameters = _since(since)
    names = ", ".join(f"{DIMENSIONS[name]} AS `{name}`" for name in by)
    keys = ", ".join(f"`{name}`" for name in by)
    quantiles = ",\n".join(
        f"quantileExact({level})({column}_ms) AS {column}_p{level * 100:g}"
        for column in ("call", "queue", "backoff")
        for level in (0.5, 0.95, 0.99)
    )
    statement = f"""
        SELECT {names}, count() AS calls, {quantiles}
        FROM provider_attempts AS a FINAL WHERE {condition} AND status = 'finished'
        GROUP BY {keys} ORDER BY {keys}
        """  # noqa: S608 - dimensions come from a fixed table
    return _run(store, statement, parameters)


def wasted(store: ClickHouse, *, since: datetime | None) -> Table:
    """Spend that served nobody, by its cause."""
    condition, parameters = _since(since)
    statement = f"""
        SELECT cause, provider, count() AS calls, toString(sum(w.cost_usd)) AS cost_usd,
            toString(sum(w.cost_upper_usd)) AS upper_usd
        FROM wasted_spend AS w WHERE {condition}
        GROUP BY cause, provider ORDER BY sum(w.cost_usd) DESC, cause, provider
        """  # noqa: S608 - the condition is ours
    return _run(store, statement, parameters)


__all__ += ["total"]

"""Grafana's dashboards and alert rules, made from a list of questions; `make generate` writes them."""

from dataclasses import dataclass
from typing import Any

from schemas.alerting import AlertSpec
from streams.alerts.rules import RULES
from streams.bill.costs import UNCERTAIN

__all__ = ["alert_rules", "dashboards"]

SOURCE = {"type": "grafana-clickhouse-datasource", "uid": "hybrid-clickhouse"}
TIMES = "$__timeFilter(started_at)"


@dataclass(frozen=True, slots=True)
class Panel:
    """One question of a dashboard; `kind` is Grafana's panel type."""

    title: str
    kind: str
    sql: str
    unit: str = "short"


SPEND = (
    Panel(
        "Spend by provider", "timeseries",
        f"SELECT toStartOfHour(started_at) AS time, provider, sum(ifNull(a.cost_usd, 0)) AS usd FROM provider_attempts AS a FINAL "
        f"WHERE {TIMES} GROUP BY time, provider ORDER BY time", "currencyUSD",
    ),
    Panel(
        "Spend by tenant", "barchart",
        f"SELECT tenant, sum(ifNull(a.cost_usd, 0)) AS usd FROM provider_attempts AS a FINAL WHERE {TIMES} "
        "GROUP BY tenant ORDER BY usd DESC LIMIT 20", "currencyUSD",
    ),
    Panel(
        "Spent without serving anybody, by cause", "barchart",
        f"SELECT cause, sum(w.cost_usd) AS usd, sum(w.cost_upper_usd) AS at_most FROM wasted_spend AS w WHERE {TIMES} "
        "GROUP BY cause ORDER BY at_most DESC", "currencyUSD",
    ),
    Panel(
        "Dearest intents", "table",
        f"SELECT intent_id, tenant, type, count() AS calls, sum(ifNull(a.cost_usd, 0)) AS usd FROM provider_attempts AS a FINAL "
        f"WHERE {TIMES} GROUP BY intent_id, tenant, type ORDER BY usd DESC LIMIT 20", "currencyUSD",
    ),
    Panel(
        "Calls without a known price", "stat",
        f"SELECT countIf(status = 'finished' AND usage_source != 'none' AND a.cost_usd IS NULL) AS calls "
        f"FROM provider_attempts AS a FINAL WHERE {TIMES}",
    ),
    Panel(
        "Uncertain: at most so much more", "stat",
        f"SELECT sum({UNCERTAIN}) AS usd "
        f"FROM provider_attempts AS a FINAL WHERE {TIMES}", "currencyUSD",
    ),
)  # fmt: skip
LATENCY = (
    Panel(
        "Calls: p50, p95, p99", "timeseries",
        f"SELECT toStartOfFiveMinutes(started_at) AS time, quantile(0.5)(call_ms) AS p50, quantile(0.95)(call_ms) AS p95, "
        f"quantile(0.99)(call_ms) AS p99 FROM provider_attempts FINAL WHERE {TIMES} AND outcome = 'success' GROUP BY time ORDER BY time", "ms",
    ),
    Panel(
        "p95 by provider", "timeseries",
        f"SELECT toStartOfFiveMinutes(started_at) AS time, provider, quantile(0.95)(call_ms) AS p95 FROM provider_attempts FINAL "
        f"WHERE {TIMES} AND outcome = 'success' GROUP BY time, provider ORDER BY time", "ms",
    ),
    Panel(
        "Where an intent's time goes, p95", "timeseries",
        "SELECT toStartOfFiveMinutes(completed_at) AS time, quantile(0.95)(queued_ms) AS queued, quantile(0.95)(limiter_ms) AS limiter, "
        "quantile(0.95)(backoff_ms) AS backoff, quantile(0.95)(provider_ms) AS provider FROM workflow_outcomes FINAL "
        "WHERE $__timeFilter(completed_at) AND status = 'completed' GROUP BY time ORDER BY time", "ms",
    ),
)  # fmt: skip
RELIABILITY = (
    Panel(
        "Calls by outcome", "timeseries",
        f"SELECT toStartOfFiveMinutes(started_at) AS time, outcome, count() AS calls FROM provider_attempts FINAL WHERE {TIMES} "
        "GROUP BY time, outcome ORDER BY time",
    ),
    Panel(
        "Share of 429", "timeseries",
        f"SELECT toStartOfFiveMinutes(started_at) AS time, provider, countIf(http_status = 429) / count() AS share FROM provider_attempts FINAL "
        f"WHERE {TIMES} AND status = 'finished' GROUP BY time, provider ORDER BY time", "percentunit",
    ),
    Panel(
        "Intents that needed a retry, or the other provider", "timeseries",
        "SELECT toStartOfFiveMinutes(completed_at) AS time, countIf(retries > 0) / count() AS retried, countIf(fallback) / count() AS fell_back "
        "FROM workflow_outcomes FINAL WHERE $__timeFilter(completed_at) AND status = 'completed' GROUP BY time ORDER BY time", "percentunit",
    ),
    Panel(
        "Providers whose breaker moved", "table",
        "SELECT occurred_at, worker, details FROM workflow_events FINAL WHERE $__timeFilter(occurred_at) "
        "AND name = 'provider_health_changed' ORDER BY occurred_at DESC LIMIT 50",
    ),
    Panel(
        "Orphaned calls: their worker died", "stat",
        f"SELECT count() AS calls FROM provider_attempts FINAL WHERE {TIMES} AND status = 'started' AND deadline_at < now64(3)",
    ),
)  # fmt: skip
DEAD_LETTERS = (
    Panel(
        "Dead letters by reason", "timeseries",
        "SELECT toStartOfFiveMinutes(completed_at) AS time, reason, count() AS intents FROM workflow_outcomes FINAL "
        "WHERE $__timeFilter(completed_at) AND status = 'failed' GROUP BY time, reason ORDER BY time",
    ),
    Panel(
        "By reason and code", "table",
        "SELECT reason, error_class, error_code, tenant, count() AS intents, sum(ifNull(total_cost_usd, 0)) AS usd FROM workflow_outcomes FINAL "
        "WHERE $__timeFilter(completed_at) AND status = 'failed' GROUP BY reason, error_class, error_code, tenant ORDER BY intents DESC",
    ),
    Panel(
        "Share of intents that end as dead letters", "stat",
        "SELECT countIf(status = 'failed') / count() AS share FROM workflow_outcomes FINAL WHERE $__timeFilter(completed_at)", "percentunit",
    ),
)  # fmt: skip


def dashboards() -> dict[str, dict[str, Any]]:
    """Give the dashboards by file name."""
    wanted = {
        "spend": ("Spend", SPEND),
        "latency": ("Latency", LATENCY),
        "reliability": ("Reliability", RELIABILITY),
        "dead-letters": ("Dead letters", DEAD_LETTERS),
    }
    return {name: _dashboard(name, title, panels) for name, (title, panels) in wanted.items()}


def _dashboard(name: str, title: str, panels: tuple[Panel, ...]) -> dict[str, Any]:
    return {
        "uid": f"hybrid-{name}",
        "title": title,
        "tags": ["hybrid"],
        "timezone": "utc",
        "refresh": "30s",
        "time": {"from": "now-24h", "to": "now"},
        "schemaVersion": 39,
        "panels": [_panel(number, panel) for number, panel in enumerate(panels)],
    }


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    form = 0 if panel.kind == "timeseries" else 1
    return {
        "id": number + 1,
        "title": panel.title,
        "type": panel.kind,
        "datasource": SOURCE,
        "gridPos": {"x": 12 * (number % 2), "y": 8 * (number // 2), "w": 12, "h": 8},
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "targets": [
            {
                "refId": "A",
                "datasource": SOURCE,
                "editorType": "sql",
                "queryType": "timeseries" if form == 0 else "table",
                "format": form,
                "rawSql": panel.sql,
            }
        ],
    }


def alert_rules() -> dict[str, Any]:
    """Give the alert rules, as Grafana provisions them."""
    rules = []
    spec = AlertSpec()
    for rule in RULES:
        found = rule.sql
        for name, value in rule.parameters(spec).items():
            found = found.replace(f"{{{name}:Float64}}", f"{value:g}")
        sql, threshold = f"SELECT max(value) AS value FROM\n(\n{found}\n)", rule.limit(spec)
        query = {
            "refId": "A",
            "datasourceUid": SOURCE["uid"],
            "relativeTimeRange": {"from": 600, "to": 0},
            "model": {"refId": "A", "editorType": "sql", "format": 1, "rawSql": sql},
        }
        condition = {
            "refId": "B",
            "datasourceUid": "__expr__",
            "model": {
                "refId": "B",
                "type": "threshold",
                "expression": "A",
                "conditions": [{"evaluator": {"type": "gt", "params": [threshold]}}],
            },
        }
        rules.append(
            {
                "uid": f"hybrid-{rule.name.value}",
                "title": rule.title,
                "condition": "B",
                "data": [query, condition],
                "for": "0s",
                "noDataState": "OK",
                "execErrState": "Error",
            }
        )
    group = {
        "orgId": 1,
        "name": "hybrid",
        "folder": "Hybrid Orchestrator",
        "interval": "1m",
        "rules": rules,
    }
    return {"apiVersion": 1, "groups": [group]}

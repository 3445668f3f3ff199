"""The cost questions over 3,000,000 calls, on the local engine: seconds for each, bytes a row.

Usage: python bench/reports.py [calls]
"""

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from schemas.alerting import AlertSpec
from streams.alerts.rules import RULES
from streams.bill import costs
from streams.bill.reconcile import our_usage
from streams.store.clickhouse import ClickHouse
from tests.chaos.running import running_stack

FILL = """
INSERT INTO provider_attempts (attempt_id, execution_id, intent_id, status, tenant, type, user_id, priority,
    provider, deployment, requested_model, served_model, attempt, outcome, http_status, uncached_input_tokens,
    visible_output_tokens, usage_source, cost_usd, cost_upper_usd, price_id, used_result, queue_ms, call_ms,
    provider_request_id, worker, started_at, deadline_at, finished_at, record_version)
SELECT generateUUIDv7(), generateUUIDv4(), concat('order-', toString(intDiv(number, 2))), 'finished',
    concat('tenant-', toString(rand(1) % 50)), ['message_generation', 'content_planning'][1 + rand(2) % 2],
    concat('user-', toString(rand(3) % 20000)), 'medium', ['openai', 'azure'][1 + rand(4) % 2],
    ['', 'gpt-4-turbo'][1 + rand(4) % 2], ['gpt-3.5-turbo', 'gpt-4-turbo'][1 + rand(4) % 2],
    ['gpt-3.5-turbo', 'gpt-4-turbo'][1 + rand(4) % 2], 1, if(rand(5) % 25 = 0, 'rate_limit', 'success'),
    if(rand(5) % 25 = 0, 429, 200), 100 + rand(6) % 2000, 50 + rand(7) % 800, 'provider',
    toDecimal64(rand(8) % 100000, 12) / 1000000, toDecimal64(rand(8) % 100000, 12) / 1000000, 'contract', rand(5) % 25 != 0,
    rand(9) % 100, 200 + rand(10) % 8000, concat('req-', toString(rand64(11))), concat('worker-', toString(rand(12) % 5)),
    now64(3) - toIntervalSecond(rand(13) % (30 * 86400)) AS began, began + INTERVAL 60 SECOND, began + INTERVAL 5 SECOND, 2
FROM numbers({count})
"""

OUTCOMES = """
INSERT INTO workflow_outcomes (outcome_id, intent_id, status, tenant, type, user_id, provider, model, retries, fallback,
    total_cost_usd, queued_ms, limiter_ms, backoff_ms, provider_ms, total_ms, completed_at)
SELECT concat('r-', toString(attempt_id)), intent_id, 'completed', tenant, type, user_id, provider, served_model, 0, 0,
    a.cost_usd, queue_ms, 0, 0, call_ms, queue_ms + call_ms, assumeNotNull(finished_at)
FROM provider_attempts AS a WHERE used_result AND sipHash64(attempt_id) % 2
"""


def main() -> None:
    """Print one table."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 3_000_000
    with running_stack(workers=0, environment={}) as running:
        store = ClickHouse(running.settings, timeout_s=300)
        for begin in range(0, count, 500_000):
            store.command(FILL.format(count=min(500_000, count - begin)))
        store.command(OUTCOMES)
        week, today = datetime.now(UTC) - timedelta(days=7), datetime.now(UTC).date()
        month = today - timedelta(days=30)
        questions: dict[str, Callable[[], object]] = {
            "report --by provider,model": lambda: costs.report(
                store, by=("provider", "model"), since=None
            ),
            "report --by tenant,day": lambda: costs.report(store, by=("tenant", "day"), since=None),
            "report --by user --since 7d": lambda: costs.report(store, by=("user",), since=week),
            "total": lambda: costs.total(store, since=None),
            "top": lambda: costs.top(store, since=None, limit=10),
            "latency --by provider,model": lambda: costs.latency(
                store, by=("provider", "model"), since=None
            ),
            "latency --by provider,day": lambda: costs.latency(
                store, by=("provider", "day"), since=None
            ),
            "reliability --by provider,hour": lambda: costs.reliability(
                store, by=("provider", "hour"), since=None
            ),
            "wasted": lambda: costs.wasted(store, since=None),
            "reconcile (30 days)": lambda: our_usage(
                store,
                first=month,
                last=today,
                provider=None,
            ),
            "forecast": lambda: costs.daily(store, first=month),
        }
        spec = AlertSpec()
        questions |= {
            f"alert rule {rule.name.value}": partial(store.rows, rule.sql, rule.parameters(spec))
            for rule in RULES
        }
        print(f"{count} calls over 30 days, in the parts in which they came")
        for name, ask in questions.items():
            begin_s = time.monotonic()
            ask()
            print(f"  {name:<30} {time.monotonic() - begin_s:5.2f} s", flush=True)
        size = bytes_a_row(store)
        store.close()
    print(f"{size:.0f} bytes a row on disk")


def bytes_a_row(store: ClickHouse) -> float:
    """Give what a call takes on disk."""
    _, rows = store.rows(
        "SELECT sum(bytes_on_disk), sum(rows) FROM system.parts WHERE active "
        "AND table = 'provider_attempts' AND database = currentDatabase()"
    )
    return int(rows[0][0]) / int(rows[0][1])


if __name__ == "__main__":
    main()

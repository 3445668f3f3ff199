"""Alert rules for Prometheus, by the metrics that processes serve; `make generate` writes them.

What only the record can tell (dear intents, spend, latency) is told by the recorder's alerts and by
Grafana's rules. These tell what nobody else can: that a process is away, or that work stands still.
Limits that `[alerts]` has too are taken from there.
"""

from dataclasses import dataclass

from prose import wrapped

from schemas.alerting import AlertSpec

__all__ = ["ALERTS", "Alert", "rules"]

LIMITS = AlertSpec()
ENDED = 'hybrid_outcomes_total{outcome=~"completed|failed"}'
FAILED = 'hybrid_outcomes_total{outcome="failed"}'
#: Series of several installations in one Prometheus are told apart by it.
BY = "by (namespace)"


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert: its name, what must hold in PromQL and for how long, and what to say and do."""

    name: str
    expr: str
    lasts: str
    severity: str
    summary: str
    action: str


ALERTS = (
    Alert(
        "HybridNoWorker", "absent(hybrid_ready)", "5m", "critical", "No worker is scraped.",
        "Look at the workers' logs; work waits in Kafka meanwhile, nothing is lost.",
    ),
    Alert(
        "HybridNoWorkerReady", f"max {BY} (hybrid_ready) == 0", "5m", "critical",
        "No worker is ready.",
        "Look whether Kafka answers; the workers' logs say what they wait for.",
    ),
    Alert(
        "HybridWorkerNotReady", "hybrid_ready == 0", "15m", "warning",
        "A worker is not ready for a quarter of an hour.",
        "Its log says why: lanes that open, dead letters only, Kafka that does not answer.",
    ),
    Alert(
        "HybridWorkWaits", f"max {BY} (hybrid_oldest_waiting_seconds) > 600", "5m", "warning",
        "Work has waited for more than ten minutes.",
        "Look whether a provider is out or slow, else start more workers.",
    ),
    Alert(
        "HybridProviderOut", "max by (namespace, provider) (hybrid_provider_available) == 0", "5m",
        "warning", "No worker calls {{ $labels.provider }}.",
        "Run hybrid doctor: its key, quota or deployment is refused, or its calls fail.",
    ),
    Alert(
        "HybridKeyRefused",
        'max by (namespace, provider) (hybrid_provider_keys{state="resting"}) > 0', "10m",
        "warning", "A key of {{ $labels.provider }} is refused or throttled.",
        "The log line key_refused names it by its variable or file.",
    ),
    Alert(
        "HybridDeadLetters",
        f"sum {BY} (increase({FAILED}[10m])) / sum {BY} (increase({ENDED}[10m])) "
        f"> {LIMITS.dead_letter_rate:g} and sum {BY} (increase({ENDED}[10m])) >= {LIMITS.fewest}",
        "0s", "warning", "More than a twentieth of the intents end as dead letters.",
        "Run hybrid dlq list; each dead letter says why, and what to do.",
    ),
    Alert(
        "HybridNoRecorder", "absent(hybrid_recorder_lag)", "10m", "warning",
        "No recorder is scraped.",
        "Start it: nothing is lost while Kafka keeps the records, and reports lack them.",
    ),
    Alert(
        "HybridRecorderHeldUp",
        f"max {BY} (hybrid_recorder_held_up_seconds) > {LIMITS.behind:g}", "0s", "warning",
        "ClickHouse does not take what there is.",
        "Look at ClickHouse; results are not affected, nothing is lost.",
    ),
    Alert(
        "HybridRowsSetAside",
        f"sum {BY} (increase(hybrid_recorder_rows_set_aside_total[1h])) > 0", "0s", "warning",
        "Records are no rows, or ClickHouse refused them: the bill lacks them.",
        "The log line row_refused names each.",
    ),
)  # fmt: skip


def rules() -> str:
    """Give the rules as a file of Prometheus."""
    lines = [
        "# Made by `make generate` from tools/prometheus.py; edit that.",
        "groups:",
        "  - name: hybrid-orchestrator",
        "    rules:",
    ]
    for one in ALERTS:
        lines += [
            f"      - alert: {one.name}",
            "        expr: >-",
            *wrapped(one.expr, first=" " * 10, rest=" " * 10),
            f"        for: {one.lasts}",
            "        labels:",
            f"          severity: {one.severity}",
            "        annotations:",
            f'          summary: "{one.summary}"',
            f'          action: "{one.action}"',
        ]
    return "\n".join(lines) + "\n"

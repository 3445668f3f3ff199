"""docs/metrics.md: what workers and recorders serve at `/metrics`, asked of them themselves."""

from collections.abc import Iterator
from unittest.mock import MagicMock

from prometheus_client.core import Metric
from prose import wrapped

from hybrid.metrics import RecorderMetrics
from hybrid.worker_metrics import WorkerMetrics
from streams.worker.tallies import Tallies

__all__ = ["metrics", "served"]

HEAD = """
Prometheus' text format, or OpenMetrics for who asks for it (`Accept: application/openmetrics-text`;
histograms have exemplars there, each with the trace id of its newest intent or call), at `/metrics` on `HYBRID_METRICS_PORT` (9464; 0 = off) of each worker and
each recorder. At the same port `/healthz` says that the process is alive, and `/readyz` (200 or
503) whether it takes work. What to do when one of them moves:
[operations.md](operations.md#what-to-watch); rules for Prometheus made of them:
[deploy/prometheus/rules.yaml](../deploy/prometheus/rules.yaml). Counters begin anew with their
process, and what a batch answers for nobody is not among them: the bill is in ClickHouse
([costs.md](costs.md)), to the call, and an alert says what needs somebody
([operations.md](operations.md#alerts)). No label names a tenant or
a user. Traces: [telemetry.md](telemetry.md). Words such as *lane* and *breaker* are in the
[glossary](glossary.md).
"""
#: A counter is served under its name with this behind it.
COUNTED = "_total"


def metrics() -> str:
    """Give the page."""
    lines = ["# Metrics", "", *wrapped(" ".join(HEAD.split()))]
    for title, families in _families().items():
        lines += ["", f"## Of a {title}", ""]
        for one in families:
            labels = ", ".join(f"`{name}`" for name in one._labelnames)  # noqa: SLF001
            by = f", by {labels}" if labels else ""
            text = f"`{_name(one)}` ({one.type}{by}): {one.documentation}"
            lines += wrapped(text, first="- ", rest="  ")
    return "\n".join(lines) + "\n"


def served() -> set[str]:
    """Give the names as they are scraped."""
    return {_name(one) for families in _families().values() for one in families}


def _name(family: Metric) -> str:
    return family.name + (COUNTED if family.type == "counter" else "")


def _families() -> dict[str, list[Metric]]:
    """Ask each collector, of a process that has nothing: names, kinds and meanings are the same."""
    collectors = {
        "worker": WorkerMetrics(MagicMock(tallies=Tallies())),
        "recorder": RecorderMetrics(MagicMock()),
    }
    return {name: list(_collected(one)) for name, one in collectors.items()}


def _collected(collector: WorkerMetrics | RecorderMetrics) -> Iterator[Metric]:
    yield from collector.collect()

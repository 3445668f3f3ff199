"""Prometheus `/metrics`, `/healthz` and `/readyz` of one process."""

from collections.abc import Callable, Iterable, Iterator

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from agents.capacity.breaker import BreakerState
from agents.providers.adapters import Provider
from hybrid.errors import UsageError
from streams.lanes.lane import LaneState
from streams.recording.recorder import Recorder
from streams.worker.worker import Worker

__all__ = ["RecorderMetrics", "WorkerMetrics", "serve_metrics"]


class WorkerMetrics(Collector):
    """Reads a worker's state when asked."""

    def __init__(self, worker: Worker) -> None:
        """Keep the worker that is asked at each scrape."""
        self._worker = worker

    def collect(self) -> Iterator[Metric]:
        """Give the metrics of the moment."""
        worker = self._worker
        outcomes = CounterMetricFamily(
            "hybrid_outcomes", "Outcomes committed by this worker", labels=["outcome"]
        )
        for name in ("completed", "failed", "deferred"):
            outcomes.add_metric([name], worker.outcomes[name])
        yield outcomes
        gauges = {
            "hybrid_in_flight": (
                "Intents that run or wait for their commit",
                worker.dispatcher.running,
            ),
            "hybrid_waiting": ("Records fetched that have not begun", worker.dispatcher.waiting),
            "hybrid_paused": (
                "Those of them that an operator has paused",
                worker.dispatcher.paused,
            ),
            "hybrid_oldest_waiting_seconds": (
                "Since when the oldest of them was written to Kafka, or was due; 0 = none is due",
                worker.dispatcher.oldest_waiting_s,
            ),
            "hybrid_lanes": ("Lanes of this worker", len(worker.lanes)),
            "hybrid_ledger_entries": (
                "Decisions kept in memory",
                sum(len(lane.ledger) for lane in worker.lanes.values()),
            ),
            "hybrid_ready": ("1 when every lane is open", int(worker.ready)),
        }
        lanes = GaugeMetricFamily(
            "hybrid_lane_open", "1 for each lane that runs intents here", labels=["lane"]
        )
        for number, lane in sorted(worker.lanes.items()):
            lanes.add_metric([str(number)], int(lane.state is LaneState.OPEN))
        yield lanes
        states = GaugeMetricFamily(
            "hybrid_provider_available",
            "1 when a provider is called, 0 when its breaker is not closed",
            labels=["provider"],
        )
        calls = GaugeMetricFamily(
            "hybrid_provider_in_flight", "Calls in flight", labels=["provider"]
        )
        for name in worker.capacity.providers:
            states.add_metric([name], int(worker.capacity.state(name) is BreakerState.CLOSED))
            calls.add_metric([name], worker.capacity.in_flight(name))
        yield states
        yield calls
        yield _keys_of(worker.providers)
        for name, (text, value) in gauges.items():
            yield GaugeMetricFamily(name, text, value=value)


def _keys_of(providers: Iterable[Provider]) -> Metric:
    """Count each provider's keys, and tokens, by whether they are used; never which they are."""
    keys = GaugeMetricFamily(
        "hybrid_provider_keys",
        "Keys by state: usable, or resting after a refusal",
        labels=["provider", "state"],
    )
    for one in providers:
        usable = one.usable_keys
        keys.add_metric([one.name, "usable"], usable)
        keys.add_metric([one.name, "resting"], len(one.keys) - usable)
    return keys


class RecorderMetrics(Collector):
    """Reads a recorder's state when asked."""

    def __init__(self, recorder: Recorder) -> None:
        """Keep the recorder that is asked at each scrape."""
        self._recorder = recorder

    def collect(self) -> Iterator[Metric]:
        """Give the metrics of the moment."""
        yield CounterMetricFamily(
            "hybrid_recorder_rows", "Rows written to ClickHouse", value=self._recorder.rows_written
        )
        yield CounterMetricFamily(
            "hybrid_recorder_rows_set_aside",
            "Records that are no rows of ours, or that ClickHouse refused; the log names them",
            value=self._recorder.rows_set_aside,
        )
        yield GaugeMetricFamily(
            "hybrid_recorder_held_up_seconds",
            "For how long ClickHouse has not taken what there is",
            value=self._recorder.held_up_s,
        )
        yield GaugeMetricFamily(
            "hybrid_recorder_lag", "Records not yet in ClickHouse", value=self._recorder.lag
        )


async def serve_metrics(
    collector: Collector, *, port: int, ready: Callable[[], bool]
) -> web.AppRunner | None:
    """Serve until the runner is cleaned up; None when `port` is 0; raises UsageError when taken."""
    if port == 0:
        return None
    registry = CollectorRegistry()
    registry.register(collector)

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), content_type="text/plain")

    async def healthy(_request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def is_ready(_request: web.Request) -> web.Response:
        return (
            web.Response(text="ready\n") if ready() else web.Response(status=503, text="not yet\n")
        )

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/healthz", healthy)
    app.router.add_get("/readyz", is_ready)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, port=port).start()
    except OSError as error:
        await runner.cleanup()
        message = f"HYBRID_METRICS_PORT = {port}: the port is taken; choose another, or 0 for none"
        raise UsageError(message) from error
    return runner

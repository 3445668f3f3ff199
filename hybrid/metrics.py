"""`/metrics`, `/healthz` and `/readyz` of one process, and what a recorder says of itself there."""

from collections.abc import Callable, Iterator

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from hybrid.errors import UsageError
from streams.recording.recorder import Recorder

__all__ = ["RecorderMetrics", "serve_metrics"]


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

    async def metrics(request: web.Request) -> web.Response:
        # OpenMetrics for who asks for it: exemplars are there only.
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(registry), headers={"Content-Type": content_type})

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

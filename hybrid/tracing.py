"""A worker's traces as the variables of OpenTelemetry want them, or none."""

from agents.clock import Clock
from agents.log import Log
from hybrid.errors import UsageError
from schemas.settings import Settings
from streams.telemetry.exporting import Collector, ExtraMissingError
from streams.telemetry.spans import Reader
from streams.telemetry.traces import Traces

__all__ = ["Tracing", "build_tracing"]

PROTOCOL = "http/protobuf"
EXTRA = (
    "OTEL_EXPORTER_OTLP_ENDPOINT is set, and traces need an extra: "
    "pip install 'hybrid-orchestrator[otel]'; OTEL_SDK_DISABLED=true does without"
)


class Tracing:
    """The traces and the collector that they go to."""

    def __init__(self, traces: Traces, collector: Collector) -> None:
        """Keep both."""
        self.traces = traces
        self.collector = collector


def build_tracing(settings: Settings, *, worker: str, clock: Clock, log: Log) -> Tracing | None:
    """Build what makes and sends spans; None where no collector is named; raises UsageError."""
    if settings.traces_endpoint is None:
        return None
    if settings.otel_traces_exporter != "otlp":
        message = f"OTEL_TRACES_EXPORTER = {settings.otel_traces_exporter}: must be otlp or none"
        raise UsageError(message)
    if (protocol := settings.traces_protocol) != PROTOCOL:
        message = (
            f"OTEL_EXPORTER_OTLP_PROTOCOL = {protocol}: must be {PROTOCOL}; a collector has it at "
            "port 4318 as a rule"
        )
        raise UsageError(message)
    try:
        collector = Collector(settings, worker=worker, clock=clock, log=log)
    except ExtraMissingError as error:
        raise UsageError(EXTRA) from error
    except ValueError as error:
        message = f"a variable of OpenTelemetry (OTEL_…) is wrong: {error}"
        raise UsageError(message) from error
    vendors = {
        one.name: "azure.ai.openai" for one in settings.provider_specs if one.kind == "azure"
    }
    reader = Reader(settings.worker_group, worker, vendors)
    return Tracing(Traces(collector, reader, clock=clock, log=log), collector)

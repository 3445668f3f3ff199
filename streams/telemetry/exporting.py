"""The only place that knows OpenTelemetry: spans to a collector, as OTLP over HTTP.

The SDK's own thread sends them, in batches. It never holds up the loop: what a collector does not
take in time is dropped, counted and told of.
"""

import asyncio
import logging
import threading
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from agents.clock import Clock
from agents.log import Log
from schemas.settings import Settings
from schemas.vocabulary import LogEvent
from streams.telemetry.names import SCOPE, SEMANTIC_CONVENTIONS, Attribute
from streams.telemetry.spans import Begun, Link, Span

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExportResult

__all__ = ["Collector", "ExtraMissingError"]

#: How long a stop waits for what is still to be sent, in seconds.
FLUSH_LIMIT_S = 3.0
#: Between two lines that tell of losses, in seconds.
QUIET_S = 60.0
SAMPLED = 0x01


class ExtraMissingError(Exception):
    """Raised when the libraries of the extra `otel` are not installed."""


class Collector:
    """An outbox whose spans the SDK sends; the variables of OpenTelemetry say where and how."""

    def __init__(self, settings: Settings, *, worker: str, clock: Clock, log: Log) -> None:
        """Start the SDK's thread; raises ExtraMissingError, ValueError for a wrong variable."""
        try:
            import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
            self._trace: Any = import_module("opentelemetry.trace")
        except ImportError as error:
            raise ExtraMissingError from error
        self.exported, self.lost = 0, 0
        self._clock, self._log = clock, log
        self._lock = threading.Lock()  # the SDK's thread counts too
        self._told_at: float | None = None
        self._most = settings.otel_bsp_max_queue_size
        self._waiting = 0
        self._next = ("", "")
        self._start(settings, worker)

    def _start(self, settings: Settings, worker: str) -> None:
        from opentelemetry.context import Context  # noqa: PLC0415 - of the extra
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.resources import (  # noqa: PLC0415
            OTELResourceDetector,
            Resource,
        )
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        self._root = Context()
        ours = {
            "service.name": SCOPE,
            "service.version": _version(),
            "service.instance.id": worker,
        }
        # What the SDK makes up, what we know better, what the variables say.
        stated = OTELResourceDetector().detect().attributes
        self._provider = TracerProvider(
            resource=Resource({**Resource.create({}).attributes, **ours, **stated}),
            id_generator=_given_ids(self),
            shutdown_on_exit=False,
        )
        sender = _counted(self, OTLPSpanExporter(endpoint=settings.traces_endpoint))
        self._processor = BatchSpanProcessor(
            sender,
            max_queue_size=self._most,
            max_export_batch_size=min(512, self._most),
        )
        self._provider.add_span_processor(self._processor)
        # What the SDK says of wrong variables is in the log by now; losses are told of here.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        schema = f"https://opentelemetry.io/schemas/{SEMANTIC_CONVENTIONS}"
        self._tracer = self._provider.get_tracer(SCOPE, _version(), schema_url=schema)

    def samples(self, begun: Begun, name: str) -> bool:
        """Whether the sampler wants the spans of an execution; it is asked once for all."""
        parent = None
        if begun.flags is not None:
            parent = self._under(begun.trace_id, begun.parent_id, int(begun.flags, 16))
        sampler: Any = self._provider.sampler
        found = sampler.should_sample(parent, int(begun.trace_id, 16), name)
        return bool(found.decision.is_sampled())

    def put(self, span: Span) -> None:
        """Take a span; one for which there is no room is dropped."""
        with self._lock:
            is_full = self._waiting >= self._most
            self._waiting += not is_full
        if is_full:
            self.count_lost(1)
            self._tell("the collector is slower than the work")
        else:
            self._hand_over(span)

    def _hand_over(self, span: Span) -> None:
        parent = span.parent_id
        self._next = (span.trace_id, span.span_id)
        made = self._tracer.start_span(
            span.name,
            self._under(span.trace_id, parent, SAMPLED) if parent else self._root,
            self._trace.SpanKind[span.kind.name],
            span.attributes,
            [self._link(one) for one in span.links],
            span.start_ns,
        )
        if not made.is_recording():  # a sampler that does not keep to what it said of the trace
            with self._lock:
                self._waiting -= 1
        if span.error is not None:
            made.set_status(self._trace.StatusCode.ERROR, span.error)
        made.end(span.end_ns)

    def _place(self, trace_id: str, span_id: str, flags: int) -> Any:  # noqa: ANN401 - of the extra
        return self._trace.SpanContext(
            int(trace_id, 16),
            int(span_id, 16),
            is_remote=True,
            trace_flags=self._trace.TraceFlags(flags),
        )

    def _under(self, trace_id: str, span_id: str, flags: int) -> Any:  # noqa: ANN401 - of the extra
        span = self._trace.NonRecordingSpan(self._place(trace_id, span_id, flags))
        return self._trace.set_span_in_context(span, self._root)

    def _link(self, link: Link) -> Any:  # noqa: ANN401 - of the extra
        place = self._place(link.trace_id, link.span_id, 0)
        return self._trace.Link(place, {Attribute.LINK.value: link.what})

    def next_ids(self) -> tuple[int, int]:
        """Give the ids of the span that is being made."""
        trace, span = self._next
        return int(trace, 16), int(span, 16)

    def sent(self, spans: int, *, taken: bool) -> None:
        """Count a batch that the collector has taken, or has not; called by the SDK's thread."""
        with self._lock:
            self._waiting -= spans
            self.exported += spans if taken else 0
        if not taken:
            self.count_lost(spans)
            self._tell("the collector does not take them")

    def count_lost(self, spans: int) -> None:
        """Count spans that are told to nobody."""
        with self._lock:
            self.lost += spans

    def _tell(self, why: str) -> None:
        now = self._clock.monotonic()
        if self._told_at is None or now - self._told_at >= QUIET_S:
            self._told_at = now
            self._log(LogEvent.SPANS_LOST, level="warning", why=why, lost=self.lost)

    async def close(self) -> None:
        """Send what is left, within bounds, and end; what remains is counted as lost."""
        ending = threading.Thread(target=self._provider.shutdown, daemon=True)
        ending.start()
        deadline = self._clock.monotonic() + FLUSH_LIMIT_S
        while ending.is_alive() and self._clock.monotonic() < deadline:
            await asyncio.to_thread(ending.join, 0.05)
        with self._lock:
            left, self._waiting = self._waiting, 0
        if left > 0:
            self.count_lost(left)
            self._told_at = None
            self._tell("the worker has ended")


def _given_ids(collector: Collector) -> Any:  # noqa: ANN401 - its class is the extra's
    """Give the SDK the ids that records have, in place of random ones."""
    from opentelemetry.sdk.trace.id_generator import IdGenerator  # noqa: PLC0415

    class Given(IdGenerator):
        def generate_trace_id(self) -> int:
            return collector.next_ids()[0]

        def generate_span_id(self) -> int:
            return collector.next_ids()[1]

    return Given()


def _counted(collector: Collector, exporter: Any) -> Any:  # noqa: ANN401 - the same
    """Count what an exporter sends, and what it does not."""
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult  # noqa: PLC0415

    class Counted(SpanExporter):
        def export(self, spans: "Sequence[ReadableSpan]") -> "SpanExportResult":
            try:
                result: SpanExportResult = exporter.export(spans)
            except Exception:
                collector.sent(len(spans), taken=False)
                raise
            collector.sent(len(spans), taken=result is SpanExportResult.SUCCESS)
            return result

        def shutdown(self) -> None:
            exporter.shutdown()

    return Counted()


def _version() -> str:
    try:
        return version("hybrid-orchestrator")
    except PackageNotFoundError:
        return "unknown"

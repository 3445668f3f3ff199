"""A collector for the tests: OTLP over HTTP as the specification has it, decoded from protobuf."""

import gzip
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["Collected", "Taken", "collector"]

KINDS = {1: "internal", 3: "client", 4: "producer", 5: "consumer"}


@dataclass(frozen=True)
class Taken:
    """One span as it came."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    start_ns: int
    end_ns: int
    attributes: dict[str, Any]
    is_error: bool
    links: tuple[tuple[str, str, str], ...]
    resource: dict[str, Any]
    schema_url: str


@dataclass
class Collected:
    """What has come, and how the collector answers: `ok`, `hang` or a status."""

    port: int = 0
    answer: str | int = "ok"
    spans: list[Taken] = field(default_factory=list)
    asked: int = 0
    paths: set[str] = field(default_factory=set)
    released: threading.Event = field(default_factory=threading.Event)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def of_trace(self, trace_id: str) -> list[Taken]:
        return [one for one in list(self.spans) if one.trace_id == trace_id]

    def of_intent(self, intent_id: str) -> list[Taken]:
        return [
            one for one in list(self.spans) if one.attributes.get("hybrid.intent.id") == intent_id
        ]

    def traces(self) -> dict[str, list[Taken]]:
        found: dict[str, list[Taken]] = defaultdict(list)
        for one in list(self.spans):
            found[one.trace_id].append(one)
        return found


@contextmanager
def collector(port: int = 0) -> Iterator[Collected]:
    """Serve one until the end of the block."""
    found = Collected()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.asked += 1
            found.paths.add(self.path)
            if found.answer == "hang":
                found.released.wait(60)
                return
            if isinstance(found.answer, int):
                self.send_error(found.answer)
                return
            assert self.headers["Content-Type"] == "application/x-protobuf"
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            found.spans += _decoded(body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    found.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield found
    finally:
        found.released.set()
        server.shutdown()
        server.server_close()


def _decoded(body: bytes) -> list[Taken]:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    request = ExportTraceServiceRequest()
    request.ParseFromString(body)
    return [
        Taken(
            name=span.name,
            kind=KINDS[span.kind],
            trace_id=span.trace_id.hex(),
            span_id=span.span_id.hex(),
            parent_id=span.parent_span_id.hex(),
            start_ns=span.start_time_unix_nano,
            end_ns=span.end_time_unix_nano,
            attributes=_values(span.attributes),
            is_error=span.status.code == 2,
            links=tuple(
                (
                    one.trace_id.hex(),
                    one.span_id.hex(),
                    _values(one.attributes).get("hybrid.link", ""),
                )
                for one in span.links
            ),
            resource=_values(resource.resource.attributes),
            schema_url=scope.schema_url,
        )
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _values(pairs: Any) -> dict[str, Any]:
    return {one.key: _value(one.value) for one in pairs}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    return getattr(value, kind)

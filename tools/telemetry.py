"""docs/telemetry.md: the names of spans and attributes, from where the code has them."""

import inspect
import re

from prose import wrapped

from streams.telemetry.names import SCOPE, SEMANTIC_CONVENTIONS, SPANS, Attribute

__all__ = ["telemetry"]

HEAD = """
A worker sends the spans of its intents to a collector of OpenTelemetry, as OTLP over HTTP: one
trace from the publisher's `traceparent` over the intake, each call with the waits before it, to the
commit of the result, the dead letter or the deferral. Ids of traces are those that the log,
records and ClickHouse have (`trace_id`, `span_id`), and `hybrid trace` takes them
([operations.md](operations.md#what-became-of-one-intent)). Numbers for Prometheus are another
matter: [metrics.md](metrics.md). Words such as *lane* are in the [glossary](glossary.md). Why it is made so: [ADR 30](adr/0030-traces-of-the-record.md).
"""
SWITCH_ON = """
    pip install 'hybrid-orchestrator[otel]'        # the image and a development tree have it
    export OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318
    hybrid worker

Only workers make spans. Without the address they make none, and it costs them nothing. With the
address and without the extra a worker does not start (exit status 2) and says how to get it;
`OTEL_SDK_DISABLED=true` does without. The standard variables hold:
"""
VARIABLES = (
    (
        "`OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, "
        "`OTEL_EXPORTER_OTLP_PROTOCOL`, `OTEL_SDK_DISABLED`, `OTEL_TRACES_EXPORTER`, "
        "`OTEL_BSP_MAX_QUEUE_SIZE`: as [configuration.md](configuration.md) has them, also in "
        "`hybrid.toml`. `grpc` is not spoken."
    ),
    (
        "`OTEL_EXPORTER_OTLP_HEADERS` (a login), `OTEL_EXPORTER_OTLP_TIMEOUT`, "
        "`OTEL_EXPORTER_OTLP_COMPRESSION`, `OTEL_EXPORTER_OTLP_CERTIFICATE` and the client's own, the "
        "same with `_TRACES_`, `OTEL_BSP_SCHEDULE_DELAY`: read by OpenTelemetry's SDK, from the "
        "environment alone (in Kubernetes a Secret of the chart's `envFrom`). Of a wrong value it "
        "warns (`library_warning`), and takes its default."
    ),
    (
        "`OTEL_SERVICE_NAME` (`hybrid-orchestrator`), `OTEL_RESOURCE_ATTRIBUTES`: the resource. "
        "`service.instance.id` is the worker's name, unless the attributes say another."
    ),
    (
        "`OTEL_TRACES_SAMPLER`, `OTEL_TRACES_SAMPLER_ARG` (`parentbased_always_on`): asked once for "
        "each execution, so that a trace is there whole or not at all. A publisher's `traceparent` "
        "whose flags say *not sampled* (`-00`) is not, by the default."
    ),
)
LOST = """
The SDK's own thread sends them. A collector that is slow, refuses, fails or hangs holds no intent
up: at most `OTEL_BSP_MAX_QUEUE_SIZE` spans wait, and what comes above that, or is not taken within
the SDK's time limit, is dropped, counted (`hybrid_spans_total`, state `lost`) and told of once a
minute at most (`spans_lost`). A stop waits 3 s for what is still to be sent. A span is made when its
call or outcome goes on record: of a worker that is killed, what it had not sent is missing, and so
is the execution that did not end; the record has both.
"""
SHAPE = (
    "What a publisher began goes on under its span; every execution is a child of it.",
    (
        "Where no publisher began a trace, `receive` does, under the ids that the log and the records "
        "name: it stands in for the publisher's span."
    ),
    (
        "What goes on after a deferral has no earlier execution as its parent: it *links* to the span "
        "that put it off (`hybrid.link` = `deferral`), in the same trace."
    ),
    (
        "A replay links to the span that wrote its dead letter (`replay`). It is in the same trace where "
        "a publisher began that; else it is new work with a trace of its own."
    ),
    (
        "Of an intent that states other ids in `trace_context` than its header does, records and spans "
        "have those of the intent, where both are W3C ids."
    ),
    (
        "A batch's calls are spans of the execution that takes their answers; making a batch, paced "
        "deliveries, recorders and the client have no spans."
    ),
)
NO_CONTENT = """
No attribute holds a prompt, an answer, a `user_id`, an error's text, a key or metadata. What does
leave the machine is in the lists below: ids, names of tenants and types, models, token counts,
costs. Names of OpenTelemetry are those of its
semantic conventions {version} (`schema_url` says so): messaging and GenAI, both in development
there; the GenAI ones have since moved to a repository of their own. A test holds each of them
against the package of that version, and whole traces of real workers against these tables. The
instrumentation scope is `{scope}`.
"""


def telemetry() -> str:
    """Give the page."""
    lines = ["# Traces", "", *wrapped(" ".join(HEAD.split())), "", "## Switching it on", ""]
    commands, _, text = SWITCH_ON.strip("\n").partition("\n\n")
    lines += ["<!-- not run: needs a collector -->", "", *commands.splitlines(), ""]
    lines += [*wrapped(" ".join(text.split())), ""]
    lines += _listed(VARIABLES)
    lines += ["", "## A collector that fails", "", *wrapped(" ".join(LOST.split()))]
    lines += ["", "## What hangs on what", "", *_listed(SHAPE)]
    named = NO_CONTENT.format(version=SEMANTIC_CONVENTIONS, scope=SCOPE)
    lines += ["", "## Names", "", *wrapped(" ".join(named.split())), ""]
    for form in SPANS.values():
        about = f"**`{form.name}`** ({form.kind.value}; parent: {form.parent}). {form.about}"
        lines += wrapped(about, first="- ", rest="  ")
        names = ", ".join(f"`{one.value}`" for one in form.attributes)
        lines += wrapped(f"Attributes: {names}", first="  ", rest="  ")
    lines += ["", "What they hold, where there is something to hold:", ""]
    meanings = _meanings()
    lines += [
        line
        for one in Attribute
        for line in wrapped(f"`{one.value}`: {meanings[one.name]}", first="- ", rest="  ")
    ]
    return "\n".join(lines) + "\n"


def _listed(texts: tuple[str, ...]) -> list[str]:
    return [line for text in texts for line in wrapped(text, first="- ", rest="  ")]


def _meanings() -> dict[str, str]:
    """Read each attribute's comment, which stands behind it or, where it is long, above."""
    source = inspect.getsource(Attribute)
    found = re.findall(r"(?m)^ +# (.+)\n +([A-Z_]+) = ", source)
    above = {name: text for text, name in found}
    return above | dict(re.findall(r'(?m)^ +([A-Z_]+) = "[^"]+"  # (.+)$', source))

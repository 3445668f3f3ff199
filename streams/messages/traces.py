"""The trace that records carry: the caller's as it came, or the one that was made for an intent."""

from schemas.base import Headers
from schemas.tracing import MAX_TRACE_BYTES, TRACEPARENT, TRACESTATE, traceparent_of
from streams.messages.records import Identity, Incoming, OutRecord, header

__all__ = ["traced", "traces_of", "with_trace"]


def with_trace(headers: Headers, traceparent: str | None) -> Headers:
    """Add a trace to headers that bring no valid one."""
    if traceparent is None or traceparent_of(headers) is not None:
        return headers
    return (*headers, (TRACEPARENT, traceparent.encode()))


def traces_of(incoming: Incoming, who: Identity) -> tuple[Headers, Headers]:
    """Give what goes on of the caller's trace, as it came; and that with a made one where it lacks.

    What is too long for a trace would be copied to each record of the transaction.
    """
    passed = tuple(
        (name, raw)
        for name in (TRACEPARENT, TRACESTATE)
        if (raw := header(incoming.headers, name)) is not None and len(raw) <= MAX_TRACE_BYTES
    )
    whole = (
        passed if header(passed, TRACEPARENT) is not None else with_trace(passed, who.traceparent)
    )
    return passed, whole


def traced(record: OutRecord, trace: Headers) -> OutRecord:
    """Add a trace to a record, as far as that does not say it itself."""
    if not record.headers:
        return OutRecord(record.topic, record.key, record.value, trace, record.partition)
    more = tuple(pair for pair in trace if header(record.headers, pair[0]) is None)
    if not more:
        return record
    headers = (*record.headers, *more)
    return OutRecord(record.topic, record.key, record.value, headers, record.partition)

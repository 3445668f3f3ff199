"""The caller's trace in headers, as W3C Trace Context has it; pure.

What is not valid there is ignored, as the recommendation says: a header of a stranger must neither
stop a call nor write into its request.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b

__all__ = [
    "MAX_TRACE_BYTES",
    "TRACEPARENT",
    "TRACESTATE",
    "is_span_id",
    "is_trace_id",
    "made_traceparent",
    "trace_id_in",
    "traceparent_of",
    "tracestate_of",
]

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"
#: Where CloudEvents has it (its extension for distributed tracing).
EVENT_TRACE = "ce_traceparent"

#: version, trace id, span id, flags; a later version may have more behind them.
_SHAPE = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-[\x21-\x7e]*)?")
#: Printable ASCII, not blank: what an HTTP header may hold.
_STATE = re.compile(rb"[\x20-\x7e]*[\x21-\x7e][\x20-\x7e]*")
#: W3C asks for 512 characters to be carried on at least.
MAX_TRACE_BYTES = 512
#: Traces of which it is remembered what they say: of what is in flight, not of all that was.
LAST_TRACES = 1024


def traceparent_of(headers: Iterable[tuple[str, bytes]]) -> str | None:
    """Give the last `traceparent`, in the form of version 00; None where it is not valid."""
    pairs = headers if isinstance(headers, tuple) else tuple(headers)
    raw = _last(pairs, TRACEPARENT)
    if raw is None:
        raw = _last(pairs, EVENT_TRACE)
    return None if raw is None or len(raw) > MAX_TRACE_BYTES else _valid(raw)


@lru_cache(LAST_TRACES)
def _valid(raw: bytes) -> str | None:
    """Give a trace in the form of version 00; each intent's is asked for some times in a row."""
    found = _SHAPE.fullmatch(raw)
    if found is None:
        return None
    version, trace, span, flags, more = (part.decode() if part else "" for part in found.groups())
    if version == "ff" or (version == "00" and more) or not trace.strip("0") or not span.strip("0"):
        return None
    return f"00-{trace}-{span}-{flags}"


def made_traceparent(trace_id: str | None, span_id: str | None, *, origin: str) -> str:
    """Make a `traceparent` where no header brings one: of the ids that an intent states, or new.

    What is new is made of `origin`, where the intent came in, so that it is the same for every
    delivery. Ids that are no W3C ids are not taken. Nothing is said to be sampled.
    """
    made = blake2b(origin.encode(), digest_size=24).hexdigest()
    trace = trace_id.lower() if trace_id and is_trace_id(trace_id) else made[:32]
    span = span_id.lower() if span_id and is_span_id(span_id) else made[32:]
    return f"00-{trace}-{span}-00"


def trace_id_in(text: str) -> str | None:
    """Read a trace's id, written alone or in a `traceparent`; None where it is neither."""
    shape = _SHAPE.fullmatch(text.encode())
    if shape is not None:
        return shape[2].decode()
    return text.lower() if is_trace_id(text) else None


def is_trace_id(text: str | None) -> bool:
    """Whether a text can be the id of a trace."""
    return text is not None and _is_id(text, 32)


def is_span_id(text: str | None) -> bool:
    """Whether a text can be the id of a span."""
    return text is not None and _is_id(text, 16)


def _is_id(text: str, length: int) -> bool:
    found = re.fullmatch(r"[0-9a-fA-F]+", text, re.ASCII)
    return found is not None and len(text) == length and bool(text.strip("0"))


def tracestate_of(headers: Iterable[tuple[str, bytes]]) -> str | None:
    """Give the last `tracestate`; None where it is not valid, or there is no valid traceparent."""
    pairs = tuple(headers)
    raw = _last(pairs, TRACESTATE)
    if raw is None or traceparent_of(pairs) is None:
        return None
    valid = len(raw) <= MAX_TRACE_BYTES and _STATE.fullmatch(raw) is not None
    return raw.decode() if valid else None


def _last(headers: Iterable[tuple[str, bytes]], name: str) -> bytes | None:
    found = None
    for key, value in headers:
        if key == name:
            found = value
    return found

"""The caller's trace in headers, as W3C Trace Context has it; pure.

What is not valid there is ignored, as the recommendation says: a header of a stranger must neither
stop a call nor write into its request.
"""

import re
from collections.abc import Iterable

__all__ = ["MAX_TRACE_BYTES", "TRACEPARENT", "TRACESTATE", "traceparent_of", "tracestate_of"]

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"

#: version, trace id, span id, flags; a later version may have more behind them.
_SHAPE = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-[\x21-\x7e]*)?")
#: Printable ASCII, not blank: what an HTTP header may hold.
_STATE = re.compile(rb"[\x20-\x7e]*[\x21-\x7e][\x20-\x7e]*")
#: W3C asks for 512 characters to be carried on at least.
MAX_TRACE_BYTES = 512


def traceparent_of(headers: Iterable[tuple[str, bytes]]) -> str | None:
    """Give the last `traceparent`, in the form of version 00; None where it is not valid."""
    raw = _last(headers, TRACEPARENT)
    found = _SHAPE.fullmatch(raw) if raw is not None and len(raw) <= MAX_TRACE_BYTES else None
    if found is None:
        return None
    version, trace, span, flags, more = (part.decode() if part else "" for part in found.groups())
    if version == "ff" or (version == "00" and more) or not trace.strip("0") or not span.strip("0"):
        return None
    return f"00-{trace}-{span}-{flags}"


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

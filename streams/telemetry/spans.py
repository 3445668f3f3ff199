"""Spans as values, and to which trace an execution belongs; pure.

Ids are not dice: the trace is the one that log, records and ClickHouse name, and a span's id is
made of the record's own id. So what was put off, or replayed, can link to what was before, though
another worker wrote that.
"""

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Protocol

from agents.task import Outcome
from schemas.tracing import is_span_id, is_trace_id
from streams.messages.records import Decided, Identity, Incoming
from streams.telemetry.names import SPANS, Attribute, Form, Kind

__all__ = [
    "Begun",
    "Link",
    "Reader",
    "Span",
    "Value",
    "Values",
    "Work",
    "begin",
    "id_of",
    "plain",
    "said",
]

Value = str | int | float | bool | tuple[str, ...]
Values = dict[Attribute, Value | None]
#: Of one text in an attribute.
MOST_SIGNS = 1024


@dataclass(frozen=True, slots=True)
class Link:
    """What a span comes after without being part of it."""

    trace_id: str
    span_id: str
    what: str


@dataclass(frozen=True, slots=True)
class Span:
    """A span that has ended; moments are nanoseconds since 1970."""

    form: Form
    name: str
    trace_id: str
    span_id: str
    parent_id: str | None
    start_ns: int
    end_ns: int
    attributes: dict[str, Value]
    #: Why it is an error, as a stable code; None = it is none.
    error: str | None = None
    links: tuple[Link, ...] = ()

    @property
    def kind(self) -> Kind:
        """Its kind, as OpenTelemetry has it."""
        return SPANS[self.form].kind


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads: the group and the worker, and the provider names of the conventions."""

    group: str
    worker: str
    #: The provider's name → what the conventions call it.
    vendors: dict[str, str] = field(default_factory=dict)


class Work(Protocol):
    """A job of a lane, as far as its trace asks."""

    @property
    def who(self) -> Identity:
        """Whose work it is."""

    @property
    def incoming(self) -> Incoming:
        """The record."""

    @property
    def execution_id(self) -> str:
        """UUIDv7 of its execution; empty where it was not executed."""

    @property
    def outcome(self) -> Outcome | None:
        """What came of it."""

    @property
    def decided(self) -> Decided | None:
        """What was written about it."""


@dataclass(frozen=True, slots=True)
class Begun:
    """What the spans of one execution have in common."""

    trace_id: str
    parent_id: str
    process_id: str
    #: Two digits of the publisher's `traceparent`; None where there is none: who samples decides.
    flags: str | None
    #: Whether no publisher has made the parent span.
    is_made: bool
    operation: str
    #: Intent, type and tenant, as each span has them.
    work: dict[str, Value]


def begin(work: Work, execution_id: str) -> Begun | None:
    """Say to which trace an execution belongs; None where it has none."""
    who, intent = work.who, work.who.intent
    stated = intent.trace_context if intent else None
    given = work.incoming.traceparent
    if stated and is_trace_id(stated.trace_id) and is_span_id(stated.span_id):
        trace, parent = (stated.trace_id or "").lower(), (stated.span_id or "").lower()
        is_made = False
    elif (carried := given or who.traceparent) is not None:
        trace, parent = carried.split("-")[1:3]
        is_made = given is None
    else:
        return None
    values: Values = {
        Attribute.INTENT_ID: who.intent_id,
        Attribute.INTENT_TYPE: intent.type if intent else None,
        Attribute.TENANT: intent.tenant if intent else None,
    }
    return Begun(
        trace_id=trace,
        parent_id=parent,
        process_id=id_of("process", execution_id),
        flags=given.split("-")[3] if given is not None else None,
        is_made=is_made,
        operation="embeddings" if intent is not None and intent.task == "embedding" else "chat",
        work=said(values),
    )


def id_of(form: str, identifier: str) -> str:
    """Make the id of a span of what it tells of."""
    made = blake2b(f"{form}/{identifier}".encode("utf-8", "surrogatepass"), digest_size=8)
    return made.hexdigest() if made.digest().strip(b"\0") else f"{1:016x}"


def said(values: Values) -> dict[str, Value]:
    """Leave out what is not known; a text of somebody else's is cut, and can be written."""
    return {
        name.value: plain(value) if isinstance(value, str) else value
        for name, value in values.items()
        if value is not None
    }


def plain(text: str) -> str:
    """Cut a text of somebody else's to what can be written."""
    cut = text[:MOST_SIGNS]
    return cut if cut.isascii() else cut.encode("utf-8", "replace").decode()

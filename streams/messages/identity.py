"""From a record to whose work it is: decoding, ids, replay and deferral headers; pure."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic_core import from_json

from agents.deciding.routes import Router, Sketch
from agents.deciding.schedule import milliseconds
from agents.task import Failed
from schemas.base import to_camel
from schemas.codec import MAX_DEPTH, MAX_ID, IntentError, derive_intent_id, read_intent
from schemas.events import DeferralState
from schemas.intent import TraceContext
from schemas.outcome import RecordSource
from schemas.tracing import made_traceparent
from schemas.vocabulary import DeadLetterReason, ErrorClass, Priority
from streams.messages.cloud_events import opened
from streams.messages.deferrals import deferral_of
from streams.messages.orders import Named
from streams.messages.records import (
    INTENT_ID_HEADER,
    REPLAY_COUNT_HEADER,
    REPLAY_PLAN_HEADER,
    REPLAYED_HEADER,
    Identity,
    Incoming,
    header,
)
from streams.messages.sealed import UnreadableError

__all__ = [
    "NO_OUTLINE",
    "Identified",
    "Outline",
    "deduplication_key",
    "identify",
    "named",
    "outline",
]

#: Digits of a replay count that are believed; the ledger keeps counts up to 255.
MAX_REPLAYS = 255
DEFAULT_TENANT = "default"
TENANT_PREFIX = "\x00tenant/"


@dataclass(frozen=True, slots=True)
class Identified:
    """Who it is and, where it cannot be run, the failure it ends with."""

    who: Identity
    failed: Failed | None = None


def identify(incoming: Incoming, *, max_bytes: int, refuse_unknown: bool = False) -> Identified:
    """Read a record; never raises."""
    deferral = deferral_of(incoming)
    replays = _replay_count(incoming)
    known = _known_id(incoming, deferral)
    letter, plan_id = _replayed_letter(incoming), _stated_id(incoming, REPLAY_PLAN_HEADER) or ""
    source = deferral.source if deferral else incoming.source
    if incoming.unreadable is not None:
        return _sealed(incoming, incoming.unreadable, deferral, replays)
    event = None
    try:
        # What is too large is not looked into.
        event = opened(incoming.headers, incoming.value) if incoming.fits(max_bytes) else None
        value = event.body if event else incoming.value
        intent, unknown = read_intent(value, max_bytes=max_bytes, refuse_unknown=refuse_unknown)
    except IntentError as error:
        derived = _derived_id(incoming)
        intent_id = known or error.intent_id or derived
        failed = Failed(
            reason=error.reason,
            error_class=ErrorClass.VALIDATION,
            code=error.code,
            message=error.message,
            retriable=False,
            suggested_action="correct the producer, then publish the intent anew",
        )
        # Decided under the record's own id: the same intent, corrected, must be able to run.
        return Identified(
            Identity(
                derived,
                intent_id,
                replays,
                None,
                deferral,
                source,
                letter,
                traceparent=_trace(incoming, None, source, intent_id),
                event=event,
                plan_id=plan_id,
            ),
            failed,
        )
    intent_id = intent.intent_id or known or _derived_id(incoming)
    key = deduplication_key(intent.tenant, intent.deduplication_id or intent_id)
    trace = _trace(incoming, intent.trace_context, source, intent_id)
    who = Identity(
        key, intent_id, replays, intent, deferral, source, letter, unknown, trace, event, plan_id
    )
    return Identified(who)


def _sealed(
    incoming: Incoming, why: UnreadableError, deferral: DeferralState | None, replays: int
) -> Identified:
    """End an intent whose content nobody can read here; a replay runs it once somebody can."""
    intent_id = _known_id(incoming, deferral) or _derived_id(incoming)
    source = deferral.source if deferral else incoming.source
    failed = Failed(
        reason=DeadLetterReason.CANCELLED if why.is_forgotten else DeadLetterReason.INTERNAL,
        error_class=ErrorClass.UNKNOWN,
        code=why.code,
        message=str(why),
        retriable=not why.is_forgotten,
        suggested_action="nothing can be done: it is meant to be so"
        if why.is_forgotten
        else "put the key into HYBRID_CONTENT_KEYS of the workers, then replay",
        spent_usd=deferral.spent_usd if deferral else None,
    )
    letter, trace = _replayed_letter(incoming), _trace(incoming, None, source, intent_id)
    # As it was put off, so that the ledger knows that it has ended, and a replay runs.
    key = (deferral.key if deferral else "") or _derived_id(incoming)
    who = Identity(key, intent_id, replays, None, deferral, source, letter, traceparent=trace)
    return Identified(who, failed)


def _trace(
    incoming: Incoming, stated: TraceContext | None, source: RecordSource, intent_id: str
) -> str:
    """Give the trace of a record: of its header, of the ids that the intent states, or made.

    One that is made hangs on where the intent came in, so a deferral does not begin another.
    """
    given = incoming.traceparent
    if given is not None:
        return given
    origin = f"{source.topic}/{source.partition}/{source.offset}/{intent_id}"
    trace, span = (stated.trace_id, stated.span_id) if stated else (None, None)
    return made_traceparent(trace, span, origin=origin)


def deduplication_key(tenant: str, stated: str) -> str:
    """Name an intent in the ledger: one tenant's ids say nothing about another's.

    An intent of the tenant `default` keeps its plain id, as ledgers have it since before tenants
    were told apart. The length makes the name unique whatever signs a tenant's name holds.
    """
    if tenant == DEFAULT_TENANT and not stated.startswith("\x00"):
        return stated
    return f"{TENANT_PREFIX}{len(tenant)}/{tenant}/{stated}"


@dataclass(frozen=True, slots=True)
class Outline:
    """What the order of work depends on, read without the rest of an intent."""

    tenant: str = ""
    type: str = ""
    route: tuple[str, ...] = ()
    deadline_at_ms: int | None = None
    #: When it may start, in milliseconds since 1970; 0 = at once.
    not_before_ms: int = 0

    def is_early(self, now_ms: int) -> bool:
        """Whether the intent's own time has not come: it is put aside, and calls nobody."""
        return now_ms < self.not_before_ms

    def is_late(self, now_ms: int) -> bool:
        """Whether the intent's own deadline has passed."""
        return self.deadline_at_ms is not None and now_ms >= self.deadline_at_ms


NO_OUTLINE = Outline()
#: Fields of an intent that are read here, as they may be written too.
CAMEL = {
    name: to_camel(name)
    for name in (
        "deadline_ms",
        "force_provider",
        "intent_id",
        "not_before",
        "requires_multi_platform",
    )
}


def outline(incoming: Incoming, router: Router, *, max_bytes: int) -> Outline:
    """Read tenant, route and deadline; an empty outline for what is no intent. Never raises."""
    value = incoming.body if incoming.fits(max_bytes) else None
    if not value or value.count(b"[") + value.count(b"{") > MAX_DEPTH:
        return NO_OUTLINE
    try:
        document = _document(value)
        if not isinstance(document.get("type"), str):
            return NO_OUTLINE  # decided without a provider, so it waits for none
        sketch = Sketch(
            type=document["type"],
            priority=Priority(document.get("priority", Priority.MEDIUM)),
            requires_multi_platform=bool(_either(document, "requires_multi_platform")),
            force_provider=_either(document, "force_provider"),
            model=document.get("model"),
            task=document.get("task", "chat"),
        )
        within = _either(document, "deadline_ms")
        is_shared = sketch.model in router.groups  # who is first hangs on the intent's id
        deferral = deferral_of(incoming) if within or is_shared else None
        begun = deferral.source.timestamp.timestamp() * 1000 if deferral else incoming.timestamp_ms
        return Outline(
            tenant=str(document.get("tenant", "default")),
            type=sketch.type,
            route=router.route(
                sketch, identity=_id_of(document, incoming, deferral) if is_shared else ""
            ),
            deadline_at_ms=int(begun + within) if within else None,
            not_before_ms=_moment_ms(_either(document, "not_before")),
        )
    except (ValueError, TypeError, AttributeError, RecursionError, ArithmeticError):
        return NO_OUTLINE


def _moment_ms(stated: str | None) -> int:
    """Read when an intent may start; raises ValueError, TypeError for what is no moment."""
    return milliseconds(datetime.fromisoformat(stated.upper())) if stated is not None else 0


def _document(value: bytes) -> Any:  # noqa: ANN401 - any value of JSON
    try:
        return from_json(value)
    except ValueError:  # with a byte order mark, or halves of characters
        return json.loads(value)


def _known_id(incoming: Incoming, deferral: DeferralState | None) -> str | None:
    """Give the id that an intent had before, where it was put aside or is replayed."""
    return deferral.intent_id if deferral else _replayed_id(incoming)


def _id_of(document: dict[str, Any], incoming: Incoming, deferral: DeferralState | None) -> str:
    """Give the intent's id, as `identify` does of the whole intent."""
    stated = _either(document, "intent_id")
    if stated:
        return str(stated)
    return _known_id(incoming, deferral) or _derived_id(incoming)


def named(incoming: Incoming, outline: Outline) -> Named:
    """Say whose work a record is, as far as an order asks, without the rest of it."""
    deferral = deferral_of(incoming)
    source = deferral.source if deferral else incoming.source
    try:
        intent_id = _id_of(_document(incoming.body or b""), incoming, deferral)
    except (ValueError, TypeError, AttributeError, RecursionError):
        intent_id = _known_id(incoming, deferral) or _derived_id(incoming)
    is_replay = _replay_count(incoming) > 0
    return Named(intent_id, outline.tenant, outline.type, source.timestamp, is_replay)


def _derived_id(incoming: Incoming) -> str:
    return derive_intent_id(
        incoming.topic, incoming.partition, incoming.offset, incoming.written_ms
    )


def _either(document: dict[str, Any], name: str) -> Any:  # noqa: ANN401 - checked where it is used
    """Read a field in snake_case or camelCase."""
    return document[name] if name in document else document.get(CAMEL[name])


def _replayed_id(incoming: Incoming) -> str | None:
    """Give the id that a replayed dead letter had, if it can be one."""
    if header(incoming.headers, REPLAYED_HEADER) is None:
        return None
    return _stated_id(incoming, INTENT_ID_HEADER)


def _replayed_letter(incoming: Incoming) -> str | None:
    """Give the dead letter that a record says it was; None where no dead letter has such an id."""
    stated = _stated_id(incoming, REPLAYED_HEADER)
    try:
        return stated if stated is not None and str(UUID(stated)) == stated else None
    except ValueError:
        return None


def _stated_id(incoming: Incoming, name: str) -> str | None:
    """Give an id that a header states, if it can be one."""
    stated = (header(incoming.headers, name) or b"").decode("utf-8", "replace")
    return stated if 0 < len(stated) <= MAX_ID else None


def _replay_count(incoming: Incoming) -> int:
    raw = header(incoming.headers, REPLAY_COUNT_HEADER) or b"0"
    return min(int(raw), MAX_REPLAYS) if raw.isdigit() and len(raw) < 9 else 0  # noqa: PLR2004

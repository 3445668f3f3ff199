"""From what goes on record about an intent to the spans of its trace; pure."""

from datetime import datetime
from uuid import UUID

from agents.task import Deferred, Failed, Outcome
from schemas.attempt import ProviderAttempt
from schemas.tracing import is_trace_id
from schemas.vocabulary import AttemptOutcome
from streams.messages.records import REPLAYED_TRACE_HEADER, Decided, header
from streams.telemetry.names import Attribute, Form
from streams.telemetry.spans import (
    Begun,
    Link,
    Reader,
    Span,
    Value,
    Values,
    Work,
    id_of,
    plain,
    said,
)

__all__ = ["call_spans", "end_spans"]

MS = 1_000_000


def call_spans(begun: Begun, attempt: ProviderAttempt, reader: Reader) -> list[Span]:
    """Build the span of a call that has ended, and those of the waits before it."""
    started = _ns(attempt.started_at)
    waited = (
        ("backoff", attempt.backoff_ms, started - attempt.limiter_ms * MS),
        ("limiter", attempt.limiter_ms, started),
    )
    about: Values = {
        Attribute.INTENT_ID: attempt.intent_id,
        Attribute.PROVIDER: attempt.provider,
        Attribute.ATTEMPT_ID: attempt.attempt_id,
    }
    spans = [
        _span(
            Form.WAIT, begun, f"wait for {what}", (end - waited_ms * MS, end),
            id_of(what, attempt.attempt_id), said(about),
        )
        for what, waited_ms, end in waited
        if waited_ms > 0
    ]  # fmt: skip
    failed = attempt.outcome is not AttemptOutcome.SUCCESS
    ended = _ns(attempt.finished_at) if attempt.finished_at else started + attempt.call_ms * MS
    spans.append(
        _span(
            Form.CALL, begun, f"{begun.operation} {attempt.requested_model}".rstrip(),
            (started, ended), id_of("call", attempt.attempt_id),
            begun.work | said(_of_call(begun, attempt, reader)),
            error=attempt.outcome.value if failed else None,
        )
    )  # fmt: skip
    return spans


def end_spans(begun: Begun, work: Work, reader: Reader, *, now_ms: int) -> list[Span]:
    """Build the spans of an execution whose outcome is committed; its calls are not among them."""
    outcome, decided, incoming = work.outcome, work.decided, work.incoming
    if outcome is None or decided is None:
        return []
    decided_ms = decided.ledger.decided_at_ms
    start_ms = min(_moment_ms(work.execution_id) or decided_ms, decided_ms)
    status = decided.ledger.status.value
    code = outcome.code if isinstance(outcome, Failed) else None
    told: Values = {
        Attribute.WORKER: reader.worker,
        Attribute.OUTCOME: status,
        Attribute.OUTCOME_ID: decided.outcome_id,
        Attribute.ERROR_TYPE: outcome.reason.value if isinstance(outcome, Failed) else None,
        Attribute.ERROR_CODE: code,
        Attribute.REPLAY_COUNT: work.who.replay_count or None,
        Attribute.DEFERRAL_HOP: work.who.deferral.hop if work.who.deferral else None,
    }
    topic = decided.records[0].topic  # of what the outcome is; what tells of it comes after
    sent: Values = {
        Attribute.MESSAGING_SYSTEM: "kafka",
        Attribute.OPERATION: "send",
        Attribute.OPERATION_TYPE: "send",
        Attribute.DESTINATION: topic,
        Attribute.OUTCOME: status,
        Attribute.OUTCOME_ID: decided.outcome_id,
    }
    end = max(now_ms, decided_ms) * MS
    spans = [
        _span(
            Form.PROCESS, begun, f"process {incoming.topic}", (start_ms * MS, end),
            begun.process_id, _read(begun, work, reader, "process") | said(told),
            parent=begun.parent_id, error=code, links=_links(begun, work),
        ),
        _span(
            Form.SEND, begun, f"send {topic}", (decided_ms * MS, end),
            _sent_id(begun, work, outcome, decided), begun.work | said(sent),
        ),
    ]  # fmt: skip
    if begun.is_made and work.who.deferral is None:
        written_ms = min(max(0, incoming.timestamp_ms), start_ms)
        received = _span(
            Form.RECEIVE, begun, f"receive {incoming.topic}", (written_ms * MS, start_ms * MS),
            begun.parent_id, _read(begun, work, reader, "receive"), parent=None,
        )  # fmt: skip
        spans.insert(0, received)
    return spans


def _span(
    form: Form,
    begun: Begun,
    name: str,
    between: tuple[int, int],
    span_id: str,
    attributes: dict[str, Value],
    *,
    parent: str | None = "",
    error: str | None = None,
    links: tuple[Link, ...] = (),
) -> Span:
    """Build a span; without a parent that is said it is the execution's."""
    start, end = between
    return Span(
        form=form,
        name=name,
        trace_id=begun.trace_id,
        span_id=span_id,
        parent_id=begun.process_id if parent == "" else parent,
        start_ns=max(0, start),
        end_ns=max(0, start, end),
        attributes=attributes,
        error=error,
        links=links,
    )


def _of_call(begun: Begun, attempt: ProviderAttempt, reader: Reader) -> Values:
    failed = attempt.outcome is not AttemptOutcome.SUCCESS
    inputs = attempt.uncached_input_tokens + attempt.cached_input_tokens
    outputs = attempt.visible_output_tokens + attempt.reasoning_tokens
    has_usage = attempt.usage_source.value != "none"
    return {
        Attribute.GEN_AI_OPERATION: begun.operation,
        Attribute.GEN_AI_PROVIDER: reader.vendors.get(attempt.provider, attempt.provider),
        Attribute.REQUEST_MODEL: attempt.requested_model or None,
        Attribute.RESPONSE_MODEL: attempt.served_model or None,
        Attribute.FINISH_REASONS: (plain(attempt.finish_reason),)
        if attempt.finish_reason
        else None,
        Attribute.INPUT_TOKENS: inputs if has_usage else None,
        Attribute.OUTPUT_TOKENS: outputs if has_usage else None,
        Attribute.CACHE_READ_TOKENS: attempt.cached_input_tokens or None,
        Attribute.CACHE_WRITE_TOKENS: attempt.cache_write_tokens or None,
        Attribute.REASONING_TOKENS: attempt.reasoning_tokens or None,
        Attribute.HTTP_STATUS: attempt.http_status,
        Attribute.ERROR_TYPE: attempt.outcome.value if failed else None,
        Attribute.PROVIDER: attempt.provider,
        Attribute.ATTEMPT_ID: attempt.attempt_id,
        Attribute.ATTEMPT_NUMBER: attempt.attempt,
        Attribute.ATTEMPT_SEQUENCE: attempt.provider_sequence,
        Attribute.HEDGE: attempt.hedge or None,
        Attribute.USED_RESULT: attempt.used_result,
        Attribute.COST_USD: float(attempt.cost_usd) if attempt.cost_usd is not None else None,
        Attribute.ERROR_CODE: attempt.error_code or None,
    }


def _read(begun: Begun, work: Work, reader: Reader, operation: str) -> dict[str, Value]:
    """Say which record was read."""
    values: Values = {
        Attribute.MESSAGING_SYSTEM: "kafka",
        Attribute.OPERATION: operation,
        Attribute.OPERATION_TYPE: operation,
        Attribute.DESTINATION: work.incoming.topic,
        Attribute.PARTITION: str(work.incoming.partition),
        Attribute.OFFSET: work.incoming.offset,
        Attribute.GROUP: reader.group,
    }
    return begun.work | said(values)


def _links(begun: Begun, work: Work) -> tuple[Link, ...]:
    """Lead to what put the work off, or to the dead letter that is replayed."""
    who = work.who
    links = []
    if who.deferral is not None:
        links.append(Link(begun.trace_id, _put_off_id(begun, work, who.deferral.hop), "deferral"))
    elif who.dead_letter_id is not None:
        raw = (header(work.incoming.headers, REPLAYED_TRACE_HEADER) or b"").decode(
            "utf-8", "replace"
        )
        trace = raw.lower() if is_trace_id(raw) else begun.trace_id
        links.append(Link(trace, id_of("send", who.dead_letter_id), "replay"))
    return tuple(links)


def _sent_id(begun: Begun, work: Work, outcome: Outcome, decided: Decided) -> str:
    """Give a span's id that who goes on with the work can make anew."""
    if isinstance(outcome, Deferred):
        return _put_off_id(begun, work, outcome.state.hop)
    return id_of("send", decided.outcome_id)


def _put_off_id(begun: Begun, work: Work, hop: int) -> str:
    who = work.who
    return id_of("deferral", f"{begun.trace_id}/{who.intent_id}/{who.replay_count}/{hop}")


def _moment_ms(execution_id: str) -> int | None:
    """Read when an execution began of its id, which is a UUIDv7."""
    return UUID(execution_id).int >> 80 if execution_id else None


def _ns(moment: datetime) -> int:
    return round(moment.timestamp() * 1000) * MS

"""What leaves an execution: results, and what a deferred intent carries to the next one."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from agents.executing.account import Execution
from agents.pricing.usage import Usage
from agents.providers.replies import ChatReply
from schemas.attempt import ProviderAttempt
from schemas.embeddings import written
from schemas.events import CachedAnswer, DeferralState
from schemas.outcome import (
    AzureExecutionResult,
    CostInfo,
    OpenAIExecutionResult,
    ResultMetadata,
    WorkflowResult,
)
from schemas.vocabulary import AttemptOutcome, UsageSource

__all__ = ["cached_result", "deferral", "result"]

RESULT_CLASSES: dict[str, type[WorkflowResult]] = {
    "openai": OpenAIExecutionResult,
    "azure": AzureExecutionResult,
}


@dataclass(slots=True)
class _Said:
    """What a model said just now, under the names that an answer of the cache has."""

    provider: str
    served_model: str
    content: str
    finish_reason: str
    refusal: str | None
    annotations: list[dict[str, Any]] | None
    logprobs: list[dict[str, Any]] | None
    reasoning_summary: str | None
    embeddings: list[str] | None


def deferral(
    run: Execution,
    *,
    due_at_ms: int,
    not_before_ms: int,
    reason: str,
    counted: bool,
    outage_ms: int | None = None,
) -> DeferralState:
    """Write down what the next execution must know."""
    before = run.task.deferral
    return DeferralState(
        due_at_ms=due_at_ms,
        not_before_ms=not_before_ms,
        count=(before.count if before else 0) + counted,
        hop=(before.hop if before else 0) + 1,
        reason=reason,
        outage_ms=outage_ms,
        intent_id=run.task.intent_id,
        source=run.task.source,
        limiter_ms=run.limiter_ms,
        backoff_ms=run.backoff_ms,
        provider_ms=run.provider_ms,
        attempts=run.summaries,
        fallback_history=run.fallbacks,
        spent_usd=run.known_spend(),
        exposure_usd=run.exposure,
    )


def cached_result(
    run: Execution, answer: CachedAnswer, structured: object, *, result_id: str, now: datetime
) -> WorkflowResult:
    """Build the result of a request whose answer was there already."""
    return _result(
        run,
        answer,
        structured,
        cost_info=CostInfo(cost_usd=Decimal(0)),
        metadata=ResultMetadata(attempt=0, total_retries=0, cached=True),
        result_id=result_id,
        now=now,
    )


def result(
    run: Execution,
    attempt: ProviderAttempt,
    reply: ChatReply,
    usage: Usage,
    structured: object,
    *,
    result_id: str,
    now: datetime,
) -> WorkflowResult:
    """Build the result of a call that succeeded."""
    if attempt.outcome is not AttemptOutcome.SUCCESS:
        message = "a result needs a successful attempt"
        raise AssertionError(message)
    return _result(
        run,
        _Said(
            attempt.provider,
            reply.served_model or attempt.requested_model,
            reply.content,
            reply.finish_reason,
            refusal=reply.beside.refusal or None,
            annotations=list(reply.beside.annotations) or None,
            logprobs=list(reply.beside.logprobs) or None,
            reasoning_summary=reply.beside.reasoning_summary or None,
            embeddings=list(reply.beside.embeddings) or None,
        ),
        structured,
        cost_info=CostInfo(
            tokens=usage.total,
            input_tokens=usage.input,
            cached_input_tokens=usage.cached_input,
            output_tokens=usage.output,
            reasoning_tokens=usage.reasoning,
            cost_usd=attempt.cost_usd,
            estimated=usage.source is UsageSource.ESTIMATED,
            duration_ms=attempt.call_ms,
        ),
        metadata=ResultMetadata(
            attempt=attempt.attempt,
            total_retries=attempt.attempt - 1,
            fallback=bool(run.fallbacks),
        ),
        dropped=list(reply.dropped) or None,
        tool_calls=list(reply.beside.tool_calls) or None,
        result_id=result_id,
        now=now,
    )


def _result(
    run: Execution,
    answer: "CachedAnswer | _Said",
    structured: object,
    *,
    cost_info: CostInfo,
    metadata: ResultMetadata,
    result_id: str,
    now: datetime,
    tool_calls: list[dict[str, Any]] | None = None,
    dropped: list[str] | None = None,
) -> WorkflowResult:
    intent = run.task.intent
    return RESULT_CLASSES.get(answer.provider, WorkflowResult)(
        result_id=result_id,
        intent_id=run.task.intent_id,
        deduplication_id=intent.deduplication_id,
        type=intent.type,
        tenant=intent.tenant,
        user_id=intent.user_id,
        provider=answer.provider,
        model=answer.served_model,
        content=answer.content,
        embeddings=answer.embeddings
        and written(answer.embeddings, intent.parameters.get("encoding_format")),
        structured=structured,
        tool_calls=tool_calls,
        dropped_parameters=dropped,
        refusal=answer.refusal,
        annotations=answer.annotations,
        logprobs=answer.logprobs,
        reasoning_summary=answer.reasoning_summary,
        finish_reason=answer.finish_reason or None,
        cost_info=cost_info,
        total_cost_usd=run.known_spend(),
        metadata=metadata,
        fallback_history=run.fallbacks,
        timings=run.timings(now),
        trace_context=run.task.trace_context,
        request_metadata=intent.metadata,
        completed_at=now,
    )

"""The attempts of an execution: what goes on record before a call, and after it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from agents.deciding.failures import TRUNCATED, Failure
from agents.deciding.structured import AnswerError, parse_answer
from agents.deciding.vectors import vectors_failure
from agents.executing.account import Execution
from agents.executing.ground import Ground
from agents.pricing.prices import PriceBook
from agents.pricing.tokens import count_messages, counter_of, text_in
from agents.pricing.usage import NO_USAGE, Usage, estimated_usage
from agents.providers.adapters import Provider
from agents.providers.replies import ChatReply
from schemas.attempt import ProviderAttempt
from schemas.vocabulary import AttemptOutcome, AttemptStatus, FailureKind

__all__ = ["Answer", "Attempts", "characters"]

#: Beyond its time limit a call is given this long before it counts as orphaned.
ORPHAN_GRACE_S = 30
#: The provider may have served the call.
UNREAD = frozenset({FailureKind.TIMEOUT, FailureKind.CONNECTION, FailureKind.BAD_OUTPUT})
#: Azure charges for what it has processed, whatever the status: its page on managing costs names
#: 400 for a content filter or an input limit, and 408. OpenAI charges for none of them.
CHARGED_BY_AZURE = frozenset({FailureKind.CONTENT_FILTER, FailureKind.CONTEXT_LENGTH})
#: Ends of answers that were cut for their content; Gemini adds its reason, Zhipu says sensitive.
FILTERED = ("content_filter", "sensitive")
TIMED_OUT, ANSWERED = 408, 200


@dataclass(frozen=True, slots=True)
class Answer:
    """A finished call: the attempt as recorded, with the reply or the failure."""

    attempt: ProviderAttempt
    reply: ChatReply | None = None
    usage: Usage = NO_USAGE
    structured: object = None
    failure: Failure | None = None


class Attempts:
    """Makes attempts; each is a frozen message, a later one of the same call replaces it."""

    def __init__(self, *, kinds: Mapping[str, str], prices: PriceBook, ground: Ground) -> None:
        """Keep the prices; `kinds` gives each provider's kind by its name."""
        self._prices = prices
        self._kinds = kinds
        self._ground = ground

    def started(
        self,
        run: Execution,
        provider: Provider,
        *,
        model: str,
        bound_usd: Decimal | None,
        hedge_at: int | None = None,
    ) -> ProviderAttempt:
        """Make the record that goes out before a call, with what it can cost at most.

        `model` is the provider's own name for it; `hedge_at` is the place in the route of
        a provider that is asked beside the first.
        """
        hedge = hedge_at is not None
        intent, now = run.task.intent, self._ground.clock.now()
        return ProviderAttempt(
            attempt_id=self._ground.new_id(),
            execution_id=run.task.execution_id,
            intent_id=run.task.intent_id,
            status=AttemptStatus.STARTED,
            tenant=intent.tenant,
            type=intent.type,
            user_id=intent.user_id,
            priority=intent.priority.value,
            provider=provider.name,
            deployment=model if provider.deployment else "",
            requested_model=model,
            attempt=1 if hedge else run.calls_here + 1,
            provider_sequence=run.position if hedge_at is None else hedge_at,
            hedge=hedge,
            replay_count=run.task.replay_count,
            trace_context=run.task.trace_context,
            cost_upper_usd=bound_usd,
            queue_ms=run.queue_ms if not run.calls else 0,
            limiter_ms=run.take_limiter_ms(),
            backoff_ms=run.take_backoff_ms(),
            worker=self._ground.worker,
            started_at=now,
            deadline_at=now + timedelta(seconds=provider.limit_s(model) + ORPHAN_GRACE_S),
        )

    async def prepare(self, started: ProviderAttempt, reply: ChatReply) -> None:
        """Load what counts the tokens of an answer that does not say them; beside the loop.

        It takes a second or more, in which a worker that stood still would lose its lease.
        """
        if reply.usage is None:
            await asyncio.to_thread(counter_of, self._models(started, reply))

    def _models(self, started: ProviderAttempt, reply: ChatReply) -> tuple[str, ...]:
        seller = self._prices.seller((started.provider, self._kinds[started.provider]))
        return seller.names(started.requested_model, reply.served_model)

    def answered(
        self,
        run: Execution,
        started: ProviderAttempt,
        reply: ChatReply,
        messages: list[dict[str, Any]],
        call_ms: int,
    ) -> Answer:
        """Make the record of a call that was answered with 200."""
        provider = (started.provider, self._kinds[started.provider])
        models = self._models(started, reply)
        embeds = run.task.intent.task == "embedding"
        usage = reply.usage or _counted(models, messages, reply.content, embeds=embeds)
        price = self._prices.price(
            provider,
            models,
            usage,
            at=started.started_at,
            charge=reply.charge,
        )
        failure, structured = self._inspect(run, reply)
        attempt = started.model_copy(
            update={
                "status": AttemptStatus.FINISHED,
                "outcome": failure.outcome if failure else AttemptOutcome.SUCCESS,
                "error_code": failure.code if failure else started.error_code,
                "retry_after_ms": failure.retry_after_ms if failure else started.retry_after_ms,
                "used_result": failure is None,
                "http_status": reply.http_status,
                "served_model": reply.served_model,
                "finish_reason": reply.finish_reason,
                "uncached_input_tokens": usage.uncached_input,
                "cached_input_tokens": usage.cached_input,
                "visible_output_tokens": usage.visible_output,
                "reasoning_tokens": usage.reasoning,
                "cache_write_tokens": usage.cache_write,
                "audio_input_tokens": usage.audio_input,
                "audio_output_tokens": usage.audio_output,
                "usage_source": usage.source,
                "cost_usd": price.usd,
                "input_cost_usd": price.input_usd,
                # Without a price it keeps its bound, where there is one.
                "cost_upper_usd": started.cost_upper_usd if price.usd is None else price.usd,
                "price_id": price.price_id,
                "call_ms": call_ms,
                "provider_request_id": reply.request_id,
                "finished_at": self._ground.clock.now(),
            }
        )
        return Answer(attempt, reply, usage, structured, failure)

    @staticmethod
    def _inspect(run: Execution, reply: ChatReply) -> tuple[Failure | None, object]:
        """Look whether a 200 holds what was asked for."""
        if reply.finish_reason.startswith(FILTERED):
            message = "the provider cut the answer off by its content filter"
            return Failure(FailureKind.CONTENT_FILTER, "content_filter", message, 200), None
        if reply.failure is not None:
            return reply.failure, None
        if run.task.intent.task == "embedding":
            return vectors_failure(run.task.intent, reply.beside.embeddings), None
        content, schema = run.answered(reply.content)
        message = "the length limit cut the answer off"
        cut = Failure(FailureKind.BAD_OUTPUT, TRUNCATED, message, 200)
        if reply.finish_reason == "length" and not reply.content:
            return cut, None
        if schema is None or reply.beside.tool_calls:
            return None, None
        try:
            return None, parse_answer(content, schema)
        except AnswerError as error:
            if reply.finish_reason == "length":
                return cut, None
            said = str(error) if run.mask is None else run.mask.hidden(str(error))
            return Failure(FailureKind.BAD_OUTPUT, "schema_mismatch", said, 200), None

    def failed(self, started: ProviderAttempt, failure: Failure, call_ms: int) -> Answer:
        """Make the record of a call that failed."""
        # A call that may be charged although no answer was read keeps its upper bound.
        answered = failure.http_status == ANSWERED
        unknown_bill = (
            answered
            or failure.kind in UNREAD
            or (
                self._kinds[started.provider] == "azure"
                and (failure.kind in CHARGED_BY_AZURE or failure.http_status == TIMED_OUT)
            )
        )
        attempt = started.model_copy(
            update={
                "status": AttemptStatus.FINISHED,
                "outcome": failure.outcome,
                "http_status": failure.http_status,
                "error_code": failure.code,
                "retry_after_ms": failure.retry_after_ms,
                "cost_usd": Decimal(0),
                "cost_upper_usd": started.cost_upper_usd if unknown_bill else Decimal(0),
                "call_ms": call_ms,
                "provider_request_id": failure.request_id,
                "finished_at": self._ground.clock.now(),
            }
        )
        return Answer(attempt, failure=failure)

    def cancelled(
        self, started: ProviderAttempt, call_ms: int, *, code: str = "", **bounds: Decimal
    ) -> ProviderAttempt:
        """Make the record of a call that was cancelled; `bounds` replaces its upper bound."""
        return started.model_copy(
            update={
                **bounds,
                "error_code": code,
                "status": AttemptStatus.FINISHED,
                "outcome": AttemptOutcome.CANCELLED,
                "cost_usd": Decimal(0),
                "call_ms": call_ms,
                "finished_at": self._ground.clock.now(),
            }
        )


def _counted(
    models: tuple[str, ...], messages: list[dict[str, Any]], content: str, *, embeds: bool
) -> Usage:
    count = counter_of(models)
    if embeds:  # each text by itself, and nothing around it
        tokens = sum(count(text_in(message)) for message in messages)
        return estimated_usage(prompt_tokens=tokens, content_tokens=0)
    return estimated_usage(
        prompt_tokens=count_messages(count, messages), content_tokens=count(content)
    )


def characters(messages: list[dict[str, Any]]) -> int:
    """Count the characters of all message contents."""
    return sum(len(text_in(message)) for message in messages)

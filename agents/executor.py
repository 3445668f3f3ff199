"""The execution of one intent: call, classify, decide, until there is an outcome.

The policy decides (`agents.policy`), this module does. Before each call a `started` attempt is
journalled; after it the `finished` one, except the last, which travels with the outcome in the
lane's transaction. Whatever happens, each call is on record.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any, Protocol, assert_never

from agents.clock import Clock, Dice, uuid7
from agents.errors import ExecutionError, LaneLostError
from agents.execution import Execution
from agents.failures import Failure
from agents.log import Log
from agents.policy import Defer, Fallback, GiveUp, RetryPolicy, Retry, decide, may_call, rung
from agents.prices import price_call, upper_bound
from agents.prompts import render
from agents.providers import ChatReply, ChatRequest, Provider
from agents.routes import route
from agents.structured import AnswerError, check_schema, parse_answer
from agents.usage import NO_USAGE, Usage, estimate_tokens, estimated_usage
from agents.work import Completed, Deferred, Failed, Outcome, Task
from schemas.attempt import ProviderAttempt
from schemas.outcome import FallbackStep
from schemas.vocabulary import (
    AttemptOutcome,
    AttemptStatus,
    DeadLetterReason,
    ErrorClass,
    FailureKind,
    LogEvent,
)

__all__ = ["Executor", "Journal"]

#: Beyond its time limit a call is given this long before it counts as orphaned.
ORPHAN_GRACE_S = 30


class Journal(Protocol):
    """Puts attempts on record outside the lane's transactions."""

    async def write(self, attempt: ProviderAttempt) -> None:
        """Write and wait until the broker has it."""
        ...

    def post(self, attempt: ProviderAttempt) -> None:
        """Write without waiting."""
        ...


#: Waits until a new paid call may start; raises LaneLostError when none may any more.
Guard = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class _Answer:
    """A finished call: the attempt as recorded, with the reply or the failure."""

    attempt: ProviderAttempt
    reply: ChatReply | None = None
    usage: Usage = NO_USAGE
    structured: object = None
    failure: Failure | None = None
    error: ExecutionError | None = None


class Executor:
    """Executes intents; one for each worker, shared by all lanes."""

    def __init__(  # noqa: PLR0913 - all keyword-only, one place builds it
        self,
        *,
        providers: Mapping[str, Provider],
        policy: RetryPolicy,
        prompts: Mapping[str, str],
        journal: Journal,
        clock: Clock,
        dice: Dice,
        worker: str,
        log: Log,
    ) -> None:
        """Keep the parts; nothing here changes from intent to intent."""
        self._providers = providers
        self._policy = policy
        self._prompts = prompts
        self._journal = journal
        self._clock = clock
        self._dice = dice
        self._worker = worker
        self._log = log

    async def execute(self, task: Task, guard: Guard) -> Outcome:
        """Bring one intent to its outcome; raises LaneLostError when the lane is gone."""
        intent = task.intent
        run = Execution(task, self._clock.now())
        problem = check_schema(intent.response_schema) if intent.response_schema else None
        if problem is not None:
            return self._refuse(run, DeadLetterReason.INVALID_INTENT, "response_schema", problem)
        providers = route(intent, configured=self._providers)
        if not providers:
            message = f"provider {intent.force_provider} is not configured"
            return self._refuse(
                run, DeadLetterReason.REJECTED, "provider_not_configured", message
            )
        early = self._too_early(run)
        if early is not None:
            return early
        self._log(LogEvent.WORKFLOW_STARTED, **run.log_fields(), type=intent.type)
        messages = render(intent, self._prompts)
        while True:
            refused = may_call(
                run.limits, now_ms=self._clock.now_ms(), spent_usd=run.spent
            )
            if refused is not None:
                return self._limit_reached(run, refused)
            answer = await self._call(run, self._providers[providers[run.position]], messages, guard)
            if answer.failure is None:
                return self._complete(run, answer)
            decision = decide(
                self._policy,
                run.situation(providers, self._clock.now_ms()),
                answer.failure,
                dice=self._dice.fraction(),
            )
            match decision:
                case Retry():
                    await self._journal.write(answer.attempt)
                    if decision.repair:
                        run.repairs += 1
                        messages = _with_complaint(messages, answer)
                    self._log(
                        LogEvent.RETRY_SCHEDULED,
                        **run.log_fields(),
                        provider=providers[run.position],
                        delay_ms=int(decision.delay_s * 1000),
                        reason=answer.failure.kind.value,
                    )
                    await self._wait(run, decision.delay_s)
                case Fallback():
                    await self._journal.write(answer.attempt)
                    self._fall_back(run, providers, decision, answer.failure)
                    messages = render(intent, self._prompts)
                case Defer():
                    return self._defer(run, decision, answer.attempt)
                case GiveUp():
                    return self._give_up(run, decision.reason, answer)
                case _:
                    assert_never(decision)

    async def _call(
        self, run: Execution, provider: Provider, messages: list[dict[str, Any]], guard: Guard
    ) -> _Answer:
        """Make one call, on record before and after it."""
        await guard()
        started = self._started(run, provider, messages)
        await self._journal.write(started)
        try:
            await guard()
        except LaneLostError:
            # Lost while the journal was written: on record as never sent, at no cost.
            self._journal.post(self._cancelled(started, 0, cost_upper_usd=Decimal(0)))
            raise
        run.begin_call()
        self._log(
            LogEvent(f"{provider.name}_execution_started"),
            **run.log_fields(),
            attempt_id=started.attempt_id,
            attempt=started.attempt,
        )
        request = ChatRequest(
            messages=messages,
            attempt_id=started.attempt_id,
            attempt=started.attempt,
            model=run.task.intent.model,
            max_output_tokens=run.task.intent.max_output_tokens,
            temperature=run.task.intent.temperature,
            response_schema=run.task.intent.response_schema,
            traceparent=run.task.traceparent,
            trace=run.task.intent.trace_context,
        )
        since = self._clock.monotonic()
        try:
            reply = await provider.complete(request)
        except ExecutionError as error:
            answer = self._finished_badly(started, error, self._since(since))
        except asyncio.CancelledError:
            self._journal.post(self._cancelled(started, self._since(since)))
            raise
        else:
            answer = self._finished_well(run, started, reply, messages, self._since(since))
        run.end_call(answer.attempt, answer.failure)
        self._log_end(run, provider, answer)
        return answer

    def _started(
        self, run: Execution, provider: Provider, messages: list[dict[str, Any]]
    ) -> ProviderAttempt:
        intent, now = run.task.intent, self._clock.now()
        model = intent.model or provider.model
        return ProviderAttempt(
            attempt_id=uuid7(self._clock.now_ms(), self._dice),
            execution_id=run.task.execution_id,
            intent_id=run.task.intent_id,
            status=AttemptStatus.STARTED,
            tenant=intent.tenant,
            type=intent.type,
            user_id=intent.user_id,
            priority=intent.priority.value,
            provider=provider.name,
            deployment=provider.deployment,
            requested_model=model,
            attempt=run.calls_here + 1,
            provider_sequence=run.position,
            replay_count=run.task.replay_count,
            cost_upper_usd=upper_bound(
                provider.name,
                (model, provider.model),
                prompt_tokens=estimate_tokens(_characters(messages)),
                max_output_tokens=intent.max_output_tokens,
                at=now,
            ),
            queue_ms=run.queue_ms if not run.calls else 0,
            backoff_ms=run.take_backoff_ms(),
            worker=self._worker,
            started_at=now,
            deadline_at=now + timedelta(seconds=provider.timeout_s + ORPHAN_GRACE_S),
        )

    def _finished_well(
        self,
        run: Execution,
        started: ProviderAttempt,
        reply: ChatReply,
        messages: list[dict[str, Any]],
        call_ms: int,
    ) -> _Answer:
        usage = reply.usage or estimated_usage(
            prompt_characters=_characters(messages), content_characters=len(reply.content)
        )
        price = price_call(
            started.provider,
            (started.requested_model, reply.served_model, started.deployment),
            usage,
            at=started.started_at,
        )
        attempt = started.model_copy(
            update={
                "status": AttemptStatus.FINISHED,
                "outcome": AttemptOutcome.SUCCESS,
                "http_status": reply.http_status,
                "served_model": reply.served_model,
                "finish_reason": reply.finish_reason,
                "uncached_input_tokens": usage.uncached_input,
                "cached_input_tokens": usage.cached_input,
                "visible_output_tokens": usage.visible_output,
                "reasoning_tokens": usage.reasoning,
                "usage_source": usage.source,
                "cost_usd": price.usd,
                "cost_upper_usd": price.usd,
                "price_id": price.price_id,
                "call_ms": call_ms,
                "provider_request_id": reply.request_id,
                "finished_at": self._clock.now(),
            }
        )
        failure, structured = self._inspect(run, reply)
        if failure is not None:
            attempt = attempt.model_copy(
                update={"outcome": failure.outcome, "error_code": failure.code}
            )
            return _Answer(attempt, reply, usage, None, failure)
        return _Answer(
            attempt.model_copy(update={"used_result": True}), reply, usage, structured
        )

    @staticmethod
    def _inspect(run: Execution, reply: ChatReply) -> tuple[Failure | None, object]:
        """Look whether a 200 holds what was asked for."""
        if reply.finish_reason == "content_filter":
            message = "the provider cut the answer off by its content filter"
            return Failure(FailureKind.CONTENT_FILTER, "content_filter", message, 200), None
        schema = run.task.intent.response_schema
        if schema is None:
            return None, None
        try:
            return None, parse_answer(reply.content, schema)
        except AnswerError as error:
            return Failure(FailureKind.BAD_OUTPUT, "schema_mismatch", str(error), 200), None

    def _finished_badly(
        self, started: ProviderAttempt, error: ExecutionError, call_ms: int
    ) -> _Answer:
        failure = error.failure
        # A call that may have been served although no answer was read keeps its upper bound.
        unknown_bill = failure.kind in {
            FailureKind.TIMEOUT,
            FailureKind.CONNECTION,
            FailureKind.BAD_OUTPUT,
        }
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
                "finished_at": self._clock.now(),
            }
        )
        return _Answer(attempt, failure=failure, error=error)

    def _cancelled(
        self, started: ProviderAttempt, call_ms: int, **bounds: Decimal
    ) -> ProviderAttempt:
        return started.model_copy(
            update={
                **bounds,
                "status": AttemptStatus.FINISHED,
                "outcome": AttemptOutcome.CANCELLED,
                "cost_usd": Decimal(0),
                "call_ms": call_ms,
                "finished_at": self._clock.now(),
            }
        )

    def _complete(self, run: Execution, answer: _Answer) -> Completed:
        reply, attempt = answer.reply, answer.attempt
        if reply is None:
            message = "a call without failure has a reply"
            raise AssertionError(message)
        result = run.result(
            attempt,
            reply,
            answer.usage,
            answer.structured,
            result_id=uuid7(self._clock.now_ms(), self._dice),
            now=self._clock.now(),
        )
        self._log(
            LogEvent.WORKFLOW_COMPLETED,
            **run.log_fields(),
            provider=result.provider,
            calls=run.calls,
            total_ms=result.timings.total_ms,
        )
        return Completed(result, attempt, tuple(run.fallbacks))

    def _fall_back(
        self, run: Execution, providers: tuple[str, ...], decision: Fallback, failure: Failure
    ) -> None:
        step = FallbackStep(
            from_=providers[run.position],
            to=providers[decision.position],
            reason=f"{providers[run.position]}_{failure.kind.value}",
            timestamp=self._clock.now(),
        )
        run.move_to(decision.position, step, failure.kind)
        self._log(
            LogEvent.FALLBACK_STARTED,
            **run.log_fields(),
            **{"from": step.from_, "to": step.to, "reason": step.reason},
        )

    def _defer(
        self, run: Execution, decision: Defer, attempt: ProviderAttempt | None
    ) -> Deferred:
        now_ms = self._clock.now_ms()
        state = run.deferral(
            due_at_ms=now_ms + int(decision.delay_s * 1000),
            not_before_ms=decision.not_before_ms,
            reason=decision.reason,
        )
        self._log(
            LogEvent.WORKFLOW_DEFERRED,
            **run.log_fields(),
            reason=decision.reason,
            delay_ms=int(decision.delay_s * 1000),
        )
        return Deferred(decision.topic_index, state, attempt)

    def _too_early(self, run: Execution) -> Deferred | None:
        """Put an intent back whose provider asked for more time than the longest topic holds."""
        deferral, now_ms = run.task.deferral, self._clock.now_ms()
        if deferral is None or deferral.not_before_ms <= now_ms:
            return None
        index, delay = rung(self._policy, (deferral.not_before_ms - now_ms) / 1000)
        state = deferral.model_copy(
            update={"due_at_ms": now_ms + int(delay * 1000), "hop": deferral.hop + 1}
        )
        return Deferred(index, state)

    def _give_up(self, run: Execution, reason: DeadLetterReason, answer: _Answer) -> Failed:
        failure = answer.failure
        if failure is None:
            message = "giving up follows a failure"
            raise AssertionError(message)
        self._log(
            LogEvent.WORKFLOW_FAILED,
            level="warning",
            **run.log_fields(),
            reason=reason.value,
            error_code=failure.code,
            calls=run.calls,
        )
        return Failed(
            reason=reason,
            error_class=failure.error_class,
            code=failure.code,
            message=failure.message,
            retriable=failure.retriable,
            suggested_action=failure.suggested_action,
            last_attempt=answer.attempt,
            attempts=tuple(run.summaries),
            fallbacks=tuple(run.fallbacks),
            spent_usd=run.known_spend(),
        )

    def _limit_reached(self, run: Execution, refused: GiveUp) -> Failed:
        late = refused.reason is DeadLetterReason.DEADLINE
        message = (
            "the intent's deadline_ms passed before a result was there"
            if late
            else "the intent's max_cost_usd was reached before a result was there"
        )
        return self._refuse(
            run,
            refused.reason,
            "deadline_passed" if late else "max_cost_reached",
            message,
            error_class=ErrorClass.TIMEOUT if late else ErrorClass.UNKNOWN,
            action="raise the limit in the intent and publish it anew",
        )

    def _refuse(  # noqa: PLR0913 - the parts of one dead letter
        self,
        run: Execution,
        reason: DeadLetterReason,
        code: str,
        message: str,
        *,
        error_class: ErrorClass = ErrorClass.VALIDATION,
        action: str = "correct the intent and publish it anew",
    ) -> Failed:
        """End an intent without (another) call."""
        self._log(
            LogEvent.WORKFLOW_FAILED,
            level="warning",
            **run.log_fields(),
            reason=reason.value,
            error_code=code,
        )
        return Failed(
            reason=reason,
            error_class=error_class,
            code=code,
            message=message,
            retriable=False,
            suggested_action=action,
            attempts=tuple(run.summaries),
            fallbacks=tuple(run.fallbacks),
            spent_usd=run.known_spend(),
        )

    async def _wait(self, run: Execution, seconds: float) -> None:
        since = self._clock.monotonic()
        await self._clock.sleep(seconds)
        run.add_backoff_ms(self._since(since))

    def _since(self, moment: float) -> int:
        return round((self._clock.monotonic() - moment) * 1000)

    def _log_end(self, run: Execution, provider: Provider, answer: _Answer) -> None:
        attempt = answer.attempt
        fields: dict[str, object] = {
            **run.log_fields(),
            "attempt_id": attempt.attempt_id,
            "attempt": attempt.attempt,
            "call_ms": attempt.call_ms,
            "http_status": attempt.http_status,
        }
        if answer.failure is None:
            self._log(LogEvent(f"{provider.name}_execution_completed"), **fields)
        else:
            self._log(
                LogEvent(f"{provider.name}_execution_error"),
                level="warning",
                **fields,
                error_class=answer.failure.error_class.value,
                error_code=answer.failure.code,
            )


def _characters(messages: list[dict[str, Any]]) -> int:
    """Count the characters of all message contents; parts that are not text as their JSON."""
    return sum(
        len(content) if isinstance(content, str) else len(json.dumps(content))
        for content in (message.get("content") or "" for message in messages)
    )


def _with_complaint(messages: list[dict[str, Any]], answer: _Answer) -> list[dict[str, Any]]:
    """Tell the model what was wrong with its answer (one repair try)."""
    if answer.reply is None or answer.failure is None:
        return messages
    return [
        *messages,
        {"role": "assistant", "content": answer.reply.content},
        {
            "role": "user",
            "content": f"{answer.failure.message}. Answer again, with valid JSON only.",
        },
    ]

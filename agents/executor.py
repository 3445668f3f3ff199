"""The execution of one intent: call, classify, decide, until there is an outcome.

The policy decides (`agents.policy`), this module does. Before each call a `started` attempt is
journalled; after it the `finished` one, except the last, which travels with the outcome in the
lane's transaction. Whatever happens, each call is on record.
"""

import asyncio
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Protocol, assert_never

from agents.attempts import Answer, Attempts
from agents.clock import Clock, Dice, uuid7
from agents.errors import ExecutionError, LaneLostError
from agents.execution import Execution
from agents.failures import Failure
from agents.log import Log
from agents.policy import Defer, Fallback, GiveUp, Retry, RetryPolicy, decide, may_call, rung
from agents.prompts import render
from agents.providers import ChatRequest, Provider
from agents.routes import route
from agents.structured import check_schema
from agents.work import Completed, Deferred, Failed, Outcome, Task
from schemas.attempt import ProviderAttempt
from schemas.outcome import FallbackStep
from schemas.vocabulary import DeadLetterReason, ErrorClass, LogEvent

__all__ = ["Executor", "Journal", "Permit"]


class Journal(Protocol):
    """Puts attempts on record outside the lane's transactions."""

    async def write(self, attempt: ProviderAttempt, traceparent: str | None) -> None:
        """Write and wait until the broker has it."""
        ...

    def post(self, attempt: ProviderAttempt, traceparent: str | None) -> None:
        """Write without waiting."""
        ...


class Permit(Protocol):
    """Whether paid calls may start; both raise LaneLostError when none may any more."""

    async def wait(self) -> None:
        """Wait until a new paid call may start."""
        ...

    async def confirm(self) -> None:
        """Ask once more, at the last moment before a call."""
        ...


class Executor:
    """Executes intents; one for each worker, shared by all lanes."""

    def __init__(
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
        self._attempts = Attempts(clock=clock, dice=dice, worker=worker)
        self._log = log

    async def execute(self, task: Task, permit: Permit) -> Outcome:
        """Bring one intent to its outcome; raises LaneLostError when the lane is gone."""
        intent = task.intent
        run = Execution(task, self._clock.now())
        problem = check_schema(intent.response_schema) if intent.response_schema else None
        if problem is not None:
            return self._refuse(run, DeadLetterReason.INVALID_INTENT, "response_schema", problem)
        providers = route(intent, configured=self._providers)
        if not providers:
            message = f"provider {intent.force_provider} is not configured"
            return self._refuse(run, DeadLetterReason.REJECTED, "provider_not_configured", message)
        early = self._too_early(run)
        if early is not None:
            return early
        self._say(LogEvent.WORKFLOW_STARTED, run, type=intent.type)
        messages = render(intent, self._prompts)
        while True:
            refused = may_call(run.limits, now_ms=self._clock.now_ms(), spent_usd=run.spent)
            if refused is not None:
                return self._limit_reached(run, refused)
            answer = await self._call(
                run, self._providers[providers[run.position]], messages, permit
            )
            if answer.failure is None:
                return self._complete(run, answer)
            decision = decide(
                self._policy,
                run.situation(providers, self._clock.now_ms()),
                answer.failure,
                dice=self._dice.fraction(),
            )
            match decision:
                case Retry(repair=repair):
                    await self._retry(run, providers, decision, answer)
                    messages = _with_complaint(messages, answer) if repair else messages
                case Fallback():
                    await self._journal.write(answer.attempt, run.task.traceparent)
                    self._fall_back(run, providers, decision, answer.failure)
                    messages = render(intent, self._prompts)
                case Defer():
                    return self._defer(run, decision, answer.attempt)
                case GiveUp():
                    return self._give_up(run, decision.reason, answer)
                case _:
                    assert_never(decision)

    async def _call(
        self, run: Execution, provider: Provider, messages: list[dict[str, Any]], permit: Permit
    ) -> Answer:
        """Make one call, on record before and after it."""
        await permit.wait()
        started = self._attempts.started(run, provider, messages)
        await self._journal.write(started, run.task.traceparent)
        try:
            await permit.confirm()
        except LaneLostError:
            # Lost while the journal was written: on record as never sent, at no cost.
            self._journal.post(
                self._attempts.cancelled(started, 0, cost_upper_usd=Decimal(0)),
                run.task.traceparent,
            )
            raise
        run.begin_call()
        self._say(
            LogEvent(f"{provider.name}_execution_started"),
            run,
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
            answer = self._attempts.failed(started, error.failure, self._since(since))
        except asyncio.CancelledError:
            self._journal.post(
                self._attempts.cancelled(started, self._since(since)), run.task.traceparent
            )
            raise
        else:
            answer = self._attempts.answered(run, started, reply, messages, self._since(since))
        run.end_call(answer.attempt, answer.failure)
        self._log_end(run, provider, answer)
        return answer

    def _complete(self, run: Execution, answer: Answer) -> Completed:
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
        self._say(
            LogEvent.WORKFLOW_COMPLETED,
            run,
            provider=result.provider,
            calls=run.calls,
            total_ms=result.timings.total_ms,
        )
        return Completed(result, attempt, tuple(run.fallbacks))

    async def _retry(
        self, run: Execution, providers: tuple[str, ...], decision: Retry, answer: Answer
    ) -> None:
        """Put the failed call on record, and wait as long as the policy says."""
        await self._journal.write(answer.attempt, run.task.traceparent)
        run.repairs += int(decision.repair)
        self._say(
            LogEvent.RETRY_SCHEDULED,
            run,
            provider=providers[run.position],
            delay_ms=int(decision.delay_s * 1000),
            reason=answer.attempt.outcome.value,
        )
        await self._wait(run, decision.delay_s)

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
        self._say(
            LogEvent.FALLBACK_STARTED,
            run,
            **{"from": step.from_, "to": step.to, "reason": step.reason},
        )

    def _defer(self, run: Execution, decision: Defer, attempt: ProviderAttempt | None) -> Deferred:
        now_ms = self._clock.now_ms()
        state = run.deferral(
            due_at_ms=now_ms + int(decision.delay_s * 1000),
            not_before_ms=decision.not_before_ms,
            reason=decision.reason,
        )
        self._say(
            LogEvent.WORKFLOW_DEFERRED,
            run,
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

    def _give_up(self, run: Execution, reason: DeadLetterReason, answer: Answer) -> Failed:
        failure = answer.failure
        if failure is None:
            message = "giving up follows a failure"
            raise AssertionError(message)
        self._say(
            LogEvent.WORKFLOW_FAILED,
            run,
            level="warning",
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

    def _refuse(
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
        self._say(
            LogEvent.WORKFLOW_FAILED,
            run,
            level="warning",
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

    def _say(
        self, event: LogEvent, run: Execution, *, level: str = "info", **fields: object
    ) -> None:
        """Log an event of this execution."""
        self._log(event, level=level, **run.log_fields(), **fields)

    def _since(self, moment: float) -> int:
        return round((self._clock.monotonic() - moment) * 1000)

    def _log_end(self, run: Execution, provider: Provider, answer: Answer) -> None:
        attempt = answer.attempt
        fields: dict[str, object] = {
            "attempt_id": attempt.attempt_id,
            "attempt": attempt.attempt,
            "call_ms": attempt.call_ms,
            "http_status": attempt.http_status,
        }
        name, level = "completed", "info"
        if answer.failure is not None:
            name, level = "error", "warning"
            fields["error_class"] = answer.failure.error_class.value
            fields["error_code"] = answer.failure.code
        self._say(LogEvent(f"{provider.name}_execution_{name}"), run, level=level, **fields)


def _with_complaint(messages: list[dict[str, Any]], answer: Answer) -> list[dict[str, Any]]:
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

"""The execution of one intent: choose, call, classify, decide, until there is an outcome.

The policy decides (`agents.deciding.policy`), this module does. A call that did not end the intent
goes on record at once; the last one travels with the outcome in the lane's transaction.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, assert_never

from agents.capacity.breaker import BreakerState
from agents.capacity.turns import Capacity
from agents.clock import Clock, Dice, uuid7
from agents.deciding.budgets import Spending
from agents.deciding.cache import AnswerCache, request_key, time_to_live_s
from agents.deciding.failures import Failure
from agents.deciding.hedging import HedgePolicy, Hedger
from agents.deciding.policy import (
    Defer,
    Fallback,
    GiveUp,
    Go,
    Retry,
    RetryPolicy,
    Situation,
    Wait,
    choose,
    decide,
    rung,
)
from agents.deciding.routes import Router
from agents.deciding.structured import check_schema, parse_answer
from agents.executing.account import Execution
from agents.executing.attempts import Answer, Attempts, characters, prompt_bytes
from agents.executing.calls import Call, Caller
from agents.executing.endings import given_up, limit_reached, refused
from agents.executing.ports import Journal, Permit
from agents.executing.prompts import render
from agents.executing.results import cached_result
from agents.executing.results import deferral as deferral_of
from agents.executing.results import result as result_of
from agents.executing.single_flight import SingleFlight
from agents.log import Log
from agents.pricing.prices import DEFAULT_OUTPUT_TOKENS, PriceBook
from agents.pricing.usage import estimate_tokens
from agents.providers.adapters import Provider
from agents.task import Completed, Deferred, Failed, Outcome, Task
from schemas.attempt import ProviderAttempt
from schemas.events import CachedAnswer
from schemas.outcome import FallbackStep
from schemas.vocabulary import DeadLetterReason, ErrorClass, LogEvent, Priority

__all__ = ["Executor"]

#: Priorities whose calls have a place of their own at a provider.
URGENT = frozenset({Priority.HIGH, Priority.CRITICAL})


class Executor:
    """Executes intents; one for each worker, shared by all lanes."""

    def __init__(
        self,
        *,
        providers: Mapping[str, Provider],
        router: Router,
        capacity: Capacity,
        policy: RetryPolicy,
        hedging: HedgePolicy,
        spending: Spending,
        cache: AnswerCache,
        cache_ttl_s: float,
        prices: PriceBook,
        prompts: Mapping[str, str],
        journal: Journal,
        clock: Clock,
        dice: Dice,
        worker: str,
        log: Log,
    ) -> None:
        """Keep the parts; nothing here changes from intent to intent."""
        self._providers = providers
        self._router = router
        self._capacity = capacity
        self._policy = policy
        self._hedging = hedging
        self._spending = spending
        self._cache = cache
        self._cache_ttl_s = cache_ttl_s
        self._prices = prices
        self._flights = SingleFlight()
        self._prompts = prompts
        self._journal = journal
        self._clock = clock
        self._dice = dice
        self._log = log
        self._caller = Caller(
            capacity=capacity,
            attempts=Attempts(
                clock=clock,
                dice=dice,
                worker=worker,
                kinds={name: provider.kind for name, provider in providers.items()},
                prices=prices,
            ),
            prices=prices,
            hedger=Hedger(hedging, providers),
            journal=journal,
            clock=clock,
            log=log,
        )

    async def execute(self, task: Task, permit: Permit) -> Outcome:
        """Bring one intent to its outcome; raises LaneLostError when the lane is gone."""
        run = Execution(task, self._clock.now())
        providers = self._router.route(task.intent)
        outcome = self._without_call(run, providers)
        if outcome is None:
            self._say(LogEvent.WORKFLOW_STARTED, run, type=task.intent.type)
            outcome = await self._answer(run, providers, permit)
        outcome = replace(outcome, paid_usd=run.paid)
        if isinstance(outcome, Failed):
            self._say(
                LogEvent.WORKFLOW_FAILED,
                run,
                level="warning",
                reason=outcome.reason.value,
                error_code=outcome.code,
                calls=run.calls,
            )
        return outcome

    def _without_call(self, run: Execution, providers: tuple[str, ...]) -> Outcome | None:
        """End what needs no provider to be ended."""
        intent = run.task.intent
        problem = check_schema(intent.response_schema) if intent.response_schema else None
        if problem is not None:
            return refused(run, DeadLetterReason.INVALID_INTENT, "response_schema", problem)
        if not providers:
            message = f"provider {intent.force_provider} is not configured"
            return refused(run, DeadLetterReason.REJECTED, "provider_not_configured", message)
        return self._over_budget(run) or self._too_early(run)

    def _over_budget(self, run: Execution) -> Failed | Deferred | None:
        """Put aside, or end, what its tenant may not pay for now."""
        over = self._spending.over(run.task.intent.tenant, self._clock.now())
        if over is None:
            return None
        if over.budget.then == "dead_letter":
            message = f"the tenant's budget of {over.budget.usd} USD a {over.budget.per} is spent"
            return refused(
                run,
                DeadLetterReason.BUDGET,
                "tenant_budget_spent",
                message,
                error_class=ErrorClass.UNKNOWN,
                action="raise the tenant's budget, or replay in the next period",
            )
        index, delay = rung(self._policy, over.resets_in_s)
        # Looked at again at each hop: a budget may be raised meanwhile.
        not_before_ms = self._clock.now_ms() + int(min(delay, over.resets_in_s) * 1000)
        deadline = run.limits.deadline_at_ms
        if deadline is not None and not_before_ms >= deadline:
            return limit_reached(run, GiveUp(DeadLetterReason.DEADLINE))
        return self._defer(run, Defer(index, delay, not_before_ms, "budget", counted=False), None)

    async def _answer(
        self, run: Execution, providers: tuple[str, ...], permit: Permit
    ) -> Completed | Failed | Deferred:
        """Call, unless the same request has been answered, or is being answered, already."""
        ttl_s = time_to_live_s(run.task.intent, self._cache_ttl_s)
        if ttl_s is None:
            return await self._pursue(run, providers, permit)
        model = run.task.intent.model or self._providers[providers[0]].model
        key = request_key(run.task.intent, model, render(run.task.intent, self._prompts))
        async with self._flights.turn(key):
            hit = self._cache.get(key, now_ms=self._clock.now_ms(), ttl_s=ttl_s)
            if hit is not None:
                return self._complete_cached(run, hit)
            outcome = await self._pursue(run, providers, permit)
            if not isinstance(outcome, Completed):
                return outcome
            answer = CachedAnswer(
                provider=outcome.result.provider,
                served_model=outcome.result.model,
                content=outcome.result.content,
                finish_reason=outcome.result.finish_reason or "",
                stored_at_ms=self._clock.now_ms(),
            )
            if answer.finish_reason != "stop" or not answer.content:
                return outcome  # cut off, or empty: nothing to give to others
            self._cache.put(key, answer)
            return replace(outcome, cached=(key, answer))

    def _complete_cached(self, run: Execution, answer: CachedAnswer) -> Completed:
        schema = run.task.intent.response_schema
        result = cached_result(
            run,
            answer,
            parse_answer(answer.content, schema) if schema is not None else None,
            result_id=uuid7(self._clock.now_ms(), self._dice),
            now=self._clock.now(),
        )
        self._say(LogEvent.CACHE_HIT, run, provider=answer.provider)
        return Completed(result, None)

    async def _pursue(
        self, run: Execution, providers: tuple[str, ...], permit: Permit
    ) -> Completed | Failed | Deferred:
        """Call until there is an outcome."""
        messages = render(run.task.intent, self._prompts)
        while True:
            before = run.position
            ended = await self._reach_turn(run, providers)
            if ended is not None:
                return ended
            if run.position != before:
                messages = render(run.task.intent, self._prompts)
            call = self._plan(run, self._providers[providers[run.position]], messages)
            if call is None:
                return limit_reached(run, GiveUp(DeadLetterReason.BUDGET))
            rival = self._rival(run, providers, messages)
            answer = await self._caller.call(run, call, permit, rival=rival)
            if answer.failure is None:
                return self._complete(run, answer)
            situation = self._situation(run, providers)
            decision = decide(self._policy, situation, answer.failure, dice=self._dice.fraction())
            match decision:
                case Retry(repair=repair):
                    await self._retry(run, providers, decision, answer)
                    messages = _with_complaint(messages, answer) if repair else messages
                case Fallback():
                    await self._journal.write(answer.attempt, run.task.traceparent)
                    self._fall_back(run, providers, decision, answer.failure)
                    messages = render(run.task.intent, self._prompts)
                case Defer():
                    return self._defer(run, decision, answer.attempt)
                case GiveUp():
                    return given_up(run, decision.reason, answer.failure, answer.attempt)
                case _:
                    assert_never(decision)

    async def _reach_turn(
        self, run: Execution, providers: tuple[str, ...]
    ) -> Deferred | Failed | None:
        """Wait for a provider's turn, or turn to another; None when the call may start now."""
        while True:
            step = choose(self._policy, self._situation(run, providers))
            match step:
                case Go():
                    return None
                case Wait(delay_s=delay):
                    await self._wait_for_turn(run, delay)
                case Fallback():
                    self._fall_back(run, providers, step, None)
                case Defer():
                    return self._defer(run, step, None)
                case GiveUp():
                    return limit_reached(run, step)
                case _:
                    assert_never(step)

    def _rival(
        self, run: Execution, providers: tuple[str, ...], messages: list[dict[str, Any]]
    ) -> Call | None:
        """Plan the call that may run beside this one, where the intent is hedged."""
        position = run.position + 1
        if position >= len(providers) or not self._hedging.wants(run.task.intent):
            return None
        call = self._plan(run, self._providers[providers[position]], messages)
        return None if call is None else replace(call, hedge_at=position)

    def _situation(self, run: Execution, providers: tuple[str, ...]) -> Situation:
        urgent = run.task.intent.priority in URGENT
        return run.situation(
            providers,
            self._clock.now_ms(),
            waits_s=tuple(self._capacity.wait_s(name, urgent=urgent) for name in providers),
            out=tuple(self._capacity.state(name) is not BreakerState.CLOSED for name in providers),
        )

    def _plan(
        self, run: Execution, provider: Provider, messages: list[dict[str, Any]]
    ) -> Call | None:
        """Bound a call by the money that is left; None when nothing is left for it."""
        intent = run.task.intent
        prompt_tokens = estimate_tokens(characters(messages))
        most_tokens = prompt_bytes(messages)
        max_output = intent.max_output_tokens
        if intent.max_cost_usd is not None:
            affordable = self._prices.affordable_output(
                (provider.name, provider.kind),
                (intent.model or provider.model, provider.model),
                prompt_tokens=most_tokens,  # the limit holds whatever the tokenizer says
                budget_usd=intent.max_cost_usd - run.exposure,
                at=self._clock.now(),
            )
            if affordable == 0:
                return None
            if affordable is not None and affordable < (max_output or DEFAULT_OUTPUT_TOKENS):
                max_output = affordable
        return Call(provider, messages, prompt_tokens, max_output, most_tokens)

    # ── what follows ────────────────────────────────────────────────────────────────────────

    def _complete(self, run: Execution, answer: Answer) -> Completed:
        reply, attempt = answer.reply, answer.attempt
        if reply is None:
            message = "a call without failure has a reply"
            raise AssertionError(message)
        result = result_of(
            run,
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
        since = self._clock.monotonic()
        await self._clock.sleep(decision.delay_s)
        run.add_backoff_ms(self._since(since))

    async def _wait_for_turn(self, run: Execution, delay_s: float) -> None:
        since = self._clock.monotonic()
        await self._clock.sleep(delay_s)
        run.add_limiter_s(self._clock.monotonic() - since)

    def _fall_back(
        self,
        run: Execution,
        providers: tuple[str, ...],
        decision: Fallback,
        failure: Failure | None,
    ) -> None:
        step = FallbackStep(
            from_=providers[run.position],
            to=providers[decision.position],
            reason=f"{providers[run.position]}_{decision.reason}",
            timestamp=self._clock.now(),
        )
        run.move_to(decision.position, step, failure.kind if failure else None)
        self._say(
            LogEvent.FALLBACK_STARTED,
            run,
            **{"from": step.from_, "to": step.to, "reason": step.reason},
        )

    def _defer(self, run: Execution, decision: Defer, attempt: ProviderAttempt | None) -> Deferred:
        state = deferral_of(
            run,
            due_at_ms=self._clock.now_ms() + int(decision.delay_s * 1000),
            not_before_ms=decision.not_before_ms,
            reason=decision.reason,
            counted=decision.counted,
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

    def _say(
        self, event: LogEvent, run: Execution, *, level: str = "info", **fields: object
    ) -> None:
        """Log an event of this execution."""
        self._log(event, level=level, **run.log_fields(), **fields)

    def _since(self, moment: float) -> int:
        return round((self._clock.monotonic() - moment) * 1000)


def _with_complaint(messages: list[dict[str, Any]], answer: Answer) -> list[dict[str, Any]]:
    """Tell the model what was wrong with its answer (one repair try)."""
    if answer.reply is None or answer.failure is None or not answer.reply.content:
        return messages
    return [
        *messages,
        {"role": "assistant", "content": answer.reply.content},
        {
            "role": "user",
            "content": f"{answer.failure.message}. Answer again, with valid JSON only.",
        },
    ]

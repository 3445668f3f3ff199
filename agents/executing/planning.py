"""Planning of calls: what is sent to whom, and how long an answer the intent's money allows."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from agents.clock import Clock
from agents.deciding.hedging import HedgePolicy
from agents.executing.account import Execution
from agents.executing.attempts import Answer, characters
from agents.executing.calls import Call
from agents.executing.prompts import render
from agents.pricing.limits import most_output, prompt_of
from agents.pricing.prices import PriceBook
from agents.pricing.rates import Prompt
from agents.pricing.usage import estimate_tokens
from agents.providers.adapters import Provider
from schemas.intent import WorkflowIntent

__all__ = ["Planner", "with_complaint"]

#: Output tokens that every chat model takes as a limit.
DEFAULT_OUTPUT_TOKENS = 4096


class Planner:
    """Plans the calls of one worker."""

    def __init__(
        self,
        *,
        providers: Mapping[str, Provider],
        prices: PriceBook,
        prompts: Mapping[str, str],
        hedging: HedgePolicy,
        clock: Clock,
    ) -> None:
        """Keep providers, prices, and the instructions by type of intent (`prompts`)."""
        self._providers = providers
        self._prices = prices
        self._prompts = prompts
        self._hedging = hedging
        self._clock = clock

    def messages(self, intent: WorkflowIntent) -> list[dict[str, Any]]:
        """Give the chat of an intent as it is first sent."""
        return render(intent, self._prompts)

    def model(self, intent: WorkflowIntent, provider: str) -> str:
        """Name the model that an intent asks a provider for."""
        return intent.model or self._providers[provider].model

    def payable(self, intent: WorkflowIntent, providers: tuple[str, ...]) -> tuple[str, ...]:
        """Leave out whose price nobody knows, where the intent limits what it may cost."""
        if intent.max_cost_usd is None:
            return providers
        return tuple(name for name in providers if self._is_priced(intent, name))

    def _is_priced(self, intent: WorkflowIntent, provider_name: str) -> bool:
        provider, at = self._providers[provider_name], self._clock.now()
        return self._prices.worst(*_sold(intent, provider), Prompt(), at=at) is not None

    def rival(
        self,
        run: Execution,
        providers: tuple[str, ...],
        messages: list[dict[str, Any]],
        *,
        beside: Call,
    ) -> Call | None:
        """Plan the call that may run beside this one, where the intent is hedged.

        Both are paid from the same money: where the rest of it would cut the rival's answer short,
        that answer could win, so there is no rival.
        """
        position = run.position + 1
        if position >= len(providers) or not self._hedging.wants(run.task.intent):
            return None
        call = self.plan(run, providers[position], messages, beside=beside)
        return None if call is None or call.cut else replace(call, hedge_at=position)

    def plan(
        self,
        run: Execution,
        provider_name: str,
        messages: list[dict[str, Any]],
        *,
        beside: Call | None = None,
    ) -> Call | None:
        """Bound a call by the money that is left; None when nothing is left for it."""
        intent, provider = run.task.intent, self._providers[provider_name]
        sold = _sold(intent, provider)
        window = self._prices.window(*sold)
        prompt = prompt_of(messages, models=sold[1], schema=intent.response_schema, window=window)
        rates = self._prices.worst(*sold, prompt, at=self._clock.now())
        limit, known = most_output(sold[1], window=window)
        cap, most, cut = (
            intent.max_output_tokens,
            min(intent.max_output_tokens or limit, limit),
            False,
        )
        if intent.max_cost_usd is not None:
            left = intent.max_cost_usd - run.exposure - ((beside and beside.bound_usd) or 0)
            affordable = None if rates is None else rates.affordable_output(prompt, left)
            if rates is None or affordable == 0:
                return None
            if affordable is not None:
                longest = _longest(intent, limit if known else None, window)
                cap = most = min(affordable, longest)
                cut = affordable < longest
        return Call(
            provider,
            messages,
            estimate_tokens(characters(messages)),
            cap,
            bound_usd=None if rates is None else rates.at_most(prompt, most),
            cut=cut,
        )


def _sold(intent: WorkflowIntent, provider: Provider) -> tuple[tuple[str, str], tuple[str, ...]]:
    """Give who sells a call, and the names of the model, as prices are looked up.

    The provider's own model is no name of the one that an intent asks for.
    """
    return (provider.name, provider.kind), (intent.model or provider.model,)


def _longest(intent: WorkflowIntent, limit: int | None, window: int | None) -> int:
    """Give how long an answer may be that is paid from limited money.

    What the model does not take would be refused: without a limit that is known, few tokens; and
    at most half of the model's window, which must hold the prompt too.
    """
    asked = intent.max_output_tokens
    if limit is None:
        return asked or DEFAULT_OUTPUT_TOKENS
    return min(asked or limit, limit, window // 2 if window else limit)


def with_complaint(messages: list[dict[str, Any]], answer: Answer) -> list[dict[str, Any]]:
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

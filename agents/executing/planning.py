"""Planning of calls: what is sent to whom, and how long an answer the intent's money allows."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from agents.clock import Clock
from agents.deciding.hedging import HedgePolicy
from agents.executing.account import Execution
from agents.executing.attempts import Answer, characters, prompt_bytes
from agents.executing.calls import Call
from agents.executing.prompts import render
from agents.pricing.prices import DEFAULT_OUTPUT_TOKENS, PriceBook
from agents.pricing.usage import estimate_tokens
from agents.providers.adapters import Provider
from schemas.intent import WorkflowIntent

__all__ = ["Planner", "with_complaint"]


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

    def rival(
        self, run: Execution, providers: tuple[str, ...], messages: list[dict[str, Any]]
    ) -> Call | None:
        """Plan the call that may run beside this one, where the intent is hedged."""
        position = run.position + 1
        if position >= len(providers) or not self._hedging.wants(run.task.intent):
            return None
        call = self.plan(run, providers[position], messages)
        return None if call is None else replace(call, hedge_at=position)

    def plan(
        self, run: Execution, provider_name: str, messages: list[dict[str, Any]]
    ) -> Call | None:
        """Bound a call by the money that is left; None when nothing is left for it."""
        intent, provider = run.task.intent, self._providers[provider_name]
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

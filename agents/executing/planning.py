"""Planning of calls: what is sent to whom, and how long an answer the intent's money allows."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from agents.clock import Clock
from agents.deciding.budgets import Spending
from agents.deciding.groups import Groups
from agents.deciding.hedging import HedgePolicy
from agents.executing.account import Execution
from agents.executing.allowance import (
    Length,
    Short,
    length_of,
    within_budget,
    within_limit,
)
from agents.executing.asking import Call
from agents.executing.attempts import Answer, characters
from agents.executing.prompts import render
from agents.pricing.limits import prompt_of
from agents.pricing.prices import PriceBook
from agents.pricing.rates import Prompt, Rates
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
        spending: Spending,
        prompts: Mapping[str, str],
        hedging: HedgePolicy,
        groups: Groups,
        clock: Clock,
    ) -> None:
        """Keep providers, prices, and the instructions by type of intent (`prompts`)."""
        self._providers = providers
        self._prices = prices
        self._spending = spending
        self._prompts = prompts
        self._hedging = hedging
        self._groups = groups
        self._clock = clock

    def messages(self, intent: WorkflowIntent) -> list[dict[str, Any]]:
        """Give the chat of an intent as it is first sent."""
        return render(intent, self._prompts)

    def model(self, intent: WorkflowIntent, provider: str) -> str:
        """Name the model that an intent asks a provider for."""
        if intent.model is None:
            return _own_model(intent, self._providers[provider])
        return self._groups.name_at(intent.model, provider)

    def asked_for(self, intent: WorkflowIntent, providers: tuple[str, ...]) -> str:
        """Name the model of an intent for those that want the same; `providers` are its route."""
        if intent.model is None:
            return _own_model(intent, self._providers[providers[0]])
        return self._groups.words(intent.model, providers)

    def payable(self, intent: WorkflowIntent, providers: tuple[str, ...]) -> tuple[str, ...]:
        """Leave out whose price nobody knows, where the intent limits what it may cost."""
        if intent.max_cost_usd is None:
            return providers
        return tuple(name for name in providers if self._is_priced(intent, name))

    def _is_priced(self, intent: WorkflowIntent, provider_name: str) -> bool:
        provider, at = self._providers[provider_name], self._clock.now()
        return self._prices.worst(*self._sold(intent, provider), Prompt(), at=at) is not None

    def most(self, intent: WorkflowIntent, providers: tuple[str, ...]) -> Decimal | None:
        """Bound what one call for an intent may have cost, at any of its providers.

        None = nobody knows, of one of them.
        """
        messages, now, bounds = self.messages(intent), self._clock.now(), []
        for name in providers:
            prompt, rates, whole = self._terms(intent, self._providers[name], messages, at=now)
            if rates is None:
                return None
            bounds.append(rates.at_most(prompt, whole.most))
        return max(bounds)

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
        if isinstance(call, Short) or call.cut:
            self._hold(run, beside.bound_usd)
            return None
        return replace(call, hedge_at=position)

    def plan(
        self,
        run: Execution,
        provider_name: str,
        messages: list[dict[str, Any]],
        *,
        beside: Call | None = None,
    ) -> Call | Short:
        """Bound a call by the money that is left: the intent's own, and its tenant's.

        The tenant's is held back until the execution ends. `beside` is paid from the same money.
        """
        intent, provider = run.task.intent, self._providers[provider_name]
        now = self._clock.now()
        prompt, rates, whole = self._terms(intent, provider, messages, at=now)
        length: Length | Short = whole
        also = (beside and beside.bound_usd) or Decimal(0)
        if intent.max_cost_usd is not None:
            left = intent.max_cost_usd - run.exposure - also
            length = within_limit(whole, left, rates, prompt)
        room = self._spending.room(intent.tenant, now, execution=run.task.execution_id)
        if room is not None and isinstance(length, Length):
            length = within_budget(length, room, run.at_stake + also, rates, prompt)
        if isinstance(length, Short):
            if length.over is not None and not length.soon and beside is None:
                self._spending.stopped(intent.tenant, length.over, now)
            return length
        bound_usd = None if rates is None else rates.at_most(prompt, length.most)
        self._hold(run, also + (bound_usd or 0))
        return Call(
            provider,
            self.model(intent, provider_name),
            messages,
            estimate_tokens(characters(messages)),
            length.cap,
            bound_usd=bound_usd,
            cut=length.cut,
            own_model=intent.model is not None and intent.model not in self._groups,
            embeds=intent.task == "embedding",
        )

    def _terms(
        self,
        intent: WorkflowIntent,
        provider: Provider,
        messages: list[dict[str, Any]],
        *,
        at: datetime,
    ) -> tuple[Prompt, Rates | None, Length]:
        """Give how large a call's prompt is at most, at which rates, and how long its answer.

        No rates = no price is known.
        """
        sold = self._sold(intent, provider)
        window = self._prices.window(*sold)
        prompt = prompt_of(messages, models=sold[1], schema=_beside(intent), window=window)
        rates = self._prices.worst(*sold, prompt, at=at)
        if rates is not None and intent.task == "embedding":
            rates = rates.asked_only()
        limit, known = self._prices.longest(*sold)
        return prompt, rates, length_of(intent, limit, known=known, window=window)

    def names(self, intent: WorkflowIntent, provider: str) -> tuple[str, ...]:
        """Give the names of the model that an intent asks a provider for, best first."""
        return self._sold(intent, self._providers[provider])[1]

    def _sold(
        self, intent: WorkflowIntent, provider: Provider
    ) -> tuple[tuple[str, str], tuple[str, ...]]:
        """Give who sells a call, and the names of its model, as prices are looked up.

        The provider's own model is no name of the one that an intent asks for.
        """
        who = (provider.name, provider.kind)
        return who, self._prices.seller(who).names(self.model(intent, provider.name))

    def _hold(self, run: Execution, usd: Decimal | None) -> None:
        """Hold back what the calls of an execution cost, those that are about to be made too."""
        tenant = run.task.intent.tenant
        self._spending.hold(run.task.execution_id, tenant, run.at_stake + (usd or 0))


def _own_model(intent: WorkflowIntent, provider: Provider) -> str:
    """Name what is called where the intent names no model."""
    return provider.embedding_model if intent.task == "embedding" else provider.model


def _beside(intent: WorkflowIntent) -> dict[str, Any] | None:
    """Give what is told to the model beside the chat, and charged: a schema, tools."""
    schema = intent.response_schema
    return {"schema": schema, **intent.parameters} if intent.parameters else schema


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

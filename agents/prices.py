"""What tokens cost: the contract's two prices, then genai-prices; Decimal only."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from genai_prices import Usage as PricedUsage
from genai_prices import calc_price

from agents.usage import Usage

__all__ = ["FLAT_PRICES", "Price", "affordable_output", "price_call", "upper_bound"]

#: (provider, model) → dollars per 1,000 tokens, input and output alike (contract §5).
FLAT_PRICES = {
    ("openai", "gpt-3.5-turbo"): Decimal("0.002"),
    ("azure", "gpt-4-turbo"): Decimal("0.01"),
}

#: Scale of the ClickHouse column: a cost is rounded once, here.
QUANTUM = Decimal("0.000000000001")

#: Output tokens assumed for an upper bound when neither intent nor model says how many.
DEFAULT_OUTPUT_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class Price:
    """A cost and the price it was made with; `usd` None when the price is not known."""

    usd: Decimal | None
    price_id: str


def price_call(
    provider: str,
    models: tuple[str, ...],
    usage: Usage,
    *,
    at: datetime,
    share: Decimal = Decimal(1),
) -> Price:
    """Price a call; `models` holds the served, requested and deployed names, best first.

    `share` is what the call's service tier costs of the standard price.
    """
    price = _standard_price(provider, models, usage, at=at)
    if share == 1 or price.usd is None:
        return price
    return Price((price.usd * share).quantize(QUANTUM), f"{price.price_id}*{share}")


def _standard_price(provider: str, models: tuple[str, ...], usage: Usage, *, at: datetime) -> Price:
    for model in models:
        flat = FLAT_PRICES.get((provider, model))
        if flat is not None:
            return Price(
                (usage.total * flat / 1000).quantize(QUANTUM), f"contract:{provider}:{model}"
            )
    for model in models:
        if not model:
            continue
        try:
            calculated = calc_price(
                PricedUsage(
                    input_tokens=usage.input,
                    cache_read_tokens=usage.cached_input,
                    output_tokens=usage.output,
                ),
                model_ref=model,
                provider_id=provider,
                genai_request_timestamp=at,
            )
        except LookupError:
            continue
        return Price(
            calculated.total_price.quantize(QUANTUM),
            f"genai-prices:{calculated.provider.id}:{calculated.model.id}",
        )
    return Price(None, "")


def upper_bound(
    provider: str,
    models: tuple[str, ...],
    *,
    prompt_tokens: int,
    max_output_tokens: int | None,
    at: datetime,
) -> Decimal | None:
    """Bound what a call of which nothing was heard may have cost, in dollars."""
    usage = Usage(
        uncached_input=prompt_tokens,
        visible_output=max_output_tokens or DEFAULT_OUTPUT_TOKENS,
    )
    return price_call(provider, models, usage, at=at).usd


def affordable_output(
    provider: str, models: tuple[str, ...], *, prompt_tokens: int, budget_usd: Decimal, at: datetime
) -> int | None:
    """Give how many output tokens a budget pays for after the prompt; None = no known price."""
    probe = 1_000
    prompt, more = (
        price_call(
            provider, models, Usage(uncached_input=prompt_tokens, visible_output=output), at=at
        ).usd
        for output in (0, probe)
    )
    if prompt is None or more is None:
        return None
    if more <= prompt:
        return DEFAULT_OUTPUT_TOKENS  # output costs nothing
    return max(0, int((budget_usd - prompt) * probe / (more - prompt)))

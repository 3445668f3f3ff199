"""Prices that everybody can read: the contract's two, then genai-prices."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelInfo, ModelPrice, Provider, TieredPrices

from agents.pricing.rates import Rates

__all__ = ["FLAT_PRICES", "public_rates", "window_of"]

#: (kind of provider, model) → dollars per 1,000 tokens, input and output alike (contract §5).
FLAT_PRICES = {
    ("openai", "gpt-3.5-turbo"): Decimal("0.002"),
    ("azure", "gpt-4-turbo"): Decimal("0.01"),
}
FREE = Decimal(0)


def public_rates(
    kind: str, models: Sequence[str], *, at: datetime, prompt_tokens: int, most: bool = False
) -> Rates | None:
    """Give the rates for a prompt so long, or for any up to it; None = no price is known."""
    for model in models:
        flat = FLAT_PRICES.get((kind, model))
        if flat is not None:
            per = flat * 1000
            return Rates(f"contract:{kind}:{model}", per, per, per, per, per, per)
    found = _find(kind, models)
    if found is None:
        return None
    provider, model_info = found
    name = f"genai-prices:{provider.id}:{model_info.id}"
    return _read(model_info.get_prices(at), name, prompt_tokens, most=most)


def window_of(kind: str, models: Sequence[str]) -> int | None:
    """Give how many tokens a model's context holds; None where nobody says."""
    found = _find(kind, models)
    return None if found is None else found[1].context_window


def _find(kind: str, models: Sequence[str]) -> tuple[Provider, ModelInfo] | None:
    """Find the first of several names of a model that is known."""
    for model in filter(None, models):
        try:
            return get_snapshot().find_provider_model(model, None, kind, None)
        except LookupError:
            continue
    return None


def _read(prices: ModelPrice, name: str, prompt_tokens: int, *, most: bool) -> Rates | None:
    """Read the rates that are ours; None for a model that is not sold by the token."""

    def rate(key: str, otherwise: Decimal) -> Decimal:
        price: Decimal | TieredPrices | None = getattr(prices, key)
        if price is None:
            return otherwise
        if isinstance(price, Decimal):
            return price
        steps = [tier.price for tier in price.tiers if prompt_tokens > tier.start]
        return max([price.base, *steps]) if most else [price.base, *steps][-1]

    if prices.input_mtok is None and prices.output_mtok is None:
        return None
    per_input, per_output = rate("input_mtok", FREE), rate("output_mtok", FREE)
    return Rates(
        name,
        input=per_input,
        cached=rate("cache_read_mtok", per_input),
        output=per_output,
        reasoning=rate("output_reasoning_mtok", per_output),
        cache_write=rate("cache_write_mtok", per_input),
        audio_input=rate("input_audio_mtok", per_input),
    )

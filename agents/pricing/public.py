"""Prices that everybody can read: the contract's two, then genai-prices."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from importlib.metadata import version

from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelInfo, ModelPrice, Provider, TieredPrices

from agents.pricing.rates import Rates

__all__ = ["Moment", "flat_rates", "public_rates", "vendor_at", "window_of"]

#: (kind of provider, model) → dollars per 1,000 tokens, input and output alike (contract §5).
FLAT_PRICES = {
    ("openai", "gpt-3.5-turbo"): Decimal("0.002"),
    ("azure", "gpt-4-turbo"): Decimal("0.01"),
}
#: What the list is called in the ids of prices.
LIST = f"genai-prices@{version('genai-prices')}"
NOTHING = Decimal(0)
THOUSAND = 1_000


@dataclass(frozen=True, slots=True)
class Moment:
    """What a price depends on beside the model: when, and how long the prompt is."""

    at: datetime
    prompt_tokens: int = 0
    #: For a bound: the dearest price for any prompt up to that length.
    most: bool = False


def vendor_at(url: str) -> str | None:
    """Name the vendor whose API is at an address; None for one that is nobody's we know."""
    try:
        return get_snapshot().find_provider(None, None, url).id
    except LookupError:
        return None


def flat_rates(kind: str, models: Sequence[str]) -> Rates | None:
    """Give the contract's flat price, where the model is one of its two.

    The best name of the model decides whether it is: a deployment may have the name of one and
    serve another.
    """
    best = next(filter(None, models), "")
    for model in models:
        flat = FLAT_PRICES.get((kind, model))
        if flat is not None and (best == model or best.startswith(f"{model}-")):
            per = flat * THOUSAND
            return Rates(f"contract:{kind}:{model}", per, per, per, per, per, per, per)
    return None


def public_rates(
    vendor: str, models: Sequence[str], moment: Moment, *, tier: str = "standard"
) -> Rates | None:
    """Give what genai-prices says of a model and tier; None = it says nothing."""
    found = _find(vendor, models)
    if found is None:
        return None
    provider, info = found
    name = f"{LIST}:{provider.id}:{info.id}"
    if tier == "standard":
        return _read(info.get_prices(moment.at), name, moment)
    context = {"processing": "batch"} if tier == "batch" else {"service_tier": tier}
    priced = any(
        variant.when == context
        and (variant.constraint is None or variant.constraint.active(moment.at))
        for variant in info.price_variants or ()
    )
    # A vendor that sells another's models has tiers of its own.
    if not priced or not any(info is one for one in provider.models):
        return None
    return _read(info.get_prices(moment.at, context), f"{name}#{tier}", moment)


def window_of(vendor: str, models: Sequence[str]) -> int | None:
    """Give how many tokens a model's context holds; None where nobody says."""
    found = _find(vendor, models)
    return None if found is None else found[1].context_window


def _find(vendor: str, models: Sequence[str]) -> tuple[Provider, ModelInfo] | None:
    """Find the first of several names of a model that is known."""
    for model in filter(None, models):
        try:
            return get_snapshot().find_provider_model(model, None, vendor, None)
        except LookupError:
            continue
    return None


def _read(prices: ModelPrice, name: str, moment: Moment) -> Rates | None:
    """Read the rates that are ours; None for a model that is not sold by the token."""

    def rate(key: str, otherwise: Decimal) -> Decimal:
        price: Decimal | TieredPrices | None = getattr(prices, key)
        if price is None:
            return otherwise
        if isinstance(price, Decimal):
            return price
        steps = [tier.price for tier in price.tiers if moment.prompt_tokens > tier.start]
        return max([price.base, *steps]) if moment.most else [price.base, *steps][-1]

    if prices.input_mtok is None and prices.output_mtok is None:
        return None
    per_input, per_output = rate("input_mtok", NOTHING), rate("output_mtok", NOTHING)
    return Rates(
        name,
        input=per_input,
        cached=rate("cache_read_mtok", per_input),
        output=per_output,
        reasoning=rate("output_reasoning_mtok", per_output),
        cache_write=rate("cache_write_mtok", per_input),
        audio_input=rate("input_audio_mtok", per_input),
        audio_output=rate("output_audio_mtok", per_output),
        per_call=rate("requests_kcount", NOTHING) / THOUSAND,
    )

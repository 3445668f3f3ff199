"""What tokens cost: the user's prices, the two built-in ones, then genai-prices; Decimal only."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fnmatch import fnmatchcase

from genai_prices import Usage as PricedUsage
from genai_prices import calc_price

from agents.pricing.usage import Usage
from schemas.base import USD_QUANTUM
from schemas.pricing import PriceSpec

__all__ = [
    "FLAT_PRICES",
    "NO_TIER",
    "Charge",
    "Price",
    "PriceBook",
    "charge_of",
    "recalled_charge",
]

#: (kind of provider, model) → dollars per 1,000 tokens, input and output alike.
FLAT_PRICES = {
    ("openai", "gpt-3.5-turbo"): Decimal("0.002"),
    ("azure", "gpt-4-turbo"): Decimal("0.01"),
}

#: How the ids of prices say what they were made for; `recalled_charge` reads them.
SHARED = re.compile(r"\*(?P<share>\d+(?:\.\d+)?)(?::(?P<tier>\w+))?$")
TIERED = re.compile(
    r"^(?:unpriced:(?P<unpriced>\w+)|own:.*:(?P<own>batch|flex|priority):\d{4}-\d\d-\d\d)"
)
MILLION = 1_000_000

#: Names of the standard tier, as providers have them; scale units are paid for apart.
STANDARD_TIERS = ("", "default", "auto", "scale", "standard")
#: Output tokens assumed for an upper bound when neither intent nor model says how many.
DEFAULT_OUTPUT_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class Price:
    """A cost and the price it was made with; `usd` None when the price is not known."""

    usd: Decimal | None
    price_id: str


@dataclass(frozen=True, slots=True)
class Charge:
    """How a call is charged: by its service tier, and what that costs of the standard price.

    `share` None: nobody knows it, so that only a price of the user's for the tier will do.
    """

    tier: str = "standard"
    share: Decimal | None = Decimal(1)


NO_TIER = Charge()


def charge_of(*, served: str, asked: str, share: Decimal) -> Charge:
    """Tell how a call is charged: by the tier that served it, which need not be the one asked for.

    `share` is what the tier that was asked for costs of the standard price.
    """
    tier = served or asked
    if tier in STANDARD_TIERS:
        return NO_TIER
    return Charge(tier, share if tier == asked else None)


def recalled_charge(price_id: str) -> Charge:
    """Read from the id of a price how its call was charged."""
    if found := SHARED.search(price_id):
        return Charge(found["tier"] or "", Decimal(found["share"]))
    if found := TIERED.search(price_id):
        return Charge(found["unpriced"] or found["own"], None)
    return NO_TIER


class PriceBook:
    """All prices of one configuration."""

    def __init__(self, specs: Sequence[PriceSpec] = ()) -> None:
        """Keep the user's prices; they win over all others."""
        # Of prices that hold, the newest counts, and of the same day the last in the file.
        self._specs = sorted(specs, key=lambda spec: spec.valid_from)

    def price(
        self,
        provider: tuple[str, str],
        models: Sequence[str],
        usage: Usage,
        *,
        at: datetime,
        charge: Charge = NO_TIER,
    ) -> Price:
        """Price a call.

        `provider` is its name and its kind; `models` holds the names of the model, best first. A
        tier without a price of its own costs `charge.share` of the standard price, where that is
        known.
        """
        own = self._own(provider, models, usage, at=at, tier=charge.tier)
        if own is not None:
            return own
        if charge.tier == "standard":
            return _public(provider[1], models, usage, at=at)
        standard = self._own(provider, models, usage, at=at, tier="standard") or _public(
            provider[1], models, usage, at=at
        )
        if charge.share is None or standard.usd is None:
            return Price(None, f"unpriced:{charge.tier}")
        usd = (standard.usd * charge.share).quantize(USD_QUANTUM)
        return Price(usd, f"{standard.price_id}*{charge.share}:{charge.tier}")

    def upper_bound(
        self,
        provider: tuple[str, str],
        models: Sequence[str],
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
        return self.price(provider, models, usage, at=at).usd

    def affordable_output(
        self,
        provider: tuple[str, str],
        models: Sequence[str],
        *,
        prompt_tokens: int,
        budget_usd: Decimal,
        at: datetime,
    ) -> int | None:
        """Give how many output tokens a budget pays for after the prompt; None = no price known."""
        probe = 1_000
        prompt, more = (
            self.price(
                provider,
                models,
                Usage(uncached_input=prompt_tokens, visible_output=output),
                at=at,
            ).usd
            for output in (0, probe)
        )
        if prompt is None or more is None:
            return None
        if more <= prompt:
            return DEFAULT_OUTPUT_TOKENS  # output costs nothing
        return max(0, int((budget_usd - prompt) * probe / (more - prompt)))

    def _own(
        self,
        provider: tuple[str, str],
        models: Sequence[str],
        usage: Usage,
        *,
        at: datetime,
        tier: str,
    ) -> Price | None:
        for model in filter(None, models):
            for spec in reversed(self._specs):
                fits = spec.provider in {"*", *provider} and fnmatchcase(model, spec.model)
                if fits and spec.tier == tier and spec.since <= at:
                    return _by_spec(spec, usage)
        return None


def _by_spec(spec: PriceSpec, usage: Usage) -> Price:
    """Price a call by a price of the user's."""
    per_input, per_cached, per_output = spec.input, spec.cached_input, spec.output
    per_thought = spec.reasoning
    suffix = ""
    if spec.above_tokens is not None and usage.input > spec.above_tokens:
        per_input, per_cached = spec.above_input or Decimal(0), spec.above_cached_input
        per_output, per_thought = spec.above_output or Decimal(0), None
        suffix = f":above-{spec.above_tokens}"
    usd = (
        usage.uncached_input * per_input
        + usage.cached_input * (per_input if per_cached is None else per_cached)
        + usage.visible_output * per_output
        + usage.reasoning * (per_output if per_thought is None else per_thought)
    ) / MILLION
    name = f"own:{spec.provider}:{spec.model}:{spec.tier}:{spec.valid_from.isoformat()}{suffix}"
    return Price(usd.quantize(USD_QUANTUM), name)


def _public(kind: str, models: Sequence[str], usage: Usage, *, at: datetime) -> Price:
    """Price a call by the two built-in prices, else by genai-prices."""
    for model in models:
        flat = FLAT_PRICES.get((kind, model))
        if flat is not None:
            return Price(
                (usage.total * flat / 1000).quantize(USD_QUANTUM), f"contract:{kind}:{model}"
            )
    for model in filter(None, models):
        try:
            calculated = calc_price(
                PricedUsage(
                    input_tokens=usage.input,
                    cache_read_tokens=usage.cached_input,
                    output_tokens=usage.output,
                ),
                model_ref=model,
                provider_id=kind,
                genai_request_timestamp=at,
            )
        except LookupError:
            continue
        return Price(
            calculated.total_price.quantize(USD_QUANTUM),
            f"genai-prices:{calculated.provider.id}:{calculated.model.id}",
        )
    return Price(None, "")

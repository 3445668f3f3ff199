"""What tokens cost: the user's prices, the two built-in ones, then genai-prices; Decimal only."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fnmatch import fnmatchcase

from agents.pricing.limits import most_output
from agents.pricing.public import public_rates, window_of
from agents.pricing.rates import Prompt, Rates, dearest
from agents.pricing.usage import Usage
from schemas.base import USD_QUANTUM
from schemas.pricing import PriceSpec

__all__ = ["NO_TIER", "Charge", "Price", "PriceBook", "charge_of", "recalled_charge"]

#: How the ids of prices say what they were made for; `recalled_charge` reads them.
SHARED = re.compile(r"\*(?P<share>\d+(?:\.\d+)?)(?::(?P<tier>\w+))?$")
TIERED = re.compile(
    r"^(?:unpriced:(?P<unpriced>\w+)|own:.*:(?P<own>batch|flex|priority):\d{4}-\d\d-\d\d)"
)
#: Names of the standard tier, as providers have them; scale units are paid for apart.
STANDARD_TIERS = ("", "default", "auto", "scale", "standard")


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
        own = self._own(provider, models, at=at, tier=charge.tier, prompt_tokens=usage.input)
        if own is not None:
            return Price(own.usd(usage), own.price_id)
        standard = self._standard(provider, models, at=at, prompt_tokens=usage.input)
        if charge.tier == "standard":
            if standard is None:
                return Price(None, "")
            return Price(standard.usd(usage), standard.price_id)
        if charge.share is None or standard is None:
            return Price(None, f"unpriced:{charge.tier}")
        usd = (standard.usd(usage) * charge.share).quantize(USD_QUANTUM)
        return Price(usd, f"{standard.price_id}*{charge.share}:{charge.tier}")

    def worst(
        self, provider: tuple[str, str], models: Sequence[str], prompt: Prompt, *, at: datetime
    ) -> Rates | None:
        """Give rates that a call with such a prompt cannot exceed; None = no price is known.

        A tier that nobody asked for may serve it: a price of the user's for one says that it does.
        """
        length = prompt.tokens
        standard = self._standard(provider, models, at=at, prompt_tokens=length, most=True)
        if standard is None:
            return None
        tiers = sorted({spec.tier for spec in self._specs} - {"standard"})
        found = (
            self._own(provider, models, at=at, tier=tier, prompt_tokens=length, most=True)
            for tier in tiers
        )
        return dearest([standard, *(rates for rates in found if rates is not None)])

    def upper_bound(
        self,
        provider: tuple[str, str],
        models: Sequence[str],
        *,
        prompt_tokens: int,
        max_output_tokens: int | None,
        at: datetime,
    ) -> Decimal | None:
        """Bound what a call may cost, in dollars; None = no price is known."""
        prompt = Prompt(prompt_tokens)
        rates = self.worst(provider, models, prompt, at=at)
        most, _ = most_output(models, window=self.window(provider, models))
        return (
            None if rates is None else rates.at_most(prompt, min(max_output_tokens or most, most))
        )

    def window(self, provider: tuple[str, str], models: Sequence[str]) -> int | None:
        """Give how many tokens a model's context holds; None where nobody says."""
        return window_of(provider[1], models)

    def _standard(
        self,
        provider: tuple[str, str],
        models: Sequence[str],
        *,
        at: datetime,
        prompt_tokens: int,
        most: bool = False,
    ) -> Rates | None:
        own = self._own(
            provider, models, at=at, tier="standard", prompt_tokens=prompt_tokens, most=most
        )
        return own or public_rates(
            provider[1], models, at=at, prompt_tokens=prompt_tokens, most=most
        )

    def _own(
        self,
        provider: tuple[str, str],
        models: Sequence[str],
        *,
        at: datetime,
        tier: str,
        prompt_tokens: int,
        most: bool = False,
    ) -> Rates | None:
        for model in filter(None, models):
            for spec in reversed(self._specs):
                fits = spec.provider in {"*", *provider} and fnmatchcase(model, spec.model)
                if fits and spec.tier == tier and spec.since <= at:
                    return _by_spec(spec, prompt_tokens, most=most)
        return None


def _by_spec(spec: PriceSpec, prompt_tokens: int, *, most: bool) -> Rates:
    """Give the rates of a price of the user's for a prompt so long, or for any up to it."""
    name = f"own:{spec.provider}:{spec.model}:{spec.tier}:{spec.valid_from.isoformat()}"
    usual = _rates(name, spec.input, spec.cached_input, spec.output, spec.reasoning)
    if spec.above_tokens is None or prompt_tokens <= spec.above_tokens:
        return usual
    long = _rates(
        f"{name}:above-{spec.above_tokens}",
        spec.above_input or Decimal(0),
        spec.above_cached_input,
        spec.above_output or Decimal(0),
        None,
    )
    return dearest([usual, long]) if most else long


def _rates(
    price_id: str,
    per_input: Decimal,
    cached: Decimal | None,
    output: Decimal,
    reasoning: Decimal | None,
) -> Rates:
    return Rates(
        price_id,
        input=per_input,
        cached=per_input if cached is None else cached,
        output=output,
        reasoning=output if reasoning is None else reasoning,
        cache_write=per_input,
        audio_input=per_input,
    )

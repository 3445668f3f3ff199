"""What tokens cost: the user's prices, the two built-in ones, then genai-prices; Decimal only."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fnmatch import fnmatchcase
from types import MappingProxyType

from agents.pricing.lengths import Lengths
from agents.pricing.public import Moment, PriceList, bundled_list, flat_rates
from agents.pricing.rates import Prompt, Rates, dearest, free
from agents.pricing.sellers import Seller, seller_of
from agents.pricing.usage import Usage
from schemas.pricing import PriceSpec

__all__ = ["NO_TIER", "Charge", "Price", "PriceBook", "charge_of", "recalled_charge"]

#: How the ids of prices say what they were made for; `recalled_charge` reads them.
SHARED = re.compile(r"\*(?P<share>\d+(?:\.\d+)?)(?::(?P<tier>\w+))?$")
TIERED = re.compile(
    r"^(?:unpriced:(?P<unpriced>\w+)|own:.*:(?P<own>\w+):\d{4}-\d\d-\d\d|.*#(?P<public>\w+)$)"
)
#: Names of the standard tier, as providers have them; scale units are paid for apart.
STANDARD_TIERS = ("", "default", "auto", "on_demand", "scale", "standard")


@dataclass(frozen=True, slots=True)
class Price:
    """A cost and the price it was made with; `usd` None when the price is not known."""

    usd: Decimal | None
    price_id: str
    #: Of it, what the prompt cost.
    input_usd: Decimal | None = None


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
        tier = found["unpriced"] or found["own"] or found["public"]
        return NO_TIER if tier == "standard" else Charge(tier, None)
    return NO_TIER


class PriceBook:
    """All prices of one configuration."""

    def __init__(
        self,
        specs: Sequence[PriceSpec] = (),
        sellers: Mapping[str, Seller] = MappingProxyType({}),
        *,
        flat: bool = True,
        listed: PriceList | None = None,
    ) -> None:
        """Keep the user's prices, which win over all others, and who sells what by its name.

        `listed` is the public list, without it the installed package's. `flat`: whether the two
        built-in flat prices hold for their two models.
        """
        # Of prices that hold, the newest counts, and of the same day the last in the file.
        self._specs = sorted(specs, key=lambda spec: spec.valid_from)
        self._sellers = sellers
        self._flat = flat
        self.listed = listed or bundled_list()
        self._lengths = Lengths(self.listed)

    def renew(self, sellers: Mapping[str, Seller], listed: PriceList) -> None:
        """Go by another public list from now on, and by who sells what as it says."""
        self._sellers, self.listed = sellers, listed
        self._lengths = Lengths(listed)

    def seller(self, provider: tuple[str, str]) -> Seller:
        """Give who sells the calls of a provider, by its name and its kind."""
        return self._sellers.get(provider[0]) or seller_of(*provider)

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

        `provider` is its name and its kind; `models` holds the names of the model, best first.
        """
        rates = self.rates(provider, models, at=at, prompt_tokens=usage.input, charge=charge)
        if rates is None:
            return Price(None, "" if charge.tier == "standard" else f"unpriced:{charge.tier}")
        usd, input_usd = rates.parts(usage)
        return Price(usd, rates.price_id, input_usd)

    def rates(
        self,
        provider: tuple[str, str],
        models: Sequence[str],
        *,
        at: datetime,
        prompt_tokens: int,
        charge: Charge = NO_TIER,
    ) -> Rates | None:
        """Give what tokens cost after a prompt so long; None = no price is known.

        A tier whose price is not known costs `charge.share` of the standard price, where that is.
        """
        seller, moment = self.seller(provider), Moment(at, prompt_tokens)
        standard = self._standard(seller, models, moment)
        if charge.tier == "standard":
            return standard
        tiered = self._tiered(seller, models, moment, charge.tier)
        if tiered is not None or charge.share is None or standard is None:
            return tiered
        return standard.times(charge.share, f"{standard.price_id}*{charge.share}:{charge.tier}")

    def worst(
        self, provider: tuple[str, str], models: Sequence[str], prompt: Prompt, *, at: datetime
    ) -> Rates | None:
        """Give rates that a call with such a prompt cannot exceed; None = no price is known.

        Of several names of its model the dearest counts.

        A tier that nobody asked for may serve it: a price of the user's for one says that it does.
        """
        seller, moment = self.seller(provider), Moment(at, prompt.tokens, most=True)
        # What will have served it is not known: each of its names may be what is charged.
        named = (self._standard(seller, (model,), moment) for model in models)
        standard = [rates for rates in named if rates is not None]
        if not standard:
            return None
        tiers = sorted({spec.tier for spec in self._specs} - {"standard"})
        found = (self._own(seller, models, moment, tier) for tier in tiers)
        return dearest([*standard, *(rates for rates in found if rates is not None)])

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
        most, _ = self.longest(provider, models)
        return (
            None if rates is None else rates.at_most(prompt, min(max_output_tokens or most, most))
        )

    def window(self, provider: tuple[str, str], models: Sequence[str]) -> int | None:
        """Give how many tokens a model's context holds; None where nobody says."""
        return self._lengths.of(self.seller(provider), models)[0]

    def longest(self, provider: tuple[str, str], models: Sequence[str]) -> tuple[int, bool]:
        """Bound the output tokens of one answer; and say whether that is the model's own limit."""
        return self._lengths.of(self.seller(provider), models)[1]

    def _standard(self, seller: Seller, models: Sequence[str], moment: Moment) -> Rates | None:
        own = self._own(seller, models, moment, "standard")
        return own or self._listed(seller, models, moment, "standard")

    def _tiered(
        self, seller: Seller, models: Sequence[str], moment: Moment, tier: str
    ) -> Rates | None:
        """Give the price of a tier: the user's, else what everybody can read.

        Where the user has a price for the standard tier, what everybody reads of this one says
        nothing, but for a discount on what everybody reads.
        """
        own = self._own(seller, models, moment, tier)
        if own is not None:
            return own
        spec = self._spec(seller, models, moment, "standard")
        listed = self._listed(seller, models, moment, tier)
        if spec is None or listed is None:
            return listed
        return _discounted(spec, listed) if spec.discount is not None else None

    def _listed(
        self, seller: Seller, models: Sequence[str], moment: Moment, tier: str
    ) -> Rates | None:
        """Give the price where the user has none: nothing, the flat price, or the list."""
        if seller.free:
            return free(f"free:{seller.name}")
        flat = flat_rates(seller.kind, models) if self._flat else None
        if flat is not None:
            return flat if tier == "standard" else None
        if seller.vendor is None:
            return None
        return self.listed.rates(seller.vendor, models, moment, tier=tier)

    def _own(
        self, seller: Seller, models: Sequence[str], moment: Moment, tier: str
    ) -> Rates | None:
        """Give the user's price, where there is one for the tier."""
        spec = self._spec(seller, models, moment, tier)
        if spec is None or spec.discount is None:
            return None if spec is None else _by_spec(spec, moment)
        listed = self._listed(seller, models, moment, tier)
        return None if listed is None else _discounted(spec, listed)

    def _spec(
        self, seller: Seller, models: Sequence[str], moment: Moment, tier: str
    ) -> PriceSpec | None:
        if not self._specs:
            return None
        for model in filter(None, models):
            for spec in reversed(self._specs):
                fits = spec.provider in {"*", seller.name, seller.kind}
                fits = fits and fnmatchcase(model, spec.model) and spec.tier == tier
                if fits and spec.since <= moment.at:
                    return spec
        return None


def _id_of(spec: PriceSpec) -> str:
    return f"own:{spec.provider}:{spec.model}:{spec.tier}:{spec.valid_from.isoformat()}"


def _discounted(spec: PriceSpec, listed: Rates) -> Rates:
    """Take a discount off what is listed."""
    off = spec.discount or Decimal(0)
    return listed.times(1 - off, f"{_id_of(spec)}:-{off}:{listed.price_id}")


def _by_spec(spec: PriceSpec, moment: Moment) -> Rates:
    """Give the rates of a price of the user's for a prompt so long, or for any up to it."""
    per_input, per_output = spec.input or Decimal(0), spec.output or Decimal(0)
    usual = Rates(
        _id_of(spec),
        input=per_input,
        cached=_else(spec.cached_input, per_input),
        output=per_output,
        reasoning=_else(spec.reasoning, per_output),
        cache_write=_else(spec.cache_write, per_input),
        audio_input=_else(spec.audio_input, per_input),
        audio_output=_else(spec.audio_output, per_output),
        per_call=spec.per_call,
    )
    if spec.above_tokens is None or moment.prompt_tokens <= spec.above_tokens:
        return usual
    per_input, per_output = spec.above_input or Decimal(0), spec.above_output or Decimal(0)
    long = Rates(
        f"{_id_of(spec)}:above-{spec.above_tokens}",
        input=per_input,
        cached=_else(spec.above_cached_input, per_input),
        output=per_output,
        reasoning=per_output,
        cache_write=_else(spec.above_cache_write, per_input),
        audio_input=_else(spec.audio_input, per_input),
        audio_output=_else(spec.audio_output, per_output),
        per_call=spec.per_call,
    )
    return dearest([usual, long]) if moment.most else long


def _else(price: Decimal | None, otherwise: Decimal) -> Decimal:
    return otherwise if price is None else price

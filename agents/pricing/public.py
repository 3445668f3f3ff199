"""Prices that everybody can read: the contract's two, then genai-prices."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import cache, lru_cache
from importlib.metadata import version

from genai_prices.data_snapshot import DataSnapshot, get_snapshot
from genai_prices.types import (
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    PriceVariant,
    Provider,
    StartDateConstraint,
    TieredPrices,
    _providers_from_raw,
)

from agents.pricing.rates import Rates

__all__ = ["Moment", "PriceList", "PriceListError", "bundled_list", "flat_rates", "read_list"]

#: (kind of provider, model) → dollars per 1,000 tokens, input and output alike (contract §5).
FLAT_PRICES = {
    ("openai", "gpt-3.5-turbo"): Decimal("0.002"),
    ("azure", "gpt-4-turbo"): Decimal("0.01"),
}
#: What the list is called in the ids of prices.
LIST = "genai-prices"
NOTHING = Decimal(0)
THOUSAND = 1_000
#: Names of models, intents' own among them, of which it is remembered what the list says.
MOST_NAMES = 4_096


@dataclass(frozen=True, slots=True)
class Moment:
    """What a price depends on beside the model: when, and how long the prompt is."""

    at: datetime
    prompt_tokens: int = 0
    #: For a bound: the dearest price for any prompt up to that length.
    most: bool = False


def flat_rates(kind: str, models: Sequence[str]) -> Rates | None:
    """Give the contract's flat price, where the model is one of its two.

    The best name of the model decides whether it is: a deployment may have the name of one and
    serve another. What cannot be a name, such as half a character, says nothing.
    """
    return _flat(kind, tuple(models))


@lru_cache(MOST_NAMES)
def _flat(kind: str, models: tuple[str, ...]) -> Rates | None:
    best = next((one for one in models if one.isascii() and one.isprintable() and one), "")
    for model in models:
        flat = FLAT_PRICES.get((kind, model))
        if flat is not None and (best == model or best.startswith(f"{model}-")):
            per = flat * THOUSAND
            return Rates(f"contract:{kind}:{model}", per, per, per, per, per, per, per)
    return None


class PriceListError(Exception):
    """Raised when a text is no list of prices in genai-prices' format; one sentence."""


class PriceList:
    """A list of prices in genai-prices' format, under a name that says which: its day, or version.

    What it says of a moment does not depend on when it is asked: each price has its days.
    """

    def __init__(self, snapshot: DataSnapshot, name: str) -> None:
        """Take a list that is read already."""
        self.name = name
        self._snapshot = snapshot
        self._known: dict[tuple[str, int], Rates | None] = {}
        self._look_up = lru_cache(MOST_NAMES)(self._looked_up)

    def vendor_at(self, url: str) -> str | None:
        """Name the vendor whose API is at an address; None for one that is nobody's we know."""
        try:
            return self._snapshot.find_provider(None, None, url).id
        except LookupError:
            return None

    def rates(
        self, vendor: str, models: Sequence[str], moment: Moment, *, tier: str = "standard"
    ) -> Rates | None:
        """Give what it says of a model and tier; None = nothing."""
        found = self._find(vendor, models)
        if found is None:
            return None
        provider, info = found
        name = f"{self.name}:{provider.id}:{info.id}"
        if tier == "standard":
            return self._standard(info.get_prices(moment.at), name, moment)
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

    def _standard(self, prices: ModelPrice, name: str, moment: Moment) -> Rates | None:
        """Read rates, once where they are the same whatever the prompt's length."""
        if any(isinstance(price, TieredPrices) for price in vars(prices).values()):
            return _read(prices, name, moment)
        key = (name, id(prices))  # they live as long as the list
        if key not in self._known:
            self._known[key] = _read(prices, name, moment)
        return self._known[key]

    def window(self, vendor: str, models: Sequence[str]) -> int | None:
        """Give how many tokens a model's context holds; None where it does not say."""
        found = self._find(vendor, models)
        return None if found is None else found[1].context_window

    def vendor_name(self, vendor: str) -> str:
        """Give the name by which people know a vendor."""
        providers = self._snapshot.providers
        return next((one.name for one in providers if one.id == vendor), vendor)

    def newest(self) -> date | None:
        """Give the day on which the newest price in it began, a sign of its age; None = no day."""
        days = [
            one.constraint.start_date
            for provider in self._snapshot.providers
            for info in provider.models
            for one in _dated(info)
            if isinstance(one.constraint, StartDateConstraint)
        ]
        return max(days, default=None)

    def _find(self, vendor: str, models: Sequence[str]) -> tuple[Provider, ModelInfo] | None:
        """Find the first of several names of a model that is known."""
        found = (self._look_up(vendor, model) for model in models if model)
        return next((one for one in found if one is not None), None)

    def _looked_up(self, vendor: str, model: str) -> tuple[Provider, ModelInfo] | None:
        """Look a name up; the library goes through its whole list for one that it does not know."""
        try:
            return self._snapshot.find_provider_model(model, None, vendor, None)
        except LookupError:
            return None


def _dated(info: ModelInfo) -> list[ConditionalPrice | PriceVariant]:
    """Give the prices of a model that may have a day."""
    prices = info.prices if isinstance(info.prices, list) else []
    return [*prices, *(info.price_variants or [])]


@cache
def bundled_list() -> PriceList:
    """Give the list of the installed package."""
    return PriceList(get_snapshot(), f"{LIST}@{version(LIST)}")


def read_list(document: object, *, day: date) -> PriceList:
    """Read a list as the genai-prices project publishes it; raises PriceListError.

    `day` is the day on which it was fetched: it names the list.
    """
    if not isinstance(document, list):
        message = "it is no list of providers in genai-prices' format"
        raise PriceListError(message)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of units that are newer than the library
            providers = _providers_from_raw(document)
    except Exception as error:  # noqa: BLE001 - foreign data, read by a library
        message = f"it is not in genai-prices' format ({type(error).__name__})"
        raise PriceListError(message) from None
    if not any(provider.models for provider in providers):
        message = "it names no models"
        raise PriceListError(message)
    return PriceList(DataSnapshot(providers, from_auto_update=False), f"{LIST}@{day.isoformat()}")


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

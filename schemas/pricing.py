"""Prices of your own: `[[prices]]` tables of hybrid.toml."""

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from schemas.tables import Table

__all__ = ["PriceSpec"]

#: As providers name tiers: `flex`, `priority`, `on_demand`; ours for batches is `batch`.
TierName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
#: More than any token costs, and few enough digits for every sum with it.
PerMillion = Annotated[Decimal, Field(ge=0, le=1_000_000, allow_inf_nan=False)]


class PriceSpec(Table):
    """What a model costs from a day on, in dollars per million tokens."""

    model: str
    """Model or deployment; `*` stands for any characters."""
    provider: str = "*"
    """Name or kind of the provider; `*` = any."""
    valid_from: date = date(1970, 1, 1)
    """The first day, in UTC, on which it holds; of several the newest counts."""
    tier: TierName = "standard"
    """Service tier it is for, by the name that the provider's answers give it."""
    input: PerMillion | None = None
    """Prompt tokens."""
    cached_input: PerMillion | None = None
    """Prompt tokens that came from the provider's cache; without it as other prompt tokens."""
    cache_write: PerMillion | None = None
    """Prompt tokens that were put into that cache; without it as other prompt tokens."""
    audio_input: PerMillion | None = None
    """Prompt tokens that are sound; without it as other prompt tokens."""
    output: PerMillion | None = None
    """Tokens of the answer."""
    reasoning: PerMillion | None = None
    """Tokens the model thought with; without it as tokens of the answer."""
    audio_output: PerMillion | None = None
    """Tokens of the answer that are sound; without it as its other tokens."""
    per_call: Decimal = Field(default=Decimal(0), ge=0, le=1_000_000, allow_inf_nan=False)
    """Dollars for each call beside its tokens, such as a search's."""
    discount: Decimal | None = Field(default=None, ge=0, le=1)
    """In place of input and output: share that your contract takes off the price that would hold
    without this line, such as 0.15."""
    above_tokens: int | None = Field(default=None, ge=1)
    """Prompts longer than this are priced, whole call, by those below."""
    above_input: PerMillion | None = None
    """Prompt tokens of a long prompt."""
    above_cached_input: PerMillion | None = None
    """Cached prompt tokens of a long prompt; without it as its other prompt tokens."""
    above_cache_write: PerMillion | None = None
    """Prompt tokens of a long prompt put into the cache; without it as its other prompt tokens."""
    above_output: PerMillion | None = None
    """Tokens of the answer to a long prompt, thoughts included."""

    @model_validator(mode="after")
    def _long_prompts(self) -> "PriceSpec":
        """Refuse half a price for long prompts."""
        given = (self.above_tokens, self.above_input, self.above_output)
        if any(one is None for one in given) and any(one is not None for one in given):
            message = "above_tokens, above_input and above_output go together"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _price_or_discount(self) -> "PriceSpec":
        """Refuse half a price, and a price beside a discount."""
        if self.discount is None:
            if self.input is None or self.output is None:
                message = "input and output are needed, or a discount in place of both"
                raise ValueError(message)
        elif self.model_fields_set & PRICES:
            named = ", ".join(sorted(self.model_fields_set & PRICES))
            message = f"discount stands in place of a price: leave out {named}"
            raise ValueError(message)
        return self

    @property
    def since(self) -> datetime:
        """The moment from which it holds."""
        return datetime.combine(self.valid_from, time(), UTC)


PRICES = frozenset(PriceSpec.model_fields) - {"model", "provider", "valid_from", "tier", "discount"}

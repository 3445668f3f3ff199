"""Prices of your own: `[[prices]]` tables of hybrid.toml."""

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["PriceSpec", "Tier"]

Tier = Literal["standard", "batch", "flex", "priority"]


class PriceSpec(BaseModel):
    """What a model costs from a day on, in dollars per million tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    model: str
    """Model or deployment; `*` stands for any characters."""
    provider: str = "*"
    """Name or kind of the provider; `*` = any."""
    valid_from: date = date(1970, 1, 1)
    """The first day, in UTC, on which it holds; of several the newest counts."""
    tier: Tier = "standard"
    """Service tier it is for."""
    input: Decimal = Field(ge=0)
    """Prompt tokens."""
    cached_input: Decimal | None = Field(default=None, ge=0)
    """Prompt tokens that came from the provider's cache; without it as other prompt tokens."""
    output: Decimal = Field(ge=0)
    """Tokens of the answer."""
    reasoning: Decimal | None = Field(default=None, ge=0)
    """Tokens the model thought with; without it as tokens of the answer."""
    above_tokens: int | None = Field(default=None, ge=1)
    """Prompts longer than this are priced, whole call, by the three below."""
    above_input: Decimal | None = Field(default=None, ge=0)
    """Prompt tokens of a long prompt."""
    above_cached_input: Decimal | None = Field(default=None, ge=0)
    """Cached prompt tokens of a long prompt; without it as its other prompt tokens."""
    above_output: Decimal | None = Field(default=None, ge=0)
    """Tokens of the answer to a long prompt, thoughts included."""

    @model_validator(mode="after")
    def _long_prompts(self) -> "PriceSpec":
        """Refuse half a price for long prompts."""
        given = (self.above_tokens, self.above_input, self.above_output)
        if any(one is None for one in given) and any(one is not None for one in given):
            message = "above_tokens, above_input and above_output go together"
            raise ValueError(message)
        return self

    @property
    def since(self) -> datetime:
        """The moment from which it holds."""
        return datetime.combine(self.valid_from, time(), UTC)

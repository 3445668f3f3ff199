"""Settings of what calls cost, and of what may be spent."""

from __future__ import annotations

from typing import Literal

from schemas.budgets import BudgetSpec
from schemas.pricing import PriceSpec
from schemas.protection import ProtectionSettings

__all__ = ["MoneySettings"]


class MoneySettings(ProtectionSettings):
    """Prices and budgets."""

    hybrid_prices: Literal["original", "public"] = "original"
    """What gpt-3.5-turbo at `openai` and gpt-4-turbo at `azure` cost without a price of your own:
    the flat prices of the contract, or, as all other models, what genai-prices says."""
    hybrid_price_list: str | None = None
    """File with a newer list of prices than the installed package genai-prices has, written by
    `hybrid costs prices update`; workers look once a minute whether it has changed."""
    hybrid_azure_base_model: str | None = None
    """The model behind the deployment of provider `azure`, for its price where an answer does not
    name it, and for bounds before there is one."""
    prices: tuple[PriceSpec, ...] = ()
    """`[[prices]]` tables of hybrid.toml, which win over the contract's two and genai-prices."""
    budgets: tuple[BudgetSpec, ...] = ()
    """`[[budgets]]` tables of hybrid.toml: what tenants may spend an hour, a day, a month."""

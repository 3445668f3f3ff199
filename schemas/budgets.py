"""Budgets: the `[[budgets]]` tables of hybrid.toml, and the record of what was spent."""

from decimal import Decimal
from functools import cached_property
from typing import Literal

from pydantic import Field

from schemas.base import Message, Usd
from schemas.tables import Table

__all__ = ["PERIODS", "BudgetSpec", "Period", "SpendRecord"]

Period = Literal["hour", "day", "month"]
#: Each period with the strftime form of its name, in UTC.
PERIODS: dict[Period, str] = {"hour": "%Y-%m-%dT%H", "day": "%Y-%m-%d", "month": "%Y-%m"}


class BudgetSpec(Table):
    """What a tenant may spend."""

    tenant: str
    """The tenant; `*` = each tenant that has no budget of its own for the period."""
    per: Period
    """Calendar hour, day or month, in UTC."""
    usd: Decimal = Field(gt=0)
    """Dollars; at this limit no further call is made for the tenant."""
    soft: float = Field(default=0.8, gt=0, le=1)
    """Share of it at which an alert is raised."""
    then: Literal["defer", "dead_letter"] = "defer"
    """What becomes of intents over the limit: wait for the next period, or end (`budget`)."""
    hold: bool = True
    """Whether calls in flight count with their upper bounds and the last answers are cut, so that
    no worker overruns it; false: what is in flight comes on top."""
    uncertain: Literal["count", "ignore"] = "count"
    """Whether calls count, by their upper bounds, that may be charged though no answer was read."""
    unpriced_usd: Decimal = Field(default=Decimal(0), ge=0)
    """Dollars that a call counts whose price nobody knows."""


class SpendRecord(Message):
    """What a lane has spent for a tenant (internal); the newest counts."""

    tenant: str
    lane: int
    periods: dict[Period, tuple[str, Usd]] = Field(
        description="period → its name, such as 2026-01-31, and the dollars spent in it"
    )
    uncertain: dict[Period, tuple[str, Usd]] = Field(
        default_factory=dict, description="the same for what may have been charged beside it"
    )
    unpriced: dict[Period, tuple[str, int]] = Field(
        default_factory=dict, description="the same for calls whose price nobody knows: how many"
    )

    @cached_property
    def written(self) -> bytes:
        """The record as it is written, put together once: it is kept so, and sent so."""
        return self.to_json()

"""The `[alerts]` table of hybrid.toml: above what the record shows an alert is raised."""

from decimal import Decimal

from pydantic import Field

from schemas.tables import Table

__all__ = ["AlertSpec"]


class AlertSpec(Table):
    """Limits above which the recorder raises an alert; 0 turns one off."""

    every: float = Field(default=60.0, gt=0, le=3600)
    """Seconds between two looks."""
    intent_usd: Decimal = Field(default=Decimal(1), ge=0)
    """Dollars for one intent, all its calls together."""
    spend_times: float = Field(default=3.0, ge=0)
    """A tenant's last hour, as a multiple of its mean hour of the day before."""
    spend_usd: Decimal = Field(default=Decimal(1), ge=0)
    """Dollars that such an hour must have cost at least."""
    error_rate: float = Field(default=0.1, ge=0, le=1)
    """Share of a provider's calls that failed, over ten minutes; refusals for limits (429) and
    of requests (400) are not counted."""
    call_ms: float = Field(default=20_000.0, ge=0)
    """Milliseconds, p95 of a model's answered calls over ten minutes."""
    dead_letter_rate: float = Field(default=0.05, ge=0, le=1)
    """Share of a tenant's intents that ended as dead letters, over ten minutes."""
    fewest: int = Field(default=20, ge=1)
    """Calls, or intents, that a share or a p95 must be made of."""
    unpriced: bool = True
    """Whether calls of a model without a known price raise one."""
    orphaned: bool = True
    """Whether calls whose worker died raise one."""
    behind: float = Field(default=300.0, ge=0)
    """Seconds for which ClickHouse has not taken rows that were there."""
    paused: float = Field(default=3_600.0, ge=0)
    """Seconds for which an operator has held work, or calls to a provider."""

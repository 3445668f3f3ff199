"""What tenants have spent of their budgets, as the workers count it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from pydantic import ValidationError

from agents.deciding.budgets import Spending
from schemas.budgets import PERIODS, SpendRecord
from schemas.settings import Settings
from streams.kafka.reading import read_topic

__all__ = ["BudgetLevel", "budget_levels"]


@dataclass(frozen=True, slots=True)
class BudgetLevel:
    """A tenant's budget in the period at hand."""

    tenant: str
    per: str
    #: The period's name, such as 2026-01-31.
    period: str
    spent_usd: Decimal
    limit_usd: Decimal
    #: open, alert (its share for an alert is reached) or spent.
    state: str
    #: When the next period begins; then as much may be spent again.
    opens_at: datetime
    then: str


async def budget_levels(settings: Settings, *, now: datetime) -> list[BudgetLevel]:
    """Read what all lanes have committed; those nearest their limit first.

    What is in flight is not on record yet. A budget of `*` is listed for each tenant for whom
    something was spent, as far as the topic remembers. Raises BrokerUnavailableError, RightsError.
    """
    spending = Spending(settings.budgets)
    tenants = {one.tenant for one in settings.budgets if one.tenant != "*"}
    async for record in read_topic(settings, settings.topics.spend):
        try:
            spent = SpendRecord.model_validate_json(record.value or b"")
        except ValidationError:
            continue
        spending.learn(spent)
        tenants.add(spent.tenant)
    found = [
        BudgetLevel(
            tenant=tenant,
            per=level.budget.per,
            period=now.strftime(PERIODS[level.budget.per]),
            spent_usd=level.spent_usd,
            limit_usd=level.budget.usd,
            state=_state(level.spent_usd / level.budget.usd, level.budget.soft),
            opens_at=now + timedelta(seconds=level.resets_in_s),
            then=level.budget.then,
        )
        for tenant in tenants
        for level in spending.levels(tenant, now)
    ]
    return sorted(found, key=lambda one: (-one.spent_usd / one.limit_usd, one.tenant, one.per))


def _state(share: Decimal, soft: float) -> str:
    if share >= 1:
        return "spent"
    return "alert" if share >= Decimal(str(soft)) else "open"

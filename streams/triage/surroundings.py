"""What a replay would meet now: providers that are out, and budgets, from what is on record."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from schemas.base import format_time, format_usd
from schemas.settings import Settings
from schemas.vocabulary import AlertName
from streams.alerts.standing import read_alerts
from streams.bill.budgets import budget_levels

__all__ = ["BELIEVED", "OUT", "Needs", "budget_effects", "providers_out"]

#: What alerts say of a provider's breaker.
OUT = {AlertName.PROVIDER_DOWN.value: "refuses all calls", AlertName.PROVIDER_FAILING.value: "open"}
#: An alert that is older than this, and was not said to be over, is not gone by.
BELIEVED = timedelta(days=2)


@dataclass(slots=True)
class Needs:
    """What a plan wants of one tenant's money."""

    expected_usd: Decimal = Decimal(0)
    most_usd: Decimal = Decimal(0)


async def providers_out(settings: Settings, *, now: datetime) -> dict[str, dict[str, str]]:
    """Give the providers whose breaker is open, as the newest alerts say: since when, and how.

    Every worker has breakers of its own: what one has said to be over may go on at another.
    """
    standing = await read_alerts(settings, since=now - BELIEVED)
    return {
        one.alert.subject: {"breaker": OUT[one.alert.name], "since": format_time(one.since)}
        for one in reversed(standing)  # the newest are given first, and count
        if one.until is None and one.alert.name in OUT
    }


async def budget_effects(
    settings: Settings, needs: Mapping[str, Needs], *, now: datetime
) -> list[dict[str, Any]]:
    """Say what each budget of the plan's tenants would stand at; those nearest the limit first."""
    levels = await budget_levels(settings, now=now)
    found = []
    for level in levels:
        need = needs.get(level.tenant)
        if need is None:
            continue
        expected, most = level.spent_usd + need.expected_usd, level.spent_usd + need.most_usd
        found.append(
            {
                "tenant": level.tenant,
                "per": level.per,
                "limit_usd": format_usd(level.limit_usd),
                "spent_usd": format_usd(level.spent_usd),
                "after_expected_usd": format_usd(expected),
                "after_most_usd": format_usd(most),
                "reached": "expected" if expected >= level.limit_usd
                else "at most" if most >= level.limit_usd else "no",
                "then": level.then,
            }
        )  # fmt: skip
    return found

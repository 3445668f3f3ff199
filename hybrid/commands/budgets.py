"""What tenants have spent of their budgets: `hybrid costs budgets`."""

import asyncio
from datetime import UTC, datetime

import typer

from hybrid.commands.common import ColumnsOption, FormatOption, TenantOption, WideOption
from hybrid.config import load_settings, need_kafka
from hybrid.printing import Format, View, console, print_table
from schemas.base import format_time, format_usd
from streams.bill.budgets import budget_levels

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(budgets)


def budgets(
    tenant: TenantOption = None,
    wide: WideOption = False,
    columns: ColumnsOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Show what tenants have spent of their budgets, and when a spent one opens again.

    Example: `hybrid costs budgets --tenant acme`
    """
    settings = need_kafka(load_settings())
    levels = asyncio.run(budget_levels(settings, now=datetime.now(UTC)))
    rows = [
        (
            one.tenant,
            one.per,
            one.period,
            format_usd(one.spent_usd),
            format_usd(one.limit_usd),
            f"{one.spent_usd / one.limit_usd:.0%}",
            one.state,
            format_time(one.opens_at),
            one.then,
        )
        for one in levels
        if tenant in {None, one.tenant}
    ]
    every = (
        "tenant", "per", "period", "spent_usd", "limit_usd", "share", "state", "opens_again_at",
        "then",
    )  # fmt: skip
    print_table(every, rows, form, view=View(wide, columns))
    if rows or form is not Format.TABLE:
        return
    why = (
        "no budget is set: see [[budgets]] in docs/configuration.md"
        if not settings.budgets
        else f"tenant {tenant} has no budget, or has spent nothing of one for all"
        if tenant
        else "nobody has spent anything of a budget that holds for all"
    )
    console.print(why, highlight=False, markup=False)

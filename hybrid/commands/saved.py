"""What batches saved, beside what was spent: a column of `hybrid costs report`."""

from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING

from hybrid.commands.common import price_book
from hybrid.config import load_settings
from schemas.base import format_usd
from streams.bill.costs import Table
from streams.bill.dimensions import Which
from streams.bill.savings import saved_by_batches

if TYPE_CHECKING:
    from streams.store.clickhouse import ClickHouse

__all__ = ["with_savings"]


def with_savings(store: "ClickHouse", table: Table, *, by: tuple[str, ...], chosen: Which) -> Table:
    """Add to each row of a report, which begins with its dimensions, what batches saved."""
    settings = load_settings()
    kinds = {spec.name: spec.kind for spec in settings.provider_specs}
    book = cache(lambda: price_book(settings))
    saved = saved_by_batches(store, book, kinds, by=by, **chosen)
    nothing = Decimal(0)
    rows = [(*row, format_usd(saved.get(tuple(row[: len(by)]), nothing))) for row in table.rows]
    return Table([*table.columns, "batch_saved_usd"], rows)

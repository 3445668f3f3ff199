"""What batches saved: the standard price of their lines less what they were charged."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import UTC
from decimal import Decimal
from typing import TYPE_CHECKING, Unpack

from agents.pricing.usage import Usage
from streams.bill.dimensions import Which, grouped, period
from streams.store.clickhouse import ClickHouse

if TYPE_CHECKING:
    from agents.pricing.prices import PriceBook

__all__ = ["OF_BATCHES", "saved_by_batches"]

PAGE = 10_000
#: The id of a price says that it is of tier batch: a share's, the public list's, the user's own.
OF_BATCHES = r"match(price_id, '(:|#)batch$|:batch:[0-9-]+$')"
COLUMNS = (
    "a.uncached_input_tokens", "a.cached_input_tokens", "a.visible_output_tokens",
    "a.reasoning_tokens", "a.cache_write_tokens", "a.audio_input_tokens", "a.audio_output_tokens",
    "toString(a.attempt_id)", "a.provider", "a.requested_model", "a.served_model",
    "toString(a.cost_usd)", "a.started_at",
)  # fmt: skip


def saved_by_batches(
    store: ClickHouse,
    prices: "Callable[[], PriceBook]",
    kinds: Mapping[str, str],
    *,
    by: tuple[str, ...],
    **which: Unpack[Which],
) -> dict[tuple[object, ...], Decimal]:
    """Give the dollars that batches saved, by the chosen dimensions; raises ClickHouse's errors.

    `prices` is asked where there is a line, `kinds` holds each provider's kind. A line whose
    standard price nobody knows is in no sum.
    """
    condition, parameters = period(**which)
    names, _ = grouped(by)
    selected = ", ".join(f"{one} AS c{number}" for number, one in enumerate(COLUMNS))
    sums: dict[tuple[object, ...], Decimal] = defaultdict(Decimal)
    last = "00000000-0000-0000-0000-000000000000"
    while True:
        statement = f"""
            SELECT {names}, {selected} FROM provider_attempts AS a FINAL
            WHERE {condition} AND {OF_BATCHES} AND a.cost_usd IS NOT NULL
                AND a.attempt_id > {{last:UUID}}
            ORDER BY a.attempt_id LIMIT {PAGE}
            """  # noqa: S608 - dimensions and columns come from fixed tables
        _, rows = store.rows(statement, {**parameters, "last": last})
        book = prices() if rows else None
        for row in rows:
            key, values = tuple(row[: len(by)]), row[len(by) :]
            saved = _saved(book, kinds, values) if book else None
            if saved is not None:
                sums[key] += saved
        if len(rows) < PAGE:
            return dict(sums)
        last = str(rows[-1][len(by) + 7])


def _saved(
    prices: "PriceBook", kinds: Mapping[str, str], values: tuple[object, ...]
) -> Decimal | None:
    """Give what one line saved; None where its standard price is not known."""
    *tokens, _attempt, provider, requested, served, cost, at = values
    uncached, cached, visible, reasoning, written, heard, spoken = (int(str(one)) for one in tokens)
    usage = Usage(uncached, cached, visible, reasoning, cache_write=written, audio_input=heard,
                  audio_output=spoken)  # fmt: skip
    names = (str(provider), kinds.get(str(provider), str(provider)))
    models = prices.seller(names).names(str(requested), str(served))
    moment = at.replace(tzinfo=at.tzinfo or UTC)  # type: ignore[attr-defined] # a DateTime64
    standard = prices.price(names, models, usage, at=moment)
    return None if standard.usd is None else standard.usd - Decimal(str(cost))

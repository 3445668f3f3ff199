"""Calls priced anew, with the prices that hold now for the time of each call; it can be undone.

A new price is a new version of the row: the table keeps the newest, and every view reads that. The
call's first price stays beside it.
"""

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from typing import Any, Self

from agents.pricing.prices import PriceBook, recalled_charge
from agents.pricing.usage import Usage
from streams.store.clickhouse import ClickHouse

__all__ = ["Change", "Difference", "Repricing", "find_changes", "undo"]

#: Versions of rows as the recorder writes them are 0 to 2 (`schemas.rows`).
FIRST_VERSION = 3
LAST_VERSION = 255
BATCH = 10_000
COLUMNS = (
    "attempt_id",
    "provider",
    "requested_model",
    "served_model",
    "uncached_input_tokens",
    "cached_input_tokens",
    "visible_output_tokens",
    "reasoning_tokens",
    "cache_write_tokens",
    "audio_input_tokens",
    "audio_output_tokens",
    "toString(a.cost_usd) AS cost",
    "price_id",
    "started_at",
)


@dataclass(frozen=True, slots=True)
class Change:
    """One call whose price is another one now."""

    attempt_id: str
    provider: str
    model: str
    before: Decimal | None
    after: Decimal | None
    after_input: Decimal | None
    price_id: str


def find_changes(
    store: ClickHouse,
    prices: PriceBook,
    kinds: Mapping[str, str],
    *,
    since: datetime | None,
    on_progress: Callable[[int], None] = lambda _rows: None,
) -> Iterator[Change]:
    """Give the calls with known tokens that cost something else now; raises ClickHouse's errors.

    `kinds` holds each provider's kind; one that is configured no more is priced by its name.
    """
    moment = int(since.timestamp() * 1000) if since else 0
    last = "00000000-0000-0000-0000-000000000000"
    while True:
        statement = f"""
            SELECT {", ".join(COLUMNS)} FROM provider_attempts AS a FINAL
            WHERE status = 'finished' AND usage_source != 'none' AND attempt_id > {{last:UUID}}
                AND started_at >= fromUnixTimestamp64Milli({{since:Int64}})
            ORDER BY attempt_id LIMIT {BATCH}
            """  # noqa: S608 - names of columns
        _, rows = store.rows(statement, {"since": moment, "last": last})
        for row in rows:
            change = _change(prices, kinds, row)
            if change is not None:
                yield change
        on_progress(len(rows))
        if len(rows) < BATCH:
            return
        last = str(rows[-1][0])


def _change(prices: PriceBook, kinds: Mapping[str, str], row: tuple[Any, ...]) -> Change | None:
    attempt_id, provider, requested, served, *tokens, cost, price_id, at = row
    uncached, cached, visible, reasoning, written, heard, spoken = map(int, tokens)
    usage = Usage(uncached, cached, visible, reasoning, cache_write=written, audio_input=heard,
                  audio_output=spoken)  # fmt: skip
    names = (provider, kinds.get(provider, provider))
    moment = at.replace(tzinfo=at.tzinfo or UTC)  # the client gives UTC, without saying so
    # The row does not hold its service tier; the id of its price does.
    price = prices.price(
        names, prices.seller(names).names(requested, served), usage, at=moment,
        charge=recalled_charge(str(price_id)),
    )  # fmt: skip
    before = None if cost is None else Decimal(str(cost))
    if before == price.usd:
        return None
    model = served or requested
    return Change(
        str(attempt_id), provider, model, before, price.usd, price.input_usd, price.price_id
    )


@dataclass
class Difference:
    """What calls of one model cost before and would cost now; None = no call's cost is known."""

    calls: int = 0
    before: Decimal | None = None
    after: Decimal | None = None

    def add(self, change: Change) -> None:
        """Add one call to the sums."""
        self.calls += 1
        if change.before is not None:
            self.before = (self.before or Decimal(0)) + change.before
        if change.after is not None:
            self.after = (self.after or Decimal(0)) + change.after


class Repricing:
    """Changes that are found, kept in a table of their own until they are applied or dropped."""

    def __init__(self, store: ClickHouse) -> None:
        """Begin without changes; `with` makes the table for them."""
        self._store = store
        self._token = uuid.uuid4().hex
        self._table = f"repricing_{self._token}"
        self._batches = 0
        self.differences: dict[tuple[str, str], Difference] = defaultdict(Difference)

    @property
    def calls(self) -> int:
        """How many calls cost something else now."""
        return sum(one.calls for one in self.differences.values())

    def __enter__(self) -> Self:
        """Make the table that changes are kept in."""
        self._store.command(
            f"CREATE TABLE IF NOT EXISTS {self._table} (attempt_id UUID, "
            "cost Nullable(Decimal(18, 12)), input_cost Nullable(Decimal(18, 12)), "
            "price_id String) "
            "ENGINE = MergeTree ORDER BY attempt_id"
        )
        return self

    def __exit__(self, *_error: object) -> None:
        """Drop the table, applied or not."""
        self._store.command(f"DROP TABLE IF EXISTS {self._table}")

    def keep(self, changes: Iterable[Change]) -> None:
        """Keep changes: millions of them take no memory here."""
        for batch in _batches(changes):
            rows = [
                {
                    "attempt_id": one.attempt_id,
                    "cost": None if one.after is None else str(one.after),
                    "input_cost": None if one.after_input is None else str(one.after_input),
                    "price_id": one.price_id,
                }
                for one in batch
            ]
            self._batches += 1
            self._store.insert(self._table, rows, token=f"{self._token}-{self._batches}")
            for one in batch:
                self.differences[one.provider, one.model].add(one)

    def apply(self) -> None:
        """Write a new version of each call; its first price is kept, however often it changes."""
        self._store.command(
            f"""
            INSERT INTO provider_attempts
            SELECT a.* REPLACE (
                r.cost AS cost_usd, r.cost AS cost_upper_usd, r.price_id AS price_id,
                r.input_cost AS input_cost_usd,
                if(a.repriced_at IS NULL, a.cost_usd, a.cost_before_usd) AS cost_before_usd,
                if(a.repriced_at IS NULL, a.input_cost_usd, a.input_cost_before_usd)
                    AS input_cost_before_usd,
                if(a.repriced_at IS NULL, a.price_id, a.price_id_before) AS price_id_before,
                now64(3) AS repriced_at,
                toUInt8(least({LAST_VERSION}, greatest({FIRST_VERSION}, a.record_version + 1)))
                    AS record_version)
            FROM provider_attempts AS a FINAL
            INNER JOIN {self._table} AS r ON a.attempt_id = r.attempt_id
            """  # noqa: S608 - our own names
        )


def _batches(changes: Iterable[Change]) -> Iterator[list[Change]]:
    source = iter(changes)
    while batch := list(islice(source, BATCH)):
        yield batch


def undo(store: ClickHouse, *, since: datetime | None) -> int:
    """Give every call its first price again; gives how many were changed."""
    moment = int(since.timestamp() * 1000) if since else 0
    # With `a.`: without it a name would mean what REPLACE below makes of it.
    condition = f"a.repriced_at IS NOT NULL AND a.started_at >= fromUnixTimestamp64Milli({moment})"
    _, rows = store.rows(f"SELECT count() FROM provider_attempts AS a FINAL WHERE {condition}")  # noqa: S608
    store.command(
        f"""
        INSERT INTO provider_attempts
        SELECT a.* REPLACE (
            a.cost_before_usd AS cost_usd, a.cost_before_usd AS cost_upper_usd,
            a.price_id_before AS price_id, NULL AS cost_before_usd, '' AS price_id_before,
            a.input_cost_before_usd AS input_cost_usd, NULL AS input_cost_before_usd,
            NULL AS repriced_at,
            toUInt8(least({LAST_VERSION}, a.record_version + 1)) AS record_version)
        FROM provider_attempts AS a FINAL WHERE {condition}
        """  # noqa: S608 - our own names
    )
    return int(rows[0][0])

"""What the pages read, each at most every few seconds for all readers together."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TypeVar

from agents.clock import Clock
from hybrid.announced import running_stack
from hybrid.console.fresh import Fresh
from hybrid.doctor import Check, examine
from hybrid.standing import Standing, gather
from schemas.settings import Settings
from schemas.vocabulary import LetterState
from streams.alerts.delivering import Delivering, delivering
from streams.alerts.standing import AlertStanding, read_alerts
from streams.bill.budgets import BudgetLevel, budget_levels
from streams.bill.costs import Table, latency, reliability, total
from streams.bill.flow import Flow, ended_by_minute
from streams.publishing.dead_letters import Selection
from streams.store.clickhouse import ClickHouse, ClickHouseUnavailableError
from streams.triage.book import Book, read_book
from streams.triage.deeds import Deeds, read_deeds
from streams.triage.overview import Overview, overview

__all__ = ["MOST_ROWS", "QUERY_LIMIT_S", "Sources"]

T = TypeVar("T")
#: A page's query is given up after so long, or when it would read more rows than this.
QUERY_LIMIT_S = 10.0
MOST_ROWS = 100_000_000
#: Alerts are read from so long ago on: as long as Kafka keeps them.
ALERTS_OF = timedelta(days=30)
HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class ProviderHour:
    """How the calls of the last hour ended, and how long they took, by provider."""

    reliability: Table
    latency: Table


class Sources:
    """Questions with answers that are kept for a while."""

    def __init__(self, settings: Settings, addresses: list[str], *, clock: Clock) -> None:
        """Keep where workers say how they are (`/metrics`); none = those of a local stack."""
        self._settings = settings
        self._addresses = addresses
        self._clock = clock
        self.standing: Fresh[Standing] = Fresh(self._standing, clock=clock, keep_s=2)
        self.open_letters: Fresh[Overview] = Fresh(self._open_letters, clock=clock, keep_s=5)
        self.book: Fresh[Book] = Fresh(lambda: read_book(settings), clock=clock, keep_s=1)
        self.alerts: Fresh[list[AlertStanding]] = Fresh(self._alerts, clock=clock, keep_s=5)
        self.webhook: Fresh[Delivering] = Fresh(lambda: delivering(settings), clock=clock, keep_s=5)
        self.budgets: Fresh[list[BudgetLevel]] = Fresh(self._budgets, clock=clock, keep_s=10)
        self.flow: Fresh[Flow] = Fresh(self._flow, clock=clock, keep_s=10)
        self.provider_hour: Fresh[ProviderHour] = Fresh(self._hour, clock=clock, keep_s=10)
        self.deeds: Fresh[Deeds] = Fresh(lambda: read_deeds(settings), clock=clock, keep_s=2)
        self.hour_usd: Fresh[Decimal] = Fresh(self._hour_usd, clock=clock, keep_s=30)
        self.checks: Fresh[list[Check]] = Fresh(lambda: examine(settings), clock=clock, keep_s=15)

    def changed(self) -> None:
        """Have what dead letters stand at read anew: somebody has just done something."""
        self.open_letters.forget()
        self.book.forget()
        self.deeds.forget()

    async def warm(self) -> None:
        """Begin to read what the first page shows."""
        await self.standing.get(wait_s=0)
        await self.open_letters.get(wait_s=0)
        await self.alerts.get(wait_s=0)
        await self.budgets.get(wait_s=0)
        await self.flow.get(wait_s=0)

    async def asked(self, question: Callable[[ClickHouse], T]) -> T:
        """Ask ClickHouse; raises ClickHouseUnavailableError, ClickHouseRefusedError."""
        return await asyncio.to_thread(self._ask, question)

    def _ask(self, question: Callable[[ClickHouse], T]) -> T:
        if self._settings.clickhouse_url is None:
            message = "no ClickHouse is configured: set CLICKHOUSE_URL"
            raise ClickHouseUnavailableError(message)
        store = ClickHouse(self._settings, timeout_s=QUERY_LIMIT_S, reads=True, most_rows=MOST_ROWS)
        try:
            return question(store)
        finally:
            store.close()

    async def _standing(self) -> Standing:
        stack = (None if self._addresses else running_stack()) or {}
        is_its = stack.get("kafka") == self._settings.kafka_bootstrap_servers
        found = [str(one) for one in (stack.get("metrics") or []) if is_its]
        return await gather(self._settings, self._addresses or found, now=self._clock.now())

    async def _open_letters(self) -> Overview:
        return await overview(self._settings, Selection(state=LetterState.OPEN))

    async def _alerts(self) -> list[AlertStanding]:
        return await read_alerts(self._settings, since=self._clock.now() - ALERTS_OF)

    async def _budgets(self) -> list[BudgetLevel]:
        return await budget_levels(self._settings, now=self._clock.now())

    async def _flow(self) -> Flow:
        return await self.asked(lambda store: ended_by_minute(store, now=self._clock.now()))

    async def _hour_usd(self) -> Decimal:
        since = self._clock.now() - HOUR
        table = await self.asked(lambda store: total(store, since=since))
        (row,) = table.rows
        return Decimal(dict(zip(table.columns, row, strict=True))["cost_usd"] or 0)

    async def _hour(self) -> ProviderHour:
        since: datetime = self._clock.now() - HOUR

        def both(store: ClickHouse) -> ProviderHour:
            by = ("provider",)
            return ProviderHour(
                reliability(store, by=by, since=since), latency(store, by=by, since=since)
            )

        return await self.asked(both)
